"""`edgedet bench`, `edgedet report` and `edgedet demo`: thin functions over the Python API of this package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from edgedet.benchmarks.latency import Latency, NotRun
    from edgedet.benchmarks.report_entries import ReportEntry

_IN_TERMINAL = ("File", "Size MB", "COCO AP", "AP50", "Change", "Parity", "p50 ms")  # fit 80 columns
_STYLES = {"badge good": "green", "badge bad": "bold red", "badge warn": "yellow", "warn": "yellow"}


def register(app: typer.Typer) -> None:
    app.command("bench")(bench_command)
    app.command("report")(report_command)
    app.command("demo")(demo_command)


def bench_command(
    models: list[Path] = typer.Argument(..., metavar="MODEL...", help=".pt, .onnx, .tflite or .mlpackage files."),
    threads: int | None = typer.Option(None, "--threads", min=1, help="CPU threads; default: the runtime's choice."),
    data: Path | None = typer.Option(None, "--data", help="Data set whose pictures are shown to the models."),
    split: str = typer.Option("test", "--split", help="Split of --data: train, val, trainval or test."),
    images: Path | None = typer.Option(None, "--images", metavar="FOLDER", help="Or a folder of pictures."),
    seconds: float = typer.Option(3.0, "--seconds", min=0.1, help="Length of the steady phase of each file."),
    json: Path | None = typer.Option(None, "--json", metavar="FILE", help="Also write all samples as JSON."),
) -> None:
    """Time model files on this host: load, first image, and steady state with p50, p90 and p99.

    Each file runs in a process of its own, batch 1; pre, file and post are medians of resizing, of the file itself
    (with decoding and NMS) and of bringing boxes back to the picture. Without --data or --images, generated pictures
    are shown. A file that could not be timed reads "not run" with the reason, and the exit code is 1.

    \b
    Example:
      edgedet bench run/model.onnx run/model.tflite --threads 1 --data my_photos --json latency.json
    """
    from rich.console import Console

    from edgedet.benchmarks.harness import Budget, find_images, measure_each
    from edgedet.benchmarks.latency import NotRun, results_json
    from edgedet.data import read_dataset
    from edgedet.errors import ConfigError
    from edgedet.files import write_json

    if data is not None and images is not None:
        raise ConfigError("--data and --images are both given", "Leave one of them out.")
    pictures = [sample.image_path for sample in read_dataset(data, split).samples] if data else []
    if images is not None:
        pictures = find_images(images)
    results = measure_each(models, pictures, threads, Budget(seconds=seconds))
    if json is not None:
        write_json(json, results_json(results))
    console = Console()
    console.print(_bench_table(results))
    for line in _bench_remarks(results):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if any(isinstance(result, NotRun) for result in results):
        raise typer.Exit(1)


def report_command(
    models: list[Path] = typer.Argument(..., metavar="MODEL|FOLDER...", help="Model files, or folders that hold some."),
    data: Path = typer.Option(..., "--data", help="The data set: a folder or a YAML file."),
    split: str = typer.Option("test", "--split", help="train, val, trainval or test."),
    out: Path = typer.Option(Path("report.html"), "--out", metavar="FILE", help="The page."),
    title: str | None = typer.Option(None, "--title", help="Head of the page. Default: the detector's name."),
    threads: int | None = typer.Option(
        None, "--threads", min=1, help="CPU threads when timing; default: the runtime's."
    ),
    seconds: float = typer.Option(3.0, "--seconds", min=0.1, help="Length of the steady phase of each file."),
    max_images: int | None = typer.Option(None, "--max-images", min=1, help="Only this many images, spread evenly."),
) -> None:
    """Evaluate and time a model and its exported files, and write one page about them.

    Give the model.pt too: the change in accuracy is counted from it. The exit code is 1 when a file is not the model
    or could not be run; the page is written all the same.

    \b
    Example:
      edgedet report run/model.pt phone --data my_photos --out report.html
    """
    from edgedet.benchmarks.harness import Budget
    from edgedet.benchmarks.report import failures, write_report
    from edgedet.benchmarks.report_collect import collect_entries, find_models
    from edgedet.data import read_dataset

    dataset = read_dataset(data, split)
    entries = collect_entries(find_models(models), dataset, max_images, threads, Budget(seconds=seconds))
    write_report(out, entries, title or f"{entries[0].name} on {dataset.root.name}")
    _finish(entries, failures(entries), {"report": out})


def demo_command(
    out: Path = typer.Option(Path("demo"), "--out", metavar="DIR", help="Folder for everything the demo makes."),
    seconds: float = typer.Option(3.0, "--seconds", min=0.1, help="Length of the steady phase when timing a file."),
) -> None:
    """The whole road in a few minutes: pictures, training, three phone-ready files, accuracy, latency, one page.

    Nothing is downloaded. Run it again after an interruption: finished stages are kept. The exit code is 1 when a file
    is not the model, or the model did not learn.

    \b
    Example:
      edgedet demo --out demo
    """
    from edgedet.benchmarks.demo import DemoSettings, run_demo

    result = run_demo(out, DemoSettings(bench_seconds=seconds))
    places = {"report": result.report, "files": out / "files", "pictures": result.pictures}
    _finish(result.entries, result.failures, places)


def _finish(entries: Sequence[ReportEntry], failed: Sequence[str], places: dict[str, Path]) -> None:
    """Print the summary, what failed and where things are; exit with 1 when anything failed."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    from edgedet.benchmarks.report_entries import with_accuracy
    from edgedet.benchmarks.report_table import summary_table

    summary = summary_table(with_accuracy(entries))
    shown = [k for k, name in enumerate(summary.head) if name in _IN_TERMINAL]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for k in shown:
        table.add_column(summary.head[k], justify="right" if k else "left", no_wrap=True)
    for row in summary.rows:
        table.add_row(*(Text(row[k].text, style=_STYLES.get(row[k].style, "")) for k in shown))
    console = Console()
    console.print(table)
    if any(entry.in_reference_runtime for entry in entries):
        console.print("† reference runtime: the saved file is interpreted. Not a device latency.", highlight=False)
    for line in failed:
        console.print(f"[bold red]failed:[/] {escape(line)}", highlight=False, soft_wrap=True)
    for name, path in places.items():
        console.print(f"{name}: {path}", highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def _bench_table(results: Sequence[Latency | NotRun]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from edgedet.benchmarks.latency import NotRun

    table = Table(
        title="Latency on this host, batch 1, milliseconds", title_justify="left", box=SIMPLE_HEAD, pad_edge=False
    )
    for k, name in enumerate(("file", "load", "first", "p50", "p90", "p99", "pre", "file", "post")):
        table.add_column(name, justify="right" if k else "left", no_wrap=True)
    for result in results:
        name = Path(result.artifact).name
        if isinstance(result, NotRun):
            table.add_row(name, "[yellow]not run[/]")
        else:
            table.add_row(name if result.is_device_latency else f"{name} †", *_bench_cells(result))
    return table


def _bench_cells(result: Latency) -> list[str]:
    """Load, first, percentiles of the whole, medians of the stages."""
    steady = result.steady
    medians = {name: stage.p50_ms for name, stage in result.stages.items()}
    stages = (medians.get(name) for name in ("preprocess", "inference", "postprocess"))
    numbers = (result.load_ms, result.first_ms, steady.p50_ms, steady.p90_ms, steady.p99_ms, *stages)
    return ["-" if number is None else f"{number:.1f}" for number in numbers]


def _bench_remarks(results: Sequence[Latency | NotRun]) -> list[str]:
    """What ran each file or why none did, and what a reader must know to trust the numbers."""
    from edgedet.benchmarks.latency import NotRun

    lines = []
    for result in results:
        name = Path(result.artifact).name
        if isinstance(result, NotRun):
            lines.append(f"{name}: not run: {result.reason}")
            continue
        remark = "" if result.is_device_latency else " † not a device latency"
        size = f"{result.file_bytes / 1e6:.2f} MB, {len(result.steady.samples_ms)} runs"
        lines.append(f"{name}: {result.precision}, {size}, {result.runtime}{remark}")
    measured = [result for result in results if not isinstance(result, NotRun)]
    return lines + (_host_remarks(measured) if measured else [])


def _host_remarks(measured: Sequence[Latency]) -> list[str]:
    host, images = measured[0].environment, measured[0].images
    threads = f"threads: {host.threads}" if host.threads else "threads: each runtime's own default"
    lines = [
        f"{host.device.cpu}, {host.usable_cores} cores, {threads}, {host.device.os}",
        f"{len(images.sizes_wh_px)} {images.source} pictures; scores from {measured[0].score_min:g} on enter NMS",
    ]
    if any(result.environment.busy for result in measured):
        busy = max(result.environment.other_cores_busy or 0.0 for result in measured)
        lines.append(
            f"Other work kept up to {busy:.1f} cores busy: expect noise, and measure again when the host is idle."
        )
    return lines
