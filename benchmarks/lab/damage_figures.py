"""The damage report's charts: average precision, causes, scores, and what scores mean."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgedet.benchmarks.lab.damage import Damage
from edgedet.benchmarks.lab.damage_accuracy import SIZES
from edgedet.benchmarks.lab.damage_causes import CAUSES
from edgedet.benchmarks.lab.damage_json import KINDS
from edgedet.benchmarks.lab.score_calibration import Calibration
from edgedet.benchmarks.report_svg import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_A, _B = COLOURS[0], COLOURS[1]
_CAUSE_COLOURS = dict(
    zip(CAUSES, (COLOURS[1], COLOURS[4], COLOURS[3], COLOURS[5], COLOURS[6], COLOURS[0]), strict=True)
)
_MOST_CLASSES = 12  # with bars of their own; more could not be read


def figures(damage: Damage) -> dict[str, Figure]:
    """Each chart by the name of its file, without ending."""
    return {
        "ap": _ap(damage),
        "causes": _causes(damage),
        "scores": _scores(damage),
        "calibration": _calibration(damage),
    }


def _new(width_in: float, height_in: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    return figure, figure.subplots()


def _ap(damage: Damage) -> Figure:
    """Bars of both files: sizes first, then the classes that changed most."""
    sizes = [row for row in damage.ap if not row.class_name and row.objects]
    classes = [row for row in damage.ap if row.class_name and row.size == SIZES[0] and row.objects]
    classes = sorted(classes, key=lambda row: -abs(row.change))[:_MOST_CLASSES]
    rows = sizes + classes
    labels = [row.class_name or ("all" if row.size == SIZES[0] else row.size) for row in rows]
    figure, axes = _new(max(4.0, 0.62 * len(rows) + 1.6), 3.0)
    places = np.arange(len(rows))
    axes.bar(places - 0.19, [row.ap_a for row in rows], 0.38, color=_A, label="A")
    axes.bar(places + 0.19, [row.ap_b for row in rows], 0.38, color=_B, label="B")
    for place, row in zip(places.tolist(), rows, strict=True):
        height = max(row.ap_a, row.ap_b)
        axes.text(place, height + 0.01, f"{row.change:+.3f}", ha="center", va="bottom", fontsize="small")
    axes.set_xticks(places, labels, rotation=30 if len(rows) > 7 else 0)
    axes.set(ylabel="COCO AP", ylim=(0, 1.12 * max([0.1, *(max(row.ap_a, row.ap_b) for row in rows)])))
    axes.legend(fontsize="small", loc="lower right")
    return figure


def _causes(damage: Damage) -> Figure:
    """A stacked bar for each kind of change."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _new(5.2, 2.4)
    left = np.zeros(len(KINDS))
    for cause, text in CAUSES.items():
        counts = np.array([damage.causes(kind).get(cause, 0) for kind in KINDS])
        if counts.any():
            axes.barh(range(len(KINDS)), counts, left=left, color=_CAUSE_COLOURS[cause], label=text.partition(":")[0])
        left = left + counts
    axes.set_yticks(range(len(KINDS)), list(KINDS))
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="detections", xlim=(0, max(1.0, 1.05 * left.max())))
    if left.any():
        axes.legend(fontsize="small", loc="lower right")
    return figure


def _scores(damage: Damage) -> Figure:
    """What stayed and what went, by the scores in both files; a score of B that is not known lies on the axis."""
    figure, axes = _new(3.6, 3.4)
    axes.plot([0, 1], [0, 1], color=COLOURS[0], linewidth=0.8)
    axes.axhline(damage.score_min, color=COLOURS[0], linestyle=":", linewidth=0.8)
    axes.scatter(damage.kept.score_a, damage.kept.score_b, s=5, color=_B, alpha=0.5, label="kept")
    lost = [(change.score_a, change.cause.score or 0.0) for change in damage.of_kind("lost")]
    if lost:
        before, after = np.array(lost).T
        axes.scatter(before, after, s=14, marker="x", color=COLOURS[5], linewidth=1, label="lost")
    axes.set(xlabel="score in A", ylabel="score in B", xlim=(0, 1.01), ylim=(-0.02, 1.01))
    axes.legend(fontsize="small", loc="best")
    return figure


def _calibration(damage: Damage) -> Figure:
    figure, axes = _new(3.6, 3.4)
    axes.plot([0, 1], [0, 1], color=COLOURS[0], linewidth=0.8)
    for name, one, colour in (("A", damage.calibration_a, "#5b6675"), ("B", damage.calibration_b, _B)):
        _reliability(axes, name, one, colour)
    axes.set(xlabel="mean score", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.01))
    axes.legend(fontsize="small", loc="best")
    return figure


def _reliability(axes: Axes, name: str, one: Calibration, colour: str) -> None:
    filled = [b for b in one.bins if b.count]
    error = "nothing found" if math.isnan(one.error) else f"ECE {one.error:.3f}"
    axes.plot(
        [b.mean_score for b in filled], [b.precision for b in filled], marker="o", markersize=4, color=colour,
        label=f"{name} ({error})",
    )  # fmt: skip
