"""Charts of a report: accuracy against latency, and how the single runs are distributed. One small figure a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgedet.benchmarks.bootstrap import FloatArray
from edgedet.benchmarks.latency import Latency
from edgedet.benchmarks.report_devices import Place, best_at, places, typical_ms
from edgedet.benchmarks.report_entries import ReportEntry
from edgedet.benchmarks.report_pareto import Panel, Point
from edgedet.benchmarks.report_svg import GREY, INK, PAPER, STYLE, colour_of, for_page, ink_on
from edgedet.benchmarks.stats import ToolSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_IN = 5.0  # of a figure; a phone shows it at this size, so that its letters can be read
_LOG_FROM = 8.0  # times between the slowest and the fastest file on a device from which the axis is logarithmic
_LEAST_AP_SPAN = 0.02  # of the vertical axis: smaller differences should look small
_BINS = 48
_ROW_HEIGHT = 0.44  # of the tallest bin; a row is 1 high, its label stands above


@dataclass(frozen=True)
class Chart:
    """One figure with its heading and a line below."""

    title: str
    subtitle: str
    svg: str
    caption: str


def pareto_charts(panels: Sequence[Panel]) -> list[Chart]:
    """Accuracy against the median latency, one figure a device, all with the same vertical axis."""
    if not panels:
        return []
    aps = [point.ap for panel in panels for point in panel.points]
    middle, span = (min(aps) + max(aps)) / 2, max(_LEAST_AP_SPAN, 1.35 * (max(aps) - min(aps)))
    limits = (middle - span / 2, middle + span / 2)
    return [_pareto_chart(panel, limits) for panel in panels]


def _pareto_chart(panel: Panel, ap_limits: tuple[float, float]) -> Chart:
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, 3.1), layout="constrained")
        axes = figure.subplots()
        best = panel.front
        # The front as a staircase: a file is beaten by every file left of it and above.
        times, aps = [p.p50_ms for p in best], [p.ap for p in best]
        _, right_ms = _time_axis(axes, [p.p50_ms for p in panel.points], margin=0.12)
        stairs = [times[0], *times, right_ms], [ap_limits[0], *aps, aps[-1]]
        axes.step(*stairs, where="post", color=INK, alpha=0.45, linewidth=1.2)
        for point in panel.points:
            _draw_point(axes, point)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.3f}"))
        axes.set(ylim=ap_limits, xlabel="p50, ms", ylabel="COCO AP")
        axes.grid(alpha=0.15, color=INK)
        svg = for_page(figure)
    names = ", ".join(f"{p.name} ({p.p50_ms:.2f} ms, {p.ap:.4f})" for p in best)
    return Chart(panel.place.title, panel.place.name, svg, f"On the front: {names}.")


def _draw_point(axes: Axes, point: Point) -> None:
    """A disc with the file's number; hollow where another file beats it, with a question mark where it is doubtful."""
    colour = colour_of(point.number)
    if point.interval_ms:
        low, high = point.interval_ms
        axes.plot([low, high], [point.ap, point.ap], color=colour, linewidth=3, alpha=0.5, solid_capstyle="butt")
    face = colour if point.on_front else PAPER
    axes.plot(point.p50_ms, point.ap, "o", markersize=15, color=face, markeredgecolor=colour, markeredgewidth=1.8)
    text = f"{point.number}" if point.trusted else f"{point.number}?"
    ink = ink_on(colour) if point.on_front else INK
    place = {"ha": "center", "va": "center_baseline", "fontsize": 9, "fontweight": "bold"}
    axes.text(point.p50_ms, point.ap, text, color=ink, **place)  # type: ignore[arg-type]


def distribution_charts(entries: Sequence[ReportEntry]) -> list[Chart]:
    """The runs that count, one figure a device, one row a file: its fastest way on that device."""
    charts = []
    for place in places(entries):
        rows = [(k, e.name, latency) for k, e in enumerate(entries, 1) if (latency := best_at(e, place)) is not None]
        if rows:
            charts.append(_distribution_chart(place, rows))
    return charts


