"""Precision-recall curves as SVG that follows the page's colours, and the confusion matrix as table cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgedet.benchmarks.report_cells import Cell, Table
from edgedet.benchmarks.report_entries import ReportEntry
from edgedet.benchmarks.report_svg import COLOURS, INK, STYLE, for_page
from edgedet.evaluation import Confusion, EvalResult, PrecisionRecall
from edgedet.evaluation.plots import curve_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_PANELS = 12
MAX_MATRIX_CLASSES = 30
_DASHES: tuple[str | tuple[int, tuple[float, float]], ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (3, 2)),
    (0, (1, 1.4)),
    "-.",
    ":",
    "--",
)


def curves_svg(entries: Sequence[ReportEntry]) -> str:
    """One panel a class (the ones with the most objects), one line a file; "" where nothing was evaluated.

    Lines are the raw points at IoU 0.5. The first is broad and the others thin, so that equal files show as such.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    results = {entry.name: entry.evaluation for entry in entries if isinstance(entry.evaluation, EvalResult)}
    if not results:
        return ""
    first = next(iter(results.values()))
    counts = {name: curve.num_objects for name, curve in first.curves.items() if curve.num_objects}
    names = sorted(counts, key=lambda name: -counts[name])[:MAX_PANELS]
    columns = max(1, min(3, len(names)))
    rows = max(1, -(-len(names) // columns))
    with rc_context(STYLE):
        figure = Figure(figsize=(3.4 * columns, 3.1 * rows + 0.4), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat
        for axes, name in zip(panels, names, strict=False):
            _draw_panel(axes, {label: result.curves[name] for label, result in results.items()})
            axes.set_title(f"{name} ({counts[name]} objects)", fontsize="medium")
        for axes in figure.axes[len(names) :]:
            axes.set_visible(False)
        figure.supxlabel("recall", fontsize="medium")
        figure.supylabel("precision", fontsize="medium")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper left", ncols=max(1, len(labels)), frameon=False, handlelength=3
        )
        return for_page(figure)


def _draw_panel(axes: Axes, curves: dict[str, PrecisionRecall]) -> None:
    """One class: a line a file, drawn as edgedet.evaluation.plots does."""
    for k, (label, curve) in enumerate(curves.items()):
        colour, dashes = COLOURS[k % len(COLOURS)], _DASHES[k % len(_DASHES)]
        axes.step(*curve_points(curve), label=label, linewidth=1.8 if k else 5, color=colour, linestyle=dashes)
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02))
    axes.grid(alpha=0.15, color=INK)


def confusion_table(confusion: Confusion) -> Table | None:
    """Counts, row = labelled, column = detected; style "heat" with the share of the row. None where it is too large."""
    if len(confusion.class_names) > MAX_MATRIX_CLASSES:
        return None
    counts = confusion.counts
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = []
    for row, name in enumerate((*confusion.class_names, "background")):
        cells = [_heat(int(counts[row, k]), float(share[row, k]), k == row) for k in range(len(counts))]
        rows.append((Cell(name, name, "name"), *cells))
    return Table(("labelled \\ detected", *confusion.class_names, "not found"), tuple(rows))


def _heat(count: int, share: float, right: bool) -> Cell:
    return Cell(str(count) if count else "·", round(share, 3), "heat right" if right else "heat wrong")
