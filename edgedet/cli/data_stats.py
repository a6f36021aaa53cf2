"""`edgedet data stats`: what a data set holds, and how well a configuration's priors cover it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from edgedet.data.statistics import Quantiles, Statistics
    from edgedet.data.types import Dataset
    from edgedet.training.coverage import Coverage

SCHEMA = 1

_SHOWN_QUANTILES = ("min", "p5", "p50", "p95", "max", "mean")
_QUANTITIES = {
    "image_width_px": "image width (px)",
    "image_height_px": "image height (px)",
    "image_aspect": "image width / height",
    "objects_per_image": "objects per image",
    "box_width_px": "box width (px)",
    "box_height_px": "box height (px)",
    "box_area_px2": "box area (px²)",
    "box_area_share": "box area / image area",
    "box_aspect": "box width / height",
}


def stats_command(
    data: Path = typer.Argument(..., metavar="DATA", help="A folder (VOC, COCO, YOLO, CSV) or a YAML file."),
    split: str | None = typer.Option(None, "--split", help="train, val, trainval or test. Default: every split."),
    out: Path | None = typer.Option(
        None, "--out", metavar="DIR", help="Also write diagrams, sample sheets, stats.json."
    ),
    config: str | None = typer.Option(
        None, "--config", metavar="NAME", help="Also compare its priors with the boxes: a bundled name or a YAML file."
    ),
    json: Path | None = typer.Option(None, "--json", metavar="FILE", help="Also write the numbers as JSON."),
) -> None:
    """Count and measure what a data set holds: objects per class, sizes and shapes of boxes, what priors reach.

    \b
    Example:
      edgedet data stats my_photos --split train --config ssdlite_mobilenet_v2 --out stats
    """
    from rich.console import Console

    from edgedet.data import available_splits, read_dataset
    from edgedet.data.statistics import statistics
    from edgedet.files import write_json

    splits = (split,) if split else available_splits(data)
    datasets = [read_dataset(data, s) for s in splits]
    covered = _coverage(data, datasets, config) if config else []
    numbers = [statistics(dataset) for dataset in datasets]
    console = Console()
    for table in (_counts_table(data, numbers), _classes_table(numbers), *map(_spread_table, numbers)):
        console.print(table)
    if config:
        console.print(_coverage_table(config, datasets, covered))
    _print_left_out(console.print, numbers)
    splits_json = {n.split: n.to_json() for n in numbers}
    for dataset, found in zip(datasets, covered, strict=False):
        splits_json[dataset.split]["priors"] = {"config": config, **found.to_json()}
    classes = list(datasets[0].class_names)
    content = {"schema": SCHEMA, "data": str(data), "classes": classes, "splits": splits_json}
    for path in (json, out and out / "stats.json"):
        if path is not None:
            write_json(path, content)
    if out is not None:
        for path in (*_write_plots(datasets, covered, config, out), out / "stats.json"):
            console.print(f"wrote {path}", highlight=False, soft_wrap=True)


def _coverage(data: Path, datasets: Sequence[Dataset], config: str) -> list[Coverage]:
    """Of each split. Priors of kind "fit" are fitted to the configuration's training split, as training does; where the
    data set has no such split, to the first that is described.
    """
    from edgedet.config import FitPriors, load_config, make_spec
    from edgedet.data import available_splits, read_dataset
    from edgedet.progress import console
    from edgedet.training.anchors import boxes_wh_px
    from edgedet.training.coverage import coverage

    settings, fitted_to = load_config(config), datasets[0]
    if isinstance(settings.priors, FitPriors):
        if settings.training.train_split in available_splits(data):
            fitted_to = read_dataset(data, settings.training.train_split)
        console.print(f"The anchors of {config} were fitted to split {fitted_to.split}.", highlight=False)
    spec = make_spec(settings, datasets[0].class_names, boxes_wh_px(fitted_to, settings.input))
    return [coverage(dataset, spec, settings.loss.iou_match) for dataset in datasets]


def _write_plots(datasets: Sequence[Dataset], covered: Sequence[Coverage], config: str | None, out: Path) -> list[Path]:
    from edgedet.data.plots import write_plots
    from edgedet.training.coverage_plot import write_coverage

    written = [path for dataset in datasets for path in write_plots(dataset, out)]
    for dataset, found in zip(datasets, covered, strict=False):
        path = out / f"{dataset.split}_priors.png"
        title = f"{dataset.root.name}, split {dataset.split}: priors of {config}, {len(found.best_iou)} objects"
        write_coverage(found, path, title)
        written.append(path)
    return written


def _coverage_table(config: str, datasets: Sequence[Dataset], covered: Sequence[Coverage]) -> Table:
    from rich.table import Table

    table = Table(title=f"Priors of {config}", title_justify="left")
    iou = covered[0].iou_match
    for column in ("split", "objects", "mean best IoU", f"no prior from IoU {iou:g}", "best prior on level 1, 2, .."):
        table.add_column(column, justify="left" if column == "split" else "right")
    for dataset, found in zip(datasets, covered, strict=True):
        mean = f"{found.best_iou.mean():.3f}" if len(found.best_iou) else "-"
        best = ", ".join(str(level.best) for level in found.levels)
        table.add_row(dataset.split, str(len(found.best_iou)), mean, f"{found.unreached:.1%}", best)
    if covered[0].measure == "shape_iou":
        table.caption = "IoU of shapes: YOLO gives each object the best anchor, whatever its IoU"
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
    table.add_section()
    balances = ("-" if n.class_balance is None else f"{n.class_balance:.2f}" for n in numbers)
    table.add_row("balance, 1 = even", *balances)
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