def _distribution_chart(place: Place, rows: Sequence[tuple[int, str, Latency]]) -> Chart:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, 0.62 * len(rows) + 0.75), layout="constrained")
        axes = figure.subplots()
        limits = _time_axis(axes, [x for _, _, latency in rows for x in _extent(latency)], margin=0.05)
        notes = []
        for row, (number, name, latency) in enumerate(rows):
            beyond = _draw_row(axes, -row, number, latency, limits)
            axes.text(0, -row + 0.6, f"{number}  {name}", transform=axes.get_yaxis_transform(), fontsize=9)
            if beyond:
                slowest = max(latency.steady.samples_ms)
                notes.append(f"{name}: {beyond} runs beyond the axis, up to {slowest:.1f} ms.")
            if not latency.steady.samples_ms:
                notes.append(f"{name}: the tool keeps single runs to itself; the line is what it says.")
        axes.set(ylim=(-len(rows) + 0.75, 0.95), xlabel="ms", yticks=[])
        axes.grid(axis="x", alpha=0.15, color=INK)
        for side in ("left", "right", "top"):
            axes.spines[side].set_visible(False)
        svg = for_page(figure)
    return Chart(place.title, place.name, svg, " ".join(notes))


def _extent(latency: Latency) -> list[float]:
    """The times that the axis must hold; the last hundredth of the runs may lie beyond it."""
    steady = latency.steady
    if steady.samples_ms:
        return [min(steady.samples_ms), 1.02 * (steady.p99_ms or 0.0)]
    aggregates = steady.aggregates_ms if isinstance(steady, ToolSummary) else {}
    said = (steady.p50_ms, steady.p90_ms, *(aggregates.get(name) for name in ("mean", "min", "max")))
    return [value for value in said if value is not None]


def _draw_row(axes: Axes, y: float, number: int, latency: Latency, limits: tuple[float, float]) -> int:
    """A histogram with the median, its interval, p90 and p99; returns how many runs lie beyond the axis."""
    steady, colour = latency.steady, colour_of(number)
    if isinstance(steady, ToolSummary):
        said = _extent(latency)
        axes.plot([min(said), max(said)], [y + 0.1] * 2, color=colour, linewidth=2, linestyle=(0, (2, 1.5)))
        axes.plot(typical_ms(latency) or min(said), y + 0.1, "o", markersize=6, color=colour)
        return 0
    values: FloatArray = np.asarray(steady.samples_ms, dtype=np.float64)
    edges = np.geomspace(*limits, _BINS + 1) if axes.get_xscale() == "log" else np.linspace(*limits, _BINS + 1)
    counts, _ = np.histogram(values, edges)
    heights = _ROW_HEIGHT * counts / max(counts.max(), 1)
    axes.fill_between(edges, y, y + np.append(heights, 0.0), step="post", color=colour, alpha=0.7, linewidth=0)
    axes.axhline(y, color=GREY, linewidth=0.8)
    if interval := steady.intervals_ms.get("p50"):
        axes.fill_betweenx([y, y + _ROW_HEIGHT], *interval, color=INK, alpha=0.25, linewidth=0)
    ticks = ((steady.p50_ms, _ROW_HEIGHT, "-"), (steady.p90_ms, 0.28, "-"), (steady.p99_ms, 0.28, ":"))
    for value, height, line in ticks:
        axes.plot([value, value], [y, y + height], color=INK, linewidth=1.4, linestyle=line)
    return int((values > limits[1]).sum())


def _time_axis(axes: Axes, values: Sequence[float], margin: float) -> tuple[float, float]:
    """Limits around the values, logarithmic where they differ by much."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

    low, high = min(values), max(values)
    if high > _LOG_FROM * low:
        factor = (high / low) ** margin
        limits = (low / factor, high * factor)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        room = margin * max(high - low, 0.1 * high)
        limits = (low - room, high + room)
        axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xlim(limits)
    return limits
