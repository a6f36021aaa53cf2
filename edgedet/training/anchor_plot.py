"""Fitted anchors as a picture: the curve over their number, and the anchors among the boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgedet.data.figures import save_figure, whole_numbers
from edgedet.training.anchors import AnchorFit, shape_iou

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHOWN_BOXES = 20_000


def write_anchors(
    boxes_wh_px: npt.NDArray[np.floating], curve: Sequence[AnchorFit], elbow: int, chosen: AnchorFit, path: Path,
    title: str,
) -> None:  # fmt: skip
    """Draw the curve with its elbow, and the chosen anchors among the boxes they stand for."""
    with save_figure(path, title, (13, 5.4)) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
        _curve(left, curve, elbow)
        _boxes(right, boxes_wh_px, chosen)


def _curve(axes: Axes, curve: Sequence[AnchorFit], elbow: int) -> None:
    counts, values = [fit.count for fit in curve], [fit.mean_iou for fit in curve]
    axes.plot(counts, values, marker="o", label="k-means, distance 1 - IoU")
    axes.plot([counts[0], counts[-1]], [values[0], values[-1]], color="0.6", linewidth=1, linestyle="--", label="chord")
    value = values[counts.index(elbow)]
    axes.plot(
        [elbow], [value], marker="o", markersize=13, fillstyle="none", color="C3", linestyle="none", label="elbow"
    )
    axes.annotate(f"{elbow}: {value:.3f}", (elbow, value), (10, -16), textcoords="offset points", color="C3")
    axes.set(title="Mean IoU of each box with its anchor", xlabel="anchors (k)", ylabel="mean IoU")
    whole_numbers(axes.xaxis)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")


def _boxes(axes: Axes, boxes_wh_px: npt.NDArray[np.floating], chosen: AnchorFit) -> None:
    """Boxes have the colour of their anchor; anchors are numbered, since they lie close together."""
    boxes = boxes_wh_px[:: -(-len(boxes_wh_px) // _SHOWN_BOXES)]
    owner = shape_iou(boxes, chosen.anchors_wh).argmax(axis=1)
    axes.scatter(boxes[:, 0], boxes[:, 1], c=[f"C{k % 10}" for k in owner], s=5, alpha=0.35)
    for k, (width, height) in enumerate(chosen.anchors_wh.tolist()):
        axes.plot(
            width, height, marker="o", markersize=14, markeredgecolor="white", linestyle="none", color=f"C{k % 10}",
            label=f"{k + 1}: {width:.0f}x{height:.0f}",
        )  # fmt: skip
        axes.text(width, height, str(k + 1), ha="center", va="center", color="white", fontsize=8, weight="bold")
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.0, 1.0), markerscale=0.5, fontsize="small", title="px", frameon=False
    )
    reach = float(boxes.max()) * 1.06
    axes.set(xlim=(0, reach), ylim=(0, reach), aspect="equal")
    axes.set(title=f"{chosen.count} anchors, mean IoU {chosen.mean_iou:.3f}")
    axes.set(xlabel="width in the network's input (px)", ylabel="height in the network's input (px)")
