"""Time and memory of exporting a model, in processes of their own.

    python -m edgedet.benchmarks.export_cost MODEL.pt [--precision fp32] [--calibration DATA] [--format onnx ...]

The first row is one process that exports all formats, as `edgedet export` does: imports, conversion, loading the file
again and parity included. The other rows are one process a format.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from edgedet.benchmarks.environment import LoadWatch, peak_memory_bytes, read_environment
from edgedet.errors import EdgedetError
from edgedet.files import write_json
from edgedet.formats import export_formats
from edgedet.progress import track

SCHEMA = 1
TARGET_SECONDS, TARGET_BYTES = 60, 3e9  # of all formats together


@dataclass(frozen=True)
class ExportCost:
    """What one process needed.

    Attributes:
        formats: exported by it, in order.
        seconds: from the start of the process to its end.
        seconds_by_format: of conversion, loading again and parity, without the start of the process.
        peak_memory_bytes: of the process.
        parity: verdict by format.
    """

    formats: tuple[str, ...]
    seconds: float
    seconds_by_format: dict[str, float]
    peak_memory_bytes: int
    parity: dict[str, str]


def measure_export(model: Path, formats: Sequence[str], precision: str, calibration: Path | None = None) -> ExportCost:
    """Export in a new process and see what it takes.

    Args:
        calibration: photographs for precisions that measure ranges; as many as `edgedet export` takes by default.

    Raises:
        EdgedetError: the process failed; its last line is in the message.
    """
    with tempfile.TemporaryDirectory(prefix="edgedet-export-") as scratch:
        answer_path = Path(scratch) / "answer.json"
        command = [sys.executable, "-m", "edgedet.benchmarks.export_cost", "--child", str(answer_path), str(model)]
        start = time.perf_counter()
        choices = ["--precision", precision, *(part for name in formats for part in ("--format", name))]
        choices += ["--calibration", str(calibration)] if calibration else []
        ran = subprocess.run([*command, *choices], capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
        if ran.returncode or not answer_path.exists():
            last = (ran.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise EdgedetError(
                f"{model}: export to {', '.join(formats)} failed ({last})", "Run `edgedet export` on it."
            )
        answer: dict[str, Any] = json.loads(answer_path.read_text(encoding="utf-8"))
    return ExportCost(tuple(formats), seconds, **answer)


def _child(model: Path, formats: Sequence[str], precision: str, calibration: Path | None, answer_path: Path) -> None:
    """The measured process."""
    from edgedet.export.calibrate import read_calibration
    from edgedet.export.pipeline import export_model

    seconds, parity = {}, {}
    photographs = partial(read_calibration, calibration) if calibration else None
    with tempfile.TemporaryDirectory(prefix="edgedet-export-") as out:
        for name in formats:
            start = time.perf_counter()
            artifact = export_model(model, [name], Path(out), precision=precision, calibration=photographs)[0]
            seconds[name], parity[name] = time.perf_counter() - start, artifact.parity.status
    answer = {"seconds_by_format": seconds, "peak_memory_bytes": peak_memory_bytes(), "parity": parity}
    write_json(answer_path, answer)


def cost_table(costs: Sequence[ExportCost], precision: str) -> Table:
    """One row a process, the first one with its formats' own times."""
    table = Table(title=f"Export in {precision}; target for all: {TARGET_SECONDS} s, {TARGET_BYTES / 1e9:.0f} GB")
    table.add_column("formats")
    for name in ("seconds", "of these, by format", "peak memory GB", "parity"):
        table.add_column(name, justify="right")
    for cost in costs:
        by_format = "\n".join(f"{name} {seconds:.1f}" for name, seconds in cost.seconds_by_format.items())
        parity = "\n".join(cost.parity.values())
        table.add_row(
            ", ".join(cost.formats), f"{cost.seconds:.1f}", by_format, f"{cost.peak_memory_bytes / 1e9:.2f}", parity
        )
    return table


def main(
    model: Annotated[Path, typer.Argument(metavar="MODEL.pt", help="A model.pt.")],
    formats: Annotated[list[str] | None, typer.Option("--format", help="Repeatable. Default: all.")] = None,
    precision: Annotated[str, typer.Option(help="Of all files.")] = "fp32",
    calibration: Annotated[Path | None, typer.Option(metavar="DATA", help="Photographs to measure ranges on.")] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the numbers as JSON.")] = None,
    child: Annotated[Path | None, typer.Option(hidden=True, help="Answer of the measured process.")] = None,
) -> None:
    """Time exports, and see how much memory they take. Exit code 1 where a target is missed or parity did not pass."""
    names = formats or [row.name for row in export_formats()]
    if child:
        _child(model, names, precision, calibration, child)
        return
    watch = LoadWatch()
    groups = [names] + [[name] for name in names if len(names) > 1]
    costs = [measure_export(model, group, precision, calibration) for group in track(groups, "Exporting")]
    Console().print(cost_table(costs, precision))
    if json is not None:
        environment = asdict(read_environment(None, watch))
        write_json(json, {"schema": SCHEMA, "costs": [asdict(cost) for cost in costs], "environment": environment})
    if not targets_kept(costs[0]):
        raise typer.Exit(1)


def targets_kept(whole: ExportCost) -> bool:
    """Whether exporting everything was quick and small enough, and every file is the model."""
    cheap = whole.seconds <= TARGET_SECONDS and whole.peak_memory_bytes <= TARGET_BYTES
    return cheap and set(whole.parity.values()) == {"passed"}


if __name__ == "__main__":
    try:
        typer.run(main)
    except EdgedetError as error:
        raise SystemExit(f"error: {error}") from error
