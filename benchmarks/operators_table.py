"""Operators' times as tables of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Column, Table

from edgedet.benchmarks.operators import Attribution

_DEAREST = 12


def print_attributions(found: Sequence[Attribution]) -> None:
    """Print, for each file, its parts with their dearest operators, and what runs outside the delegate."""
    console = Console()
    for one in found:
        console.print(attribution_table(one))
        for line in lines(one):
            console.print(line, highlight=False, markup=False, soft_wrap=True)


def attribution_table(one: Attribution) -> Table:
    """Parts in the order a picture passes them, each followed by its dearest operators."""
    columns = (Column("part"), Column("operator", overflow="fold"), *(Column(n, justify="right") for n in _NUMBERS))
    table = Table(*columns, title=f"{one.artifact}: {one.total_ms:.2f} ms, {one.runtime}")
    shown = sorted(one.operators, key=lambda cost: -cost.ms)[:_DEAREST]
    for part, part_ms in one.parts_ms.items():
        table.add_row(f"[bold]{part}[/]", "", "", f"{part_ms:.3f}", f"{part_ms / one.sum_ms:.1%}")
        for cost in (cost for cost in shown if cost.part == part):
            share = f"{cost.ms / one.sum_ms:.1%}"
            table.add_row("", cost.operator, f"{cost.calls:g}", f"{cost.ms:.3f}", share)
    return table


_NUMBERS = ("calls", "ms", "share")


def lines(one: Attribution) -> list[str]:
    """How the sum compares with the total, and the operators outside the delegate."""
    traced = f" ({one.traced_ms:.2f} with the profiler's own time)" if one.traced_ms is not None else ""
    ratio = f"all operators {one.sum_ms:.2f} ms{traced}, the file without a profiler {one.total_ms:.2f} ms"
    said = {
        True: f"{ratio}: within 5 %",
        False: f"{ratio}: not within 5 %: the machine is busy",
        None: "times are differences of files cut at inner tensors, and add up by themselves",
    }[one.agrees]
    return [said, *(f"outside the delegate: {line}" for line in one.outside_delegate)]
