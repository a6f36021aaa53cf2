"""Cells and tables: data that the page only lays out. No cell is ever blank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

NOT_RUN = "not run"
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: what it says.
        value: what to sort by.
        style: of the page ("num", "good", "bad", "muted", "badge good").
        title: a longer text, shown where a mouse rests.
        lines: smaller text below.
    """

    text: str
    value: float | str = ""
    style: str = ""
    title: str = ""
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A head and rows of the same length; a head's second line is printed smaller."""

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def without(self, names: Sequence[str]) -> Table:
        """Without the columns of these names."""
        kept = [k for k, name in enumerate(self.head) if name not in names]
        return Table(tuple(self.head[k] for k in kept), tuple(tuple(row[k] for k in kept) for row in self.rows))


def not_run(reasons: Sequence[str]) -> Cell:
    return Cell(NOT_RUN, math.inf, "warn", "\n".join(reasons))


def not_measured() -> Cell:
    return Cell(NOT_MEASURED, math.inf, "muted")


def number(value: float | None, digits: int, why_not: str = "") -> Cell:
    """A number; None was not measured, and NaN is one that no object or file decides."""
    if value is None:
        return Cell(NOT_MEASURED, math.inf, "muted", why_not)
    return Cell("-", math.inf, "num muted") if math.isnan(value) else Cell(f"{value:.{digits}f}", value, "num")


def ms(value: float | None) -> str:
    """Two decimals below 100 ms, one above: three significant digits of any latency that matters."""
    return NOT_MEASURED if value is None else f"{value:.2f} ms" if value < 100 else f"{value:.1f} ms"
