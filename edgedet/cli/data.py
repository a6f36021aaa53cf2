"""`edgedet data synth|check|stats`: make, check and describe data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from edgedet.data.faults import Fault
    from edgedet.data.statistics import Quantiles, Statistics

SCHEMA = 1
_DATA = typer.Argument(..., metavar="DATA", help="A folder (VOC, COCO, YOLO, CSV) or a YAML file.")

_SHOWN_QUANTILES = ("min", "p5", "p50", "p95", "max", "mean")
_QUANTITIES = {
    "image_width_px": "image width (px)",
    "image_height_px": "image height (px)",
    "objects_per_image": "objects per image",
    "box_width_px": "box width (px)",
    "box_height_px": "box height (px)",
    "box_area_px2": "box area (px²)",
    "box_area_share": "box area / image area",
    "box_aspect": "box width / height",
}

_HELP = """Make, check and describe data sets.

\b
Example:
  edgedet data check my_photos
"""

data_app = typer.Typer(no_args_is_help=True, help=_HELP, rich_markup_mode="rich")


def register(app: typer.Typer) -> None:
    app.add_typer(data_app, name="data")


@data_app.command("synth")
def synth_command(
    out: Path = typer.Argument(..., metavar="OUT", help="Folder to make; it must not exist or be empty."),
    train: int = typer.Option(400, "--train", min=0, help="Pictures to train on."),
    val: int = typer.Option(50, "--val", min=0, help="Pictures to watch training with."),
    test: int = typer.Option(100, "--test", min=0, help="Pictures to measure on."),
    size_px: int = typer.Option(160, "--size-px", help="Side of the pictures."),
    seed: int = typer.Option(0, "--seed", min=0, help="The same seed gives the same pictures."),
) -> None:
    """Draw a data set of discs, squares and triangles in Pascal VOC's layout.

    \b
    Example:
      edgedet data synth shapes --train 400 --test 100
    """
    from edgedet.data.synth import CLASS_NAMES, write_synthetic

    write_synthetic(out, train, val, test, size_px, seed)
    typer.echo(f"{out}: {train} + {val} + {test} pictures of {size_px} px, classes {', '.join(CLASS_NAMES)}.")


@data_app.command("check")
def check_command(
    data: Path = _DATA,
    json: Path | None = typer.Option(None, "--json", metavar="FILE", help="Also write the faults as JSON."),
) -> None:
    """List every annotation fault of all splits. The exit code is 1 when there is an error, 0 for warnings alone.

    \b
    Example:
      edgedet data check my_photos --json faults.json
    """
    from rich.console import Console

    from edgedet.data.check import check
    from edgedet.files import write_json

    faults = check(data)
    errors = sum(found.severity == "error" for found in faults)
    if json is not None:
        write_json(json, _faults_json(data, faults, errors))
    console = Console()
    if faults:
        console.print(_faults_table(data, faults))
    console.print(f"{errors} errors, {len(faults) - errors} warnings in {data}", highlight=False, soft_wrap=True)
    if errors:
        raise typer.Exit(1)


@data_app.command("stats")
def stats_command(
    data: Path = _DATA,
    split: str | None = typer.Option(None, "--split", help="train, val, trainval or test. Default: every split."),
    out: Path | None = typer.Option(None, "--out", metavar="DIR", help="Also write diagrams and a sheet of samples."),
    json: Path | None = typer.Option(None, "--json", metavar="FILE", help="Also write the numbers as JSON."),
) -> None:
    """Count and measure what a data set holds: objects per class, sizes and shapes of boxes.

    \b
    Example:
      edgedet data stats my_photos --split train --out stats
    """
    from rich.console import Console

    from edgedet.data import available_splits, read_dataset
    from edgedet.data.statistics import statistics
    from edgedet.files import write_json

    splits = (split,) if split else available_splits(data)
    datasets = [read_dataset(data, s) for s in splits]
    numbers = [statistics(dataset) for dataset in datasets]
    console = Console()
    for table in (_counts_table(data, numbers), _classes_table(numbers), *map(_spread_table, numbers)):
        console.print(table)
    _print_left_out(console.print, numbers)
    if json is not None:
        classes = list(datasets[0].class_names)
        splits_json = {n.split: n.to_json() for n in numbers}
        write_json(json, {"schema": SCHEMA, "data": str(data), "classes": classes, "splits": splits_json})
    if out is not None:
        from edgedet.data.plots import write_plots

        for dataset in datasets:
            for path in write_plots(dataset, out):
                console.print(f"wrote {path}", highlight=False, soft_wrap=True)


def _faults_json(data: Path, faults: list[Fault], errors: int) -> dict[str, object]:
    from dataclasses import asdict

    rows = [asdict(found) | {"file": str(found.file), "severity": found.severity} for found in faults]
    return {"schema": SCHEMA, "data": str(data), "errors": errors, "warnings": len(faults) - errors, "faults": rows}


def _faults_table(data: Path, faults: list[Fault]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"Faults of {data}", title_justify="left", show_lines=True)
    for column in ("fault", "where", "what, and the remedy"):
        table.add_column(column, overflow="fold")
    base = data if data.is_dir() else data.parent
    for found in faults:
        file = found.file.relative_to(base) if found.file.is_relative_to(base) else found.file
        colour = "red" if found.severity == "error" else "yellow"
        kind = f"[{colour}]{found.severity}[/]\n{found.kind.replace('_', ' ')}"
        where = escape("\n".join(part for part in (str(file), found.where) if part))
        table.add_row(kind, where, f"{escape(found.message)}\n[italic]{escape(found.remedy)}[/]")
    return table


def _counts_table(data: Path, numbers: list[Statistics]) -> Table:
    from rich.table import Table

    table = Table(title=str(data), title_justify="left")
    for column in ("split", "images", "empty", "objects", "difficult", "crowd", "S/M/L", "left out"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for n in numbers:
        sizes = f"{n.small}/{n.medium}/{n.large}"
        counts = (n.images, n.empty_images, n.objects, n.difficult, n.crowd, sizes, len(n.left_out))
        table.add_row(n.split, *map(str, counts))
    table.caption = "S/M/L: objects below 32² px, between, from 96² px on"
    return table


def _classes_table(numbers: list[Statistics]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="Objects (images) of a class", title_justify="left")
    table.add_column("class")
    for n in numbers:
        table.add_column(n.split, justify="right")
    for rows in zip(*(n.classes for n in numbers), strict=True):
        table.add_row(escape(rows[0].name), *(f"{row.objects} ({row.images})" for row in rows))
    return table


def _spread_table(n: Statistics) -> Table:
    from rich.table import Table

    table = Table(title=f"Split {n.split}", title_justify="left")
    table.add_column("spread of", no_wrap=True)
    for column in _SHOWN_QUANTILES:
        table.add_column(column, justify="right")
    for quantity, label in _QUANTITIES.items():
        spread: Quantiles | None = getattr(n, quantity)
        cells = ["-" if spread is None else _short(getattr(spread, name)) for name in _SHOWN_QUANTILES]
        table.add_row(label, *cells)
    return table


def _short(value: float) -> str:
    """Three significant digits, whole numbers in full."""
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def _print_left_out(write: Callable[..., None], numbers: list[Statistics]) -> None:
    lines = list(dict.fromkeys(line for n in numbers for line in n.left_out))
    if lines:
        write("Left out:", style="yellow")
    for line in lines:
        write(f"  {line}", markup=False, highlight=False, soft_wrap=True)
