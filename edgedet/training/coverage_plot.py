"""Coverage of the boxes by the priors as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgedet.data.figures import save_figure
from edgedet.training.coverage import Coverage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 40
_WORDS = {"iou": "IoU of the best prior", "shape_iou": "IoU of the best anchor's shape (YOLO)"}


def write_coverage(coverage: Coverage, path: Path, title: str) -> None:
    """Histogram of each object's best IoU, stacked by level, beside the objects of each level."""
    with save_figure(path, title, (13, 5)) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1.3, 1))
        colours = [f"C{k}" for k in range(len(coverage.levels))]
        _histogram(left, coverage, colours)
        _levels(right, coverage, colours)


def _histogram(axes: Axes, coverage: Coverage, colours: list[str]) -> None:
    parts = [coverage.best_iou[coverage.best_level == k] for k in range(len(coverage.levels))]
    names = [f"{level.grid_wh[0]}x{level.grid_wh[1]}" for level in coverage.levels]
    axes.hist(parts, bins=_BINS, range=(0, 1), stacked=True, color=colours, label=names)
    axes.axvline(coverage.iou_match, color="0.2", linestyle="--", linewidth=1)
    axes.set_ylim(top=axes.get_ylim()[1] * 1.1)
    left_of = coverage.iou_match - 0.01
    words = f"{coverage.unreached:.1%} below {coverage.iou_match:g}"
    axes.text(left_of, 0.98, words, ha="right", va="top", transform=axes.get_xaxis_transform())
    axes.legend(title="level of that prior", loc="center left", fontsize="small")
    axes.set(title="How well the best prior fits each object", xlabel=_WORDS[coverage.measure], ylabel="objects")
    axes.set_xlim(0, 1)


def _levels(axes: Axes, coverage: Coverage, colours: list[str]) -> None:
    places = np.arange(len(coverage.levels))
    reached = [level.reached for level in coverage.levels]
    best = [level.best for level in coverage.levels]
    axes.barh(places - 0.2, best, height=0.4, color=colours)
    axes.barh(places + 0.2, reached, height=0.4, color=colours, alpha=0.45)
    for place, count, other in zip(places.tolist(), best, reached, strict=True):
        axes.text(count, place - 0.2, f" {count} best here", va="center", fontsize="small")
        axes.text(other, place + 0.2, f" {other} reached", va="center", fontsize="small")
    sides = [[side for anchor in level.anchors_wh_px for side in anchor] for level in coverage.levels]
    names = [
        f"{level.grid_wh[0]}x{level.grid_wh[1]}\n{min(px):.0f} to {max(px):.0f} px"
        for level, px in zip(coverage.levels, sides, strict=True)
    ]
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_xlim(0, max([*best, *reached, 1]) * 1.3)
    axes.set(title=f"Levels: best prior here, and any prior from IoU {coverage.iou_match:g}", xlabel="objects")
