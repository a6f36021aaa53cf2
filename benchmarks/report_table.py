"""The tables about files: what each is, how accurate, whether it is the model, how fast on this host."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from edgedet.benchmarks.latency import NotRun
from edgedet.benchmarks.report_cells import Cell, Table, not_measured, not_run, number
from edgedet.benchmarks.report_entries import ReportEntry, reference_accuracy
from edgedet.benchmarks.report_evaluations import Accuracy
from edgedet.evaluation import EvalResult
from edgedet.export.parity_report import Depth, ParityReport

_LATENCY = ("Load ms", "First ms", "p50 ms", "p90 ms")
_DEPTHS = {"heads": "raw heads", "decoded": "decoded boxes", "detections": "detections", "accuracy": "accuracy"}


def summary_table(entries: Sequence[ReportEntry]) -> Table:
    """One row a file: what it is, how accurate, whether it is the model, how fast here if it was timed here."""
    head = ("File", "Format", "Size MB", "COCO AP", "AP50", "Change", "Parity", *_LATENCY, "Runtime")
    reference = reference_accuracy(entries)
    rows = []
    for entry in entries:
        size = entry.size_bytes
        rows.append(
            (
                Cell(entry.name, entry.name, "name"),
                Cell(f"{entry.format} {entry.precision}", f"{entry.format} {entry.precision}", "format"),
                number(size / 1e6, 2) if size is not None else not_run(entry.absences()),
                *_accuracy_cells(entry, reference),
                _parity_cell(entry),
                *_latency_cells(entry),
                _runtime_cell(entry),
            )
        )
    timed_here = any(entry.latency is not None for entry in entries)
    return Table(head, tuple(rows)).without(() if timed_here else _LATENCY)


def parity_table(entries: Sequence[ReportEntry]) -> Table:
    """One row a file, one column a depth: what was compared and how far off it was."""
    rows = []
    for entry in entries:
        if entry.is_reference:
            continue
        cells = [Cell(entry.name, entry.name, "name")]
        for name in _DEPTHS:
            report = entry.parity
            cells.append(
                _depth_cell(report.depth(name)) if isinstance(report, ParityReport) else not_run(entry.absences())
            )
        rows.append(tuple(cells))
    return Table(("File", *_DEPTHS.values()), tuple(rows))


def class_table(entries: Sequence[ReportEntry]) -> Table:
    """COCO AP per class, one column a file."""
    results = {entry.name: entry.evaluation for entry in entries if isinstance(entry.evaluation, EvalResult)}
    if not results:
        return Table(("Class",), ())
    first = next(iter(results.values()))
    rows = []
    for name, values in first.per_class.items():
        numbers = [number(result.per_class[name]["coco_ap"], 3) for result in results.values()]
        rows.append((Cell(name, name, "name"), number(values["objects"], 0), *numbers))
    return Table(("Class", "Objects", *results), tuple(rows))


def _accuracy_cells(entry: ReportEntry, reference: Accuracy | None) -> tuple[Cell, Cell, Cell]:
    accuracy = entry.accuracy
    if accuracy is None:
        cell = not_run([entry.evaluation.reason]) if isinstance(entry.evaluation, NotRun) else not_measured()
        return cell, cell, cell
    ap, ap50 = accuracy.metrics["coco_ap"], accuracy.metrics["coco_ap50"]
    return number(ap, 4), number(ap50, 4), _change_cell(entry, accuracy, reference)


def _change_cell(entry: ReportEntry, accuracy: Accuracy, reference: Accuracy | None) -> Cell:
    if entry.is_reference:
        return Cell("-", math.inf, "num muted", "the other files are compared with this one")
    if reference is None:
        return Cell("no .pt", math.inf, "muted", "give the .pt too")
    if accuracy.pictures != reference.pictures:
        return Cell("other images", math.inf, "muted", f"{accuracy.pictures_text}; the .pt: {reference.pictures_text}")
    change = accuracy.metrics["coco_ap"] - reference.metrics["coco_ap"]
    return Cell(f"{change:+.4f}", change, "num", "COCO AP minus that of the .pt")


def _runtime_cell(entry: ReportEntry) -> Cell:
    if entry.runtime:
        return Cell(entry.runtime, entry.runtime, "runtime")
    absences = entry.absences()
    return not_run(absences) if absences else not_measured()


def _parity_cell(entry: ReportEntry) -> Cell:
    report = entry.parity
    if report is None:
        return Cell("reference", "", "muted", "the other files are compared with this one")
    if isinstance(report, NotRun):
        return not_run([report.reason])
    style = {"passed": "good", "failed": "bad"}.get(report.status, "warn")
    return Cell(report.status, report.status, f"badge {style}", "\n".join(report.reasons()))


def _depth_cell(depth: Depth) -> Cell:
    style = {"passed": "good", "failed": "bad"}.get(depth.status, "warn")
    lines = [f"{_short_name(check.name)} {_short(check.value)} (limit {_short(check.limit)})" for check in depth.checks]
    if matched := depth.counts.get("matched"):
        lines.insert(0, f"{matched} of {depth.counts['reference']} matched")
    if depth.reason:
        lines.append(depth.reason)
    return Cell(depth.status, depth.status, f"badge {style}", "\n".join(lines))


def _latency_cells(entry: ReportEntry) -> tuple[Cell, ...]:
    latency = entry.latency
    if latency is None:
        return (not_measured(),) * len(_LATENCY)
    if isinstance(latency, NotRun):
        return (not_run([latency.reason]),) * len(_LATENCY)
    values = (latency.load_ms, latency.first_ms, latency.steady.p50_ms, latency.steady.p90_ms)
    cells = tuple(number(value, 1) for value in values)
    if not latency.is_device_latency:
        title = f"{latency.runtime}: not a device latency"
        return tuple(replace(cell, text=f"{cell.text} †", style="num muted", title=title) for cell in cells)
    if latency.trusted:
        return cells
    why = "\n".join(check.meaning for check in latency.noise if check.exceeded)
    return tuple(replace(cell, text=f"{cell.text} ?", title=why) for cell in cells)


def _short_name(name: str) -> str:
    return name.replace("(standard deviations)", "(std)").replace("share of borderline detections", "borderline share")


def _short(value: float) -> str:
    """Three digits, without the exponent that small numbers get."""
    return f"{value:.2g}" if abs(value) >= 1e-4 or not value else "< 0.0001"
