"""Precision-recall curves and the confusion matrix as pictures for reports."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from edgedet.evaluation.confusion import Confusion
from edgedet.evaluation.evaluate import IOU_MIN, EvalResult
from edgedet.evaluation.tables import FloatArray
from edgedet.evaluation.voc import PrecisionRecall

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEGEND_MAX = 20  # classes named in the legend; with more, a legend is larger than the curves


def precision_recall_figure(results: EvalResult | dict[str, EvalResult]) -> Figure:
    """One axes per detector with a curve per class, drawn from the raw points (no interpolation).

    Args:
        results: one result, or several by title, all of the same classes.
    """
    from matplotlib.figure import Figure

    by_title = {"": results} if isinstance(results, EvalResult) else results
    figure = Figure(figsize=(4.6 * len(by_title), 4.2), layout="constrained")
    all_axes = figure.subplots(1, len(by_title), squeeze=False)[0]
    for axes, (title, result) in zip(all_axes, by_title.items(), strict=True):
        for name, curve in result.curves.items():
            if curve.num_objects:
                label = f"{name} (AP {curve.ap_area():.3f})"
                axes.step(*curve_points(curve), label=label)
        axes.set(xlim=(0, 1.01), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
        axes.set_title(title or f"IoU {IOU_MIN}")
        axes.grid(alpha=0.3)
        if 0 < len(axes.get_lines()) <= _LEGEND_MAX:
            axes.legend(loc="lower left", fontsize="small")
    return figure


def curve_points(curve: PrecisionRecall) -> tuple[FloatArray, FloatArray]:
    """Recall and precision to draw: the raw points, and the first one's precision at recall 0; none give none."""
    if not len(curve.recall):
        return curve.recall, curve.precision
    return np.append(0.0, curve.recall), np.append(curve.precision[0], curve.precision)


def confusion_figure(confusion: Confusion) -> Figure:
    """The matrix with counts; colour is the share of the row (of the label's objects)."""
    from matplotlib.figure import Figure

    counts, size = confusion.counts, len(confusion.counts)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side_in = max(3.6, 0.55 * size + 1.8)
    figure = Figure(figsize=(side_in, side_in), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(size), [*confusion.class_names, "not found"], rotation=45, ha="right")
    axes.set_yticks(range(size), [*confusion.class_names, "background"])
    axes.set(xlabel="detected", ylabel="labelled")
    axes.set_title(f"score ≥ {confusion.score_min:g}, IoU ≥ {confusion.iou_min:g}")
    for row, column in np.argwhere(counts > 0) if size <= 2 * _LEGEND_MAX else ():
        colour = "white" if share[row, column] > 0.5 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize="small")
    return figure


def to_svg(figure: Figure) -> str:
    """The picture as an <svg> element to place in a page: no XML header, text as paths, same bytes each time."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "edgedet"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def to_png(figure: Figure, dots_per_inch: int = 120) -> bytes:
    """The picture as a PNG file's bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dots_per_inch)
    return buffer.getvalue()
