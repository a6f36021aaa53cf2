"""Classes of a data set as a picture: how many objects each has, and which share a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgedet.data.figures import save_figure
from edgedet.data.statistics import box_table, cooccurrence
from edgedet.data.types import Dataset
from edgedet.draw import class_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IntArray = npt.NDArray[np.int64]

_SHOWN_BARS, _SHOWN_CELLS = 40, 20  # classes that stay readable
_LARGE_CELLS = 12
_LONGEST_NAME = 22


def write_classes(dataset: Dataset, path: Path) -> None:
    """Bars of the classes, the most frequent first, beside the matrix of the classes that share pictures."""
    counts = np.bincount(box_table(dataset).class_ids, minlength=len(dataset.class_names))
    order = np.argsort(-counts, kind="stable")
    together = cooccurrence(dataset)
    bars, cells = order[:_SHOWN_BARS], order[:_SHOWN_CELLS]
    height = max(4.8, 1.6 + 0.19 * len(bars))
    title = f"{dataset.root.name}, split {dataset.split}: {len(counts)} classes"
    with save_figure(path, title, (13, height)) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
        names = [_short(dataset.class_names[k]) for k in bars]
        _bars(left, names, counts[bars], together.diagonal()[bars], [rgb(int(k)) for k in bars], len(counts))
        _cells(right, [_short(dataset.class_names[k]) for k in cells], together[np.ix_(cells, cells)], len(counts))


def rgb(class_id: int) -> tuple[float, float, float]:
    """The colour that boxes of a class have everywhere, 0..1."""
    red, green, blue = class_colour(int(class_id))
    return red / 255, green / 255, blue / 255


def _bars(
    axes: Axes, names: list[str], objects: IntArray, images: IntArray,
    colours: list[tuple[float, float, float]], classes: int,
) -> None:  # fmt: skip
    places = np.arange(len(names))
    axes.barh(places, objects, color=colours)
    for place, count, pictures in zip(places.tolist(), objects.tolist(), images.tolist(), strict=True):
        axes.text(count, place, f" {count} in {pictures}", va="center", fontsize="small" if len(names) <= 15 else 7)
    axes.set_yticks(places, names, fontsize="medium" if len(names) <= 15 else 7.5)
    axes.margins(y=0.01)
    axes.invert_yaxis()
    axes.set_xlim(0, float(objects.max(initial=1)) * 1.22)
    shown = "" if classes <= len(names) else f", the {len(names)} most frequent"
    axes.set(title=f"Objects of each class, and images with it{shown}", xlabel="objects")


def _cells(axes: Axes, names: list[str], together: IntArray, classes: int) -> None:
    """Colours go by the pairs of two classes; the diagonal may be darker than all of them."""
    pairs = together[~np.eye(len(names), dtype=bool)]
    top = max(int(pairs.max(initial=0)), 1)
    axes.imshow(together, cmap="Blues", vmin=0, vmax=top)
    small = len(names) <= _LARGE_CELLS
    for row, column in np.argwhere(together > 0):
        count = int(together[row, column])
        colour = "white" if count > 0.6 * top else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize="medium" if small else 7.5)
    axes.set_xticks(range(len(names)), names, rotation=0 if len(names) <= 4 else 90, fontsize="medium" if small else 8)
    axes.set_yticks(range(len(names)), names, fontsize="medium" if small else 8)
    shown = "" if classes <= len(names) else f", the {len(names)} most frequent"
    axes.set_title(f"Images that hold both classes{shown}")


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
