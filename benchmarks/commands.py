"""`edgedet report` and `edgedet demo`, and where all commands of this package are registered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgedet.benchmarks.commands_bench import bench_command
from edgedet.benchmarks.commands_check import check_command
from edgedet.benchmarks.commands_compare import compare_command
from edgedet.benchmarks.lab import commands as lab

if TYPE_CHECKING:
    from edgedet.benchmarks.report_entries import ReportEntry

_IN_TERMINAL = ("File", "Size MB", "COCO AP", "AP50", "Change", "Parity", "p50 ms")  # fit 80 columns
_STYLES = {"badge good": "green", "badge bad": "bold red", "badge warn": "yellow", "warn": "yellow"}


def register(app: typer.Typer) -> None:
    app.command("bench")(bench_command)
    app.command("compare")(compare_command)
    app.command("check")(check_command)
    app.command("report")(report_command)
    app.command("demo")(demo_command)
    lab.register(app)


def report_command(
    models: list[Path] = typer.Argument(..., metavar="MODEL|FOLDER...", help="Model files, or folders that hold some."),
    data: Path | None = typer.Option(
        None, "--data", help="The data set, a folder or a YAML file. Without it, nothing is measured here."
    ),
    split: str = typer.Option("test", "--split", help="train, val, trainval or test."),
    latency: list[Path] = typer.Option(
        [], "--latency", metavar="FILE|FOLDER", help="Results of edgedet bench --json, or a fleet's; repeatable."
    ),
    evaluation: list[Path] = typer.Option(
        [], "--eval", metavar="FILE|FOLDER", help="Results of edgedet eval --json; repeatable."
    ),
    nms_curve: list[Path] = typer.Option(
        [], "--nms-curve", metavar="FILE", help="Results of edgedet.benchmarks.nms_curve --json; repeatable."
    ),
    out: Path = typer.Option(Path("report.html"), "--out", metavar="FILE", help="The page."),
    title: str | None = typer.Option(None, "--title", help="Head of the page. Default: the detector's name."),
    threads: int | None = typer.Option(
        None, "--threads", min=1, help="CPU threads when timing; default: the runtime's."
    ),
    seconds: float = typer.Option(3.0, "--seconds", min=0.1, help="Length of the steady phase of each file."),
    max_images: int | None = typer.Option(None, "--max-images", min=1, help="Only this many images, spread evenly."),
) -> None:
    """Evaluate and time a model and its exported files, and write one page about them.

    Give the model.pt too: the change in accuracy is counted from it. Results of other devices are joined by the digest
    of the file; those of other files are named and left out. The exit code is 1 when a file is not the model or could
    not be run here; the page is written all the same.

    \b
    Examples:
      edgedet report run/model.pt phone --data my_photos --out report.html
      edgedet report run/model.pt phone --data my_photos --latency pixel.json --latency fleet_results
      edgedet report run/model.pt phone --eval evals --latency pixel.json
    """
    from edgedet.benchmarks.harness import Budget
    from edgedet.benchmarks.nms_curve import read_curves
    from edgedet.benchmarks.report import failures, write_report
    from edgedet.benchmarks.report_collect import collect_entries, find_models
    from edgedet.benchmarks.report_join import join_results
    from edgedet.data import read_dataset

    paths = find_models(models)
    dataset = read_dataset(data, split) if data else None
    join_results([], latency, evaluation)  # a damaged result is refused before an hour of measuring, not after
    curves = [curve for path in nms_curve for curve in read_curves(path)]
    measured = collect_entries(paths, dataset, max_images, threads, Budget(seconds=seconds))
    entries, others = join_results(measured, latency, evaluation)
    name = f"{entries[0].name} on {dataset.root.name}" if dataset else entries[0].name
    write_report(out, entries, title or name, others=others, curves=curves)
    for other in others:
        typer.echo(f"of another file, left out: {other.artifact}, {other.what} (in {other.source})")
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

    from edgedet.benchmarks.latency import Latency
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
    if any(isinstance(entry.latency, Latency) and not entry.latency.trusted for entry in entries):
        console.print("? other things than the file took part in this number; the report says which.", highlight=False)
    for line in failed:
        console.print(f"[bold red]failed:[/] {escape(line)}", highlight=False, soft_wrap=True)
    for name, path in places.items():
        console.print(f"{name}: {path}", highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)
