"""The tables of a report, as cells with text and a value to sort by. The page only lays them out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgedet.benchmarks.latency import Latency, NotRun
from edgedet.benchmarks.report_entries import ReportEntry, reference_result
from edgedet.evaluation import EvalResult
from edgedet.export.parity_report import Depth, ParityReport

NOT_RUN = "not run"
_DEPTHS = {"heads": "raw heads", "decoded": "decoded boxes", "detections": "detections", "accuracy": "accuracy"}


@dataclass(frozen=True)
class Cell:
    """One cell: its text, what to sort by, a style of the page ("num", "good", "bad", "muted") and a longer text."""

    text: str
    value: float | str = ""
    style: str = ""
    title: str = ""


@dataclass(frozen=True)
class Table:
    """A head and rows of the same length."""

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def summary_table(entries: Sequence[ReportEntry]) -> Table:
    """One row a file: what it is, how accurate, whether it is the model, how fast."""
    head = (
        "File", "Format", "Size MB", "COCO AP", "AP50", "Change", "Parity", "Load ms", "First ms", "p50 ms", "p90 ms",
        "Runtime",
    )  # fmt: skip
    reference = reference_result(entries)
    rows = []
    for entry in entries:
        size = entry.size_bytes
        rows.append(
            (
                Cell(entry.name, entry.name, "name"),
                Cell(f"{entry.format} {entry.precision}", f"{entry.format} {entry.precision}", "format"),
                _number(size / 1e6 if size is not None else math.nan, 2),
                *_accuracy_cells(entry.evaluation, None if entry.is_reference else reference),
                _parity_cell(entry),
                *_latency_cells(entry),
                Cell(entry.runtime, entry.runtime, "runtime") if entry.runtime else _not_run(entry.absences()),
            )
        )
    return Table(head, tuple(rows))


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
                _depth_cell(report.depth(name)) if isinstance(report, ParityReport) else _not_run(entry.absences())
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
        numbers = [_number(result.per_class[name]["coco_ap"], 3) for result in results.values()]
        rows.append((Cell(name, name, "name"), _number(values["objects"], 0), *numbers))
    return Table(("Class", "Objects", *results), tuple(rows))


def _accuracy_cells(evaluation: EvalResult | NotRun, reference: EvalResult | None) -> tuple[Cell, Cell, Cell]:
    if isinstance(evaluation, NotRun):
        cell = _not_run([evaluation.reason])
        return cell, cell, cell
    ap, ap50 = evaluation.metrics["coco_ap"], evaluation.metrics["coco_ap50"]
    if reference is None:
        return _number(ap, 4), _number(ap50, 4), Cell("", math.inf, "num")
    change = ap - reference.metrics["coco_ap"]
    return _number(ap, 4), _number(ap50, 4), Cell(f"{change:+.4f}", change, "num", "COCO AP minus that of the .pt")


def _parity_cell(entry: ReportEntry) -> Cell:
    report = entry.parity
    if report is None:
        return Cell("reference", "", "muted", "the other files are compared with this one")
    if isinstance(report, NotRun):
        return _not_run([report.reason])
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
    if isinstance(latency, NotRun):
        return (_not_run([latency.reason]),) * 4
    values = (latency.load_ms, latency.first_ms, latency.steady.p50_ms, latency.steady.p90_ms)
    numbers = [math.nan if value is None else value for value in values]
    if latency.is_device_latency:
        return tuple(_number(number, 1) for number in numbers)
    title = f"{latency.runtime}: not a device latency"
    cells = [_number(number, 1) for number in numbers]
    return tuple(replace(cell, text=f"{cell.text} †", style="num muted", title=title) for cell in cells)


def stage_bars(entries: Sequence[ReportEntry]) -> list[dict[str, object]]:
    """For each timed file the share of each stage's p50, relative to the slowest file, and its samples as a line."""
    timed = [(e, e.latency) for e in entries if isinstance(e.latency, Latency) and e.latency.stages]
    longest = max((_stage_sum(latency) for _, latency in timed), default=1.0)
    return [
        {
            "name": entry.name,
            "device": latency.is_device_latency,
            "total": _ms(latency.steady.p50_ms),
            "p99": _ms(latency.steady.p99_ms),
            "samples": len(latency.steady.samples_ms),
            "stages": [
                {
                    "name": name,
                    "ms": f"{stage.p50_ms or 0:.2f}",
                    "percent": round(100 * (stage.p50_ms or 0) / longest, 2),
                }
                for name, stage in latency.stages.items()
            ],
        }
        for entry, latency in timed
    ]


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _stage_sum(latency: Latency) -> float:
    return sum(stage.p50_ms for stage in latency.stages.values())


def _short_name(name: str) -> str:
    return name.replace("(standard deviations)", "(std)").replace("share of borderline detections", "borderline share")


def _short(value: float) -> str:
    """Three digits, without the exponent that small numbers get."""
    return f"{value:.2g}" if abs(value) >= 1e-4 or not value else "< 0.0001"


def _not_run(reasons: Sequence[str]) -> Cell:
    return Cell(NOT_RUN, math.inf, "warn", "\n".join(reasons))


def _number(value: float, digits: int) -> Cell:
    """A number; one that no object or file decides is a dash."""
    return Cell("-", math.inf, "num muted") if math.isnan(value) else Cell(f"{value:.{digits}f}", value, "num")
