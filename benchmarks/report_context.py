"""Everything that the template of the report names, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import edgedet
from edgedet.benchmarks.latency import REFERENCE_RUNTIME
from edgedet.benchmarks.nms_curve import NmsCurve, curve_svg
from edgedet.benchmarks.report_cells import Cell, Table
from edgedet.benchmarks.report_charts import Chart, distribution_charts, pareto_charts
from edgedet.benchmarks.report_devices import (
    best_at,
    device_table,
    doubtful,
    measurement_table,
    not_run_elsewhere,
    places,
    typical_ms,
)
from edgedet.benchmarks.report_entries import ReportEntry
from edgedet.benchmarks.report_facts import accuracy_facts, device_facts
from edgedet.benchmarks.report_figures import MAX_PANELS, confusion_table, curves_svg
from edgedet.benchmarks.report_join import OfAnotherFile
from edgedet.benchmarks.report_pareto import left_out, panels
from edgedet.benchmarks.report_pictures import mistakes, side_by_side
from edgedet.benchmarks.report_quantization import quantization_table
from edgedet.benchmarks.report_stages import inside_notes, stage_groups, stage_labels
from edgedet.benchmarks.report_svg import colour_of, ink_on
from edgedet.benchmarks.report_table import class_table, parity_table, summary_table
from edgedet.evaluation import EvalResult
from edgedet.export.parity_report import ParityReport

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class _Matrix:
    """A confusion matrix with its title; `table` is None where it is too large for a page."""

    name: str
    table: Table | None
    score_min: float
    iou_min: float


def page_context(
    entries: Sequence[ReportEntry], title: str, photographs: int, others: Sequence[OfAnotherFile],
    curves: Sequence[NmsCurve] = (),
) -> dict[str, Any]:  # fmt: skip
    """All of it.

    Raises:
        EdgedetError: an image of the data set cannot be read.
    """
    page = {
        "title": title,
        "css": (TEMPLATES / "report.css").read_text(encoding="utf-8"),
        "js": (TEMPLATES / "report.js").read_text(encoding="utf-8"),
        "version": edgedet.__version__,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "others": others,
        "nms_curves": _nms_curves(entries, curves),
    }
    return {**page, **_files(entries), **_devices(entries), **_accuracy(entries, photographs)}


def _nms_curves(entries: Sequence[ReportEntry], curves: Sequence[NmsCurve]) -> list[Chart]:
    """One figure for each number of threads, in the colours of the files."""
    number_of = {entry.sha256: k for k, entry in enumerate(entries, 1)}
    charts = []
    for threads in sorted({curve.threads for curve in curves}):
        mine = [curve for curve in curves if curve.threads == threads and curve.sha256 in number_of]
        if mine:
            svg = curve_svg(mine, [colour_of(number_of[curve.sha256]) for curve in mine])
            runtimes = ", ".join(dict.fromkeys(curve.runtime for curve in mine))
            charts.append(Chart(f"{threads} thread{'s' if threads > 1 else ''}", runtimes, svg, ""))
    return charts


def _files(entries: Sequence[ReportEntry]) -> dict[str, Any]:
    """The files and their parity."""
    return {
        "verdicts": _verdicts(entries),
        "dataset_line": _dataset_line(entries),
        "timed_here": any(entry.latency is not None for entry in entries),
        "summary": summary_table(entries),
        "remarks": _remarks(entries),
        "absences": [(entry.name, entry.absences()) for entry in entries if entry.absences()],
        "parity": parity_table(entries),
        "quantization": quantization_table(entries),
        "notes": [(entry.name, entry.notes) for entry in entries if entry.notes],
        "digests": [(entry.name, entry.sha256) for entry in entries if entry.sha256],
    }


def _devices(entries: Sequence[ReportEntry]) -> dict[str, Any]:
    """Latency, and accuracy against it."""
    timed = any(entry.timings or entry.untimed for entry in entries)
    return {
        "devices": device_table(entries) if timed else None,
        "measurements": measurement_table(entries),
        "doubtful": doubtful(entries),
        "not_run_elsewhere": not_run_elsewhere(entries),
        "keys": [(k, e.name, colour_of(k), ink_on(colour_of(k))) for k, e in enumerate(entries, 1)],
        "pareto": pareto_charts(panels(entries)),
        "pareto_left_out": left_out(entries),
        "distributions": distribution_charts(entries),
        "stage_groups": stage_groups(entries),
        "stage_labels": stage_labels(entries),
        "inside_notes": inside_notes(entries),
        "accuracy_facts": accuracy_facts(entries),
        "device_facts": device_facts(entries),
    }


def _accuracy(entries: Sequence[ReportEntry], photographs: int) -> dict[str, Any]:
    """Curves, confusions and pictures of what was evaluated here."""
    results = [(entry.name, entry.evaluation) for entry in entries if isinstance(entry.evaluation, EvalResult)]
    head, rows = side_by_side(entries, photographs)
    return {
        "curves": curves_svg(entries),
        "curves_note": _curves_note(results[0][1]) if results else "",
        "classes": class_table(entries),
        "confusions": [_matrix(name, result) for name, result in results],
        "mistakes": mistakes(results[0][1]) if results else [],
        "picture_head": head,
        "picture_rows": rows,
    }


def _verdicts(entries: Sequence[ReportEntry]) -> list[Cell]:
    """The boxes under the title: what most readers came for."""
    exported = [entry for entry in entries if not entry.is_reference]
    passed = [entry for entry in exported if isinstance(entry.parity, ParityReport) and entry.parity.passed]
    failed = [entry for entry in exported if isinstance(entry.parity, ParityReport) and entry.parity.status == "failed"]
    cells = []
    if exported:
        style = "bad" if failed else "good" if len(passed) == len(exported) else "warn"
        cells.append(Cell(f"{len(passed)} of {len(exported)}", style=style, title="exported files passed parity"))
    known = [(entry.name, entry.accuracy.metrics) for entry in entries if entry.accuracy is not None]
    if known:
        name, metrics = known[0]
        cells.append(Cell(f"{metrics['coco_ap50']:.3f}", title=f"AP50, {name}"))
        cells.append(Cell(f"{metrics['coco_ap']:.3f}", title="COCO AP (IoU .50:.95)"))
    if fastest := _fastest(exported):
        cells.append(fastest)
    sizes = [entry.size_bytes for entry in exported if entry.size_bytes is not None]
    if sizes:
        cells.append(Cell(f"{min(sizes) / 1e6:.1f} MB", title="smallest file"))
    return cells


def _fastest(exported: Sequence[ReportEntry]) -> Cell | None:
    """The fastest file on any device."""
    times = [
        (time_ms, entry.name, place.title)
        for entry in exported
        for place in places(exported)
        if (latency := best_at(entry, place)) is not None and (time_ms := typical_ms(latency)) is not None
    ]
    if not times:
        return None
    time_ms, name, device = min(times)
    return Cell(f"{time_ms:.1f} ms", title=f"fastest: {name} on {device}")


def _dataset_line(entries: Sequence[ReportEntry]) -> str:
    results = [entry.evaluation for entry in entries if isinstance(entry.evaluation, EvalResult)]
    if results:
        data = results[0].dataset
        objects = sum(len(sample.objects) for sample in data.samples)
        return f"the {data.split} split of {data.root.name}: {len(data)} images, {objects} objects"
    known = [entry.accuracy.pictures_text for entry in entries if entry.accuracy is not None]
    return "; ".join(dict.fromkeys(known)) or "no images: nothing was evaluated"


def _remarks(entries: Sequence[ReportEntry]) -> list[str]:
    lines = ["Change: COCO AP minus that of the .pt, on the same images. Parity includes it."]
    timings = [latency for entry in entries for latency in entry.timings]
    if any(not latency.is_device_latency for latency in timings):
        lines.append(
            f"† {REFERENCE_RUNTIME}: the saved file is interpreted operator by operator. Not a device latency."
        )
    if any(not latency.trusted for latency in timings):
        lines.append("? Other things than the file took part in this number; the reasons stand under the devices.")
    for entry in entries:
        for found in entry.accuracies:
            said = f"COCO AP {found.metrics['coco_ap']:.4f}, AP50 {found.metrics['coco_ap50']:.4f}"
            lines.append(
                f"{entry.name}, evaluated elsewhere: {said} on {found.pictures_text}, in {found.runtime}, "
                f"read from a file."
            )
    return lines


def _curves_note(result: EvalResult) -> str:
    drawn = sum(1 for curve in result.curves.values() if curve.num_objects)
    return f"The {MAX_PANELS} of {drawn} classes with the most objects." if drawn > MAX_PANELS else ""


def _matrix(name: str, result: EvalResult) -> _Matrix:
    confusion = result.confusion
    return _Matrix(name, confusion_table(confusion), confusion.score_min, confusion.iou_min)
