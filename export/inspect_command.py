"""`edgedet inspect`: what a model file holds, and which contracts it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgedet.export.contracts import CONTRACTS
from edgedet.export.inspect_report import printable

if TYPE_CHECKING:
    from rich.table import Table

    from edgedet.export.findings import Finding
    from edgedet.export.inspect import Inspection
    from edgedet.export.inspect_report import FileReport, TensorInfo

_STYLES = {"pass": "green", "fail": "bold red", "not applicable": "dim"}
_SHOWN = 20  # of labels, tensors and operators in the table; --json holds all
_LONGEST_REASON = 600
_CONTRACT_NAMES = ", ".join(row.name for row in CONTRACTS)


def inspect_command(
    file: Path = typer.Argument(..., metavar="FILE", help="A .tflite, .onnx, .mlmodel or .mlpackage, ours or not."),
    contract: list[str] = typer.Option(
        [],
        "--contract",
        metavar="NAME",
        help=f"{_CONTRACT_NAMES}; repeatable. Default: those for files of this kind.",
    ),
    json: Path | None = typer.Option(None, "--json", metavar="FILE", help="Also write everything as JSON."),
) -> None:
    """Show what a model file holds, and check it against what the phone's libraries demand.

    Nothing in the file is run. The exit code is 1 when a rule of a contract that was asked for by --contract fails, or
    when the file cannot be read; without --contract failed rules are shown and the exit code is 0.

    \b
    Examples:
      edgedet inspect phone/model.tflite
      edgedet inspect someones_model.tflite --contract task-library
    """
    from rich.console import Console

    from edgedet.export.inspect import inspect_file
    from edgedet.files import write_json

    found = inspect_file(file, contract)
    console = Console()
    console.print(_report_table(found.report))
    for name, findings in found.findings.items():
        console.print(_findings_table(name, findings))
    console.print(_summary(found), highlight=False)
    if json is not None:
        write_json(json, found.to_json())
    if any(found.failed(name) for name in contract):
        raise typer.Exit(1)


def _report_table(report: FileReport) -> Table:
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(Column("part"), Column("what the file says", overflow="fold"), title_justify="left")
    rows = {
        "file": f"{report.path}\n{report.kind}, {report.size_bytes:,} bytes",
        **report.properties,
        "inputs": _tensors(report.inputs),
        "outputs": _tensors(report.outputs),
        "operators": _counts(report.operators, "{}"),
        "weights": _counts(report.weight_bytes, "{:,} bytes"),
        "spec": _spec(report),
        "labels": _labels(report.labels),
    }
    for name, value in rows.items():
        table.add_row(name, Text(value or "none"))
    return table


def _tensors(tensors: Sequence[TensorInfo]) -> str:
    return "\n".join(_few([_tensor(tensor) for tensor in tensors[: _SHOWN + 1]]))


def _tensor(tensor: TensorInfo) -> str:
    if tensor.shape is None:
        return f"{tensor.name}: {tensor.dtype}, shape not stated"
    return f"{tensor.name}: {tensor.dtype} [{', '.join(_few(list(map(str, tensor.shape[: _SHOWN + 1]))))}]"


def _few(texts: Sequence[str]) -> list[str]:
    """The first of many, and a sign that there are more."""
    return [*texts[:_SHOWN], "..."] if len(texts) > _SHOWN else list(texts)


def _counts(values: dict[str, int], form: str) -> str:
    """The largest first."""
    ordered = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    total = f"{form.format(sum(values.values()))} in all: " if len(values) > 1 else ""
    return total + ", ".join(_few([f"{name} {form.format(value)}" for name, value in ordered]))


def _spec(report: FileReport) -> str:
    if report.spec_problem:
        return f"unusable: {report.spec_problem}"
    return f"of edgedet: {report.spec['name']}" if report.spec is not None else ""


def _labels(labels: tuple[str, ...]) -> str:
    shown = _few([printable(label, 40) for label in labels[: _SHOWN + 1]])
    return f"{len(labels)}: {', '.join(shown)}" if labels else ""


def _findings_table(contract: str, findings: list[Finding]) -> Table:
    from rich.table import Column, Table
    from rich.text import Text

    columns = Column("rule", overflow="fold"), Column("result"), Column("reason and fix", overflow="fold")
    demands = next(row.demands for row in CONTRACTS if row.name == contract)
    table = Table(*columns, title=f"contract {contract}: {demands}", title_justify="left")
    for finding in findings:
        reason = Text(printable(finding.reason, _LONGEST_REASON))
        if finding.fix:
            reason.append(f"\nFix: {finding.fix}", style="bold")
        table.add_row(finding.rule, Text(finding.status, style=_STYLES[finding.status]), reason)
    return table


def _summary(found: Inspection) -> str:
    lines = []
    for name, findings in found.findings.items():
        failed = [finding.rule for finding in findings if finding.status == "fail"]
        passed = sum(finding.status == "pass" for finding in findings)
        lines.append(f"{name}: {passed} passed, {len(failed)} failed{': ' if failed else ''}{', '.join(failed)}")
    return "\n".join(lines)
