"""`edgedet quantize sweep`: all precisions of all formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from edgedet.benchmarks.lab.sweep import Sweep

_COMMA = "with commas between"


def sweep_command(
    model: Path = typer.Argument(..., metavar="MODEL", help="A model.pt."),
    data: Path = typer.Option(..., "--data", help="The data set that accuracy is measured on."),
    split: str = typer.Option("test", "--split", help="train, val, trainval or test."),
    out: Path = typer.Option(..., "--out", metavar="DIR", help="Folder for files, results and pictures."),
    formats: str = typer.Option("", "--formats", metavar="NAMES", help=f"Only these formats, {_COMMA}."),
    precisions: str = typer.Option("", "--precisions", metavar="NAMES", help=f"Only these precisions, {_COMMA}."),
    methods: str = typer.Option(
        "", "--calibration-methods", metavar="NAMES", help="minmax, entropy, percentile: each is a cell of its own."
    ),
    calibration: Path | None = typer.Option(
        None, "--calibration", metavar="DATA", help="Photographs to measure ranges on. Default: --data."
    ),
    calibration_split: str | None = typer.Option(None, "--calibration-split", help="Default: the training split."),
    calibration_images: int = typer.Option(200, "--calibration-images", min=1, metavar="N", help="How many."),
    seed: int = typer.Option(0, "--seed", help="Chooses the photographs."),
    runs: int = typer.Option(1, "--runs", min=0, help="Rounds of timing through all files; 0 times nothing."),
    seconds: float = typer.Option(3.0, "--seconds", min=0.1, help="Length of one measurement."),
    threads: int | None = typer.Option(1, "--threads", min=1, help="CPU threads when timing."),
    max_images: int | None = typer.Option(None, "--max-images", min=1, help="Only this many images, spread evenly."),
    json: Path | None = typer.Option(None, "--json", metavar="FILE", help="Also write sweep.json there."),
) -> None:
    """Export every precision of every format, and measure size, accuracy, parity and latency of each file.

    Stop it when you like, also by force: started again with the same --out, it goes on where it was, because each
    result is stored under the digests of what it was made from. A cell that fails says why; the exit code is then 1.

    \b
    Examples:
      edgedet quantize sweep run/model.pt --data my_photos --out sweep
      edgedet quantize sweep run/model.pt --data my_photos --out sweep --formats onnx,tflite --precisions fp32,int8
      edgedet report run/model.pt sweep/files/* --eval sweep/accuracy --latency sweep/latency
    """
    from rich.console import Console

    from edgedet.benchmarks.harness import Budget
    from edgedet.benchmarks.lab.store import Photographs, Store
    from edgedet.benchmarks.lab.sweep import plan, run_sweep
    from edgedet.benchmarks.lab.sweep_page import sweep_json, write_sweep
    from edgedet.benchmarks.request import Request
    from edgedet.data import read_dataset
    from edgedet.evaluation.evaluate import subset
    from edgedet.files import write_json
    from edgedet.progress import console

    cells = plan(*(_names(text) for text in (formats, precisions, methods)))
    dataset = subset(read_dataset(data, split), max_images)
    photographs = Photographs(calibration or data, calibration_split, calibration_images, seed)
    store = Store(out, model, dataset, photographs)
    pictures = tuple(sample.image_path for sample in dataset.samples)
    request = Request(pictures[:32], threads, budget=Budget(seconds=seconds))
    sweep = run_sweep(store, cells, request, runs, lambda line: console.print(line, style="dim", highlight=False))
    written = write_sweep(sweep, out)
    if json is not None:
        write_json(json, sweep_json(sweep, out))
    _print(Console(), sweep)
    for path in written:
        typer.echo(f"wrote {path}")
    if any(row.artifact is None or row.accuracy is None for row in sweep.rows):
        raise typer.Exit(1)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _print(console: Console, sweep: Sweep) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from edgedet.benchmarks.lab.sweep_page import megabytes, on_front

    fronts = [on_front(sweep.rows, cost) for cost in ("size", "latency")]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("file", overflow="fold")
    for name in ("MB", "AP", "change", "p50 ms", "x"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("parity", "best"):
        table.add_column(name, no_wrap=True)
    for k, row in enumerate(sweep.rows):
        best = "".join(letter for letter, flags in zip("st", fronts, strict=True) if flags[k])
        doubt = "" if all(latency.trusted for latency in row.latencies) else " ?"
        times = _number(row.p50_ms, ".2f") + doubt, _number(sweep.speed_up(row), ".2f")
        numbers = _number(megabytes(row), ".2f"), _number(row.ap, ".4f"), _number(sweep.change(row), "+.4f")
        parity = row.artifact.parity.status if row.artifact else "not run"
        table.add_row(*(Text(text) for text in (row.cell.name, *numbers, *times, parity, best)))
    console.print(table)
    reference = sweep.reference
    console.print(f"model.pt: AP {reference.metrics['coco_ap']:.4f} on {reference.pictures_text}.", highlight=False)
    console.print("best: on the front of accuracy against size (s) or time (t). x: speed-up.", highlight=False)
    if any(not latency.trusted for row in sweep.rows for latency in row.latencies):
        console.print("?: other work disturbed this time.", highlight=False)
    for row in sweep.rows:
        if row.reason:
            console.print(f"{row.cell.name}: {row.reason}", highlight=False, markup=False, soft_wrap=True)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None or value != value else format(value, form)
