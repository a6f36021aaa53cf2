"""Pictures of a data set: distributions as diagrams, and a sheet of samples with their boxes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from edgedet.data.image import load_image
from edgedet.data.statistics import BoxTable, FloatArray, box_table
from edgedet.data.types import Dataset, Sample
from edgedet.draw import class_colour, contact_sheet, draw_detections
from edgedet.files import atomic_path
from edgedet.preprocess import UInt8Image
from edgedet.progress import track

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 40
_SHOWN_CLASSES = 40  # bars that stay readable
_SHEET_IMAGES, _SHEET_COLUMNS = 24, 6


def write_plots(dataset: Dataset, out: Path) -> tuple[Path, Path]:
    """Write <split>_distributions.png and <split>_samples.png.

    Args:
        dataset: a split.
        out: folder, made where missing.

    Returns:
        Paths of the two files.

    Raises:
        DataError: a picture on the sheet cannot be read.
    """
    diagrams, sheet = out / f"{dataset.split}_distributions.png", out / f"{dataset.split}_samples.png"
    _write_distributions(dataset, diagrams)
    with atomic_path(sheet) as temporary:
        Image.fromarray(sample_sheet(dataset)).save(temporary)
    return diagrams, sheet


def sample_sheet(dataset: Dataset, count: int = _SHEET_IMAGES, columns: int = _SHEET_COLUMNS) -> UInt8Image:
    """Samples spread evenly over the split, with their labelled boxes."""
    picks = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int))
    samples = [dataset.samples[int(k)] for k in picks]
    return contact_sheet([_drawn(s, dataset.class_names) for s in track(samples, "Drawing samples")], columns)


def _drawn(sample: Sample, names: tuple[str, ...]) -> UInt8Image:
    objects = sample.objects
    labels = [names[k] + _flags(bool(d), bool(c)) for k, d, c in _rows(sample)]
    return draw_detections(load_image(sample.image_path), objects.boxes_xyxy_px, labels, None, objects.class_ids)


def _rows(sample: Sample) -> list[tuple[int, bool, bool]]:
    objects = sample.objects
    return list(zip(objects.class_ids.tolist(), objects.difficult.tolist(), objects.crowd.tolist(), strict=True))


def _flags(difficult: bool, crowd: bool) -> str:
    return " (crowd)" if crowd else " (difficult)" if difficult else ""


def _write_distributions(dataset: Dataset, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    table = box_table(dataset)
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    counts = f"{len(dataset)} images, {len(table.class_ids)} objects"
    figure.suptitle(f"{dataset.root.name}, split {dataset.split}: {counts}")
    axes = figure.subplots(2, 3)
    _class_bars(axes[0, 0], table, dataset.class_names)
    _counts(axes[0, 1], table, len(dataset))
    _scatter(axes[0, 2], table)
    _histogram(axes[1, 0], np.sqrt(table.wh_px.prod(axis=1)), "square root of box area (px)")
    _histogram(axes[1, 1], np.sqrt((table.wh_px / table.image_wh_px).prod(axis=1)), "the same, as a share of the image")
    _histogram(axes[1, 2], table.wh_px[:, 0] / table.wh_px[:, 1], "width / height", logarithmic=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def _class_bars(axes: Axes, table: BoxTable, names: tuple[str, ...]) -> None:
    counts = np.bincount(table.class_ids, minlength=len(names))
    order = np.argsort(-counts, kind="stable")[:_SHOWN_CLASSES]
    axes.barh([names[k] for k in order], counts[order], color=[_colour(k) for k in order])
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize="small" if len(order) <= 15 else 5)
    axes.set_xlabel("objects" if len(names) <= _SHOWN_CLASSES else f"objects, {_SHOWN_CLASSES} most frequent classes")


def _colour(class_id: int) -> tuple[float, float, float]:
    red, green, blue = class_colour(int(class_id))
    return red / 255, green / 255, blue / 255


def _counts(axes: Axes, table: BoxTable, images: int) -> None:
    per_image = np.bincount(table.image_ids, minlength=images)
    axes.hist(per_image, bins=(np.arange(per_image.max() + 2) - 0.5).tolist())
    axes.set(xlabel="objects per image", ylabel="images")


def _scatter(axes: Axes, table: BoxTable) -> None:
    """Classes have the colours of the bars."""
    colours = [_colour(k) for k in table.class_ids]
    axes.scatter(table.wh_px[:, 0], table.wh_px[:, 1], c=colours, s=5, alpha=0.5)
    axes.set(xlabel="box width (px)", ylabel="box height (px)")


def _histogram(axes: Axes, values: FloatArray, label: str, logarithmic: bool = False) -> None:
    bins: int | list[float] = _BINS
    if logarithmic and len(values):
        reach = max(np.abs(np.log(values)).max(), 0.1)
        bins = np.exp(np.linspace(-reach, reach, _BINS)).tolist()
        axes.set_xscale("log")
    axes.hist(values, bins=bins)
    axes.set(xlabel=label, ylabel="objects")
