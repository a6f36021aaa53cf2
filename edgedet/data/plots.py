"""Pictures of a data set: distributions and classes as diagrams, and a sheet of samples with their boxes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from edgedet.data.class_plots import rgb, write_classes
from edgedet.data.figures import save_figure, whole_numbers
from edgedet.data.image import load_image
from edgedet.data.statistics import LARGE_FROM_PX2, SMALL_BELOW_PX2, BoxTable, FloatArray, box_table
from edgedet.data.types import Dataset, Sample
from edgedet.draw import contact_sheet, draw_detections
from edgedet.files import atomic_path
from edgedet.preprocess import UInt8Image
from edgedet.progress import track

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 40
_SHEET_IMAGES, _SHEET_COLUMNS = 24, 6
_LEGEND_CLASSES = 6
_SHOWN_BOXES = 20_000  # dots that a scatter still draws in a second


def write_plots(dataset: Dataset, out: Path) -> tuple[Path, ...]:
    """Write <split>_distributions.png, <split>_classes.png and <split>_samples.png.

    Args:
        dataset: a split.
        out: folder, made where missing.

    Returns:
        Paths of the files.

    Raises:
        DataError: a picture on the sheet cannot be read.
    """
    names = ("distributions", "classes", "samples")
    distributions, classes, sheet = (out / f"{dataset.split}_{name}.png" for name in names)
    _write_distributions(dataset, distributions)
    write_classes(dataset, classes)
    with atomic_path(sheet) as temporary:
        Image.fromarray(sample_sheet(dataset)).save(temporary)
    return distributions, classes, sheet


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
    table = box_table(dataset)
    title = f"{dataset.root.name}, split {dataset.split}: {len(dataset)} images, {len(table.class_ids)} objects"
    with save_figure(path, title, (13, 7.8)) as figure:
        axes = figure.subplots(2, 3)
        _counts(axes[0, 0], table, len(dataset))
        _areas(axes[0, 1], table)
        _scatter(axes[0, 2], table, dataset.class_names)
        sizes = np.array([(s.width_px, s.height_px) for s in dataset.samples], dtype=np.float64)
        _ratios(axes[1, 0], sizes[:, 0] / sizes[:, 1], "Shape of images", "images")
        _ratios(axes[1, 1], table.wh_px[:, 0] / table.wh_px[:, 1], "Shape of boxes", "objects")
        shares = np.sqrt((table.wh_px / table.image_wh_px).prod(axis=1))
        axes[1, 2].hist(shares, bins=_BINS, range=(0, 1))
        axes[1, 2].set(title="Size of boxes in their image", xlabel="square root of box area / image area")
        axes[1, 2].set_ylabel("objects")


def _counts(axes: Axes, table: BoxTable, images: int) -> None:
    """One bar a number, or 40 bars where there are more."""
    per_image = np.bincount(table.image_ids, minlength=images)
    bars = np.arange(per_image.max() + 2) - 0.5
    axes.hist(per_image, bins=bars.tolist() if len(bars) <= 2 * _BINS else _BINS)
    axes.set(title="Objects per image", xlabel="objects", ylabel="images")
    whole_numbers(axes.xaxis)
    whole_numbers(axes.yaxis)


def _areas(axes: Axes, table: BoxTable) -> None:
    """COCO's limits of small and large are drawn in."""
    areas = table.wh_px.prod(axis=1)
    _log_histogram(axes, np.sqrt(areas))
    for limit, name in ((SMALL_BELOW_PX2, "small"), (LARGE_FROM_PX2, "large")):
        axes.axvline(np.sqrt(limit), color="0.3", linestyle="--", linewidth=1)
        side, align = (0.98, "right") if name == "small" else (1.02, "left")
        axes.text(np.sqrt(limit) * side, 0.98, name, ha=align, va="top", transform=axes.get_xaxis_transform())
    axes.set_ylim(top=axes.get_ylim()[1] * 1.08)  # room for the words
    axes.set(title="Box areas", xlabel="square root of area (px), logarithmic", ylabel="objects")
    _plain_ticks(axes)


def _scatter(axes: Axes, table: BoxTable, names: tuple[str, ...]) -> None:
    """At most 20,000 boxes, spread evenly; the most frequent classes are named."""
    step = -(-len(table.class_ids) // _SHOWN_BOXES) or 1
    wh, class_ids = table.wh_px[::step], table.class_ids[::step]
    axes.scatter(wh[:, 0], wh[:, 1], c=[rgb(k) for k in class_ids], s=5, alpha=0.5)
    reach = float(wh.max(initial=1)) * 1.04
    axes.plot([0, reach], [0, reach], color="0.6", linewidth=0.8)
    axes.set(title="Box width against height", xlabel="width (px)", ylabel="height (px)")
    axes.set(xlim=(0, reach), ylim=(0, reach), aspect="equal")
    counts = np.bincount(table.class_ids, minlength=len(names))
    for k in np.argsort(-counts, kind="stable")[:_LEGEND_CLASSES]:
        axes.scatter([], [], color=rgb(int(k)), s=20, label=names[k])
    title = "most frequent" if len(names) > _LEGEND_CLASSES else None
    axes.legend(loc="upper left", fontsize="small", framealpha=0.7, title=title)


def _ratios(axes: Axes, values: FloatArray, title: str, unit: str) -> None:
    """Width over height on a logarithmic axis around 1, so that lying and standing shapes mirror each other."""
    reach = max(np.abs(np.log(values)).max(initial=0.0), np.log(2.0)) * 1.02
    axes.hist(values, bins=np.exp(np.linspace(-reach, reach, _BINS + 1)).tolist())
    axes.axvline(1, color="0.3", linestyle="--", linewidth=1)
    axes.set(xscale="log", title=title, xlabel="width / height, logarithmic", ylabel=unit)
    whole_numbers(axes.yaxis)
    _plain_ticks(axes)


def _log_histogram(axes: Axes, values: FloatArray) -> None:
    low, high = (float(values.min()), float(values.max())) if len(values) else (1.0, 10.0)
    axes.hist(values, bins=np.geomspace(low / 1.05, high * 1.05, _BINS + 1).tolist())
    axes.set_xscale("log")


def _plain_ticks(axes: Axes) -> None:
    """Numbers as people write them, at 1, 2 and 5 times powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
