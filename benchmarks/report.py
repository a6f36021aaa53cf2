"""report.html: one self-contained page about the files of one model. Needs no network and no other file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import jinja2

import edgedet
from edgedet.benchmarks.latency import REFERENCE_RUNTIME, Latency, NotRun
from edgedet.benchmarks.report_entries import ReportEntry, with_accuracy
from edgedet.benchmarks.report_figures import MAX_PANELS, confusion_table, curves_svg
from edgedet.benchmarks.report_pictures import mistakes, side_by_side
from edgedet.benchmarks.report_table import Cell, class_table, parity_table, stage_bars, summary_table
from edgedet.evaluation import EvalResult
from edgedet.export.parity_report import ParityReport
from edgedet.files import write_text

__all__ = ["ReportEntry", "failures", "write_report"]

_MOST_REASONS = 4  # in one line; the page has them all
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class _Matrix:
    """A confusion matrix with its title; `table` is None where it is too large for a page."""

    name: str
    table: Any
    score_min: float
    iou_min: float


def write_report(out: Path, entries: Sequence[ReportEntry], title: str, photographs: int = 6) -> Path:
    """Write the page in one step.

    Args:
        out: the .html file.
        entries: one a file, the model.pt first; at least one.
        title: head of the page.
        photographs: rows of pictures side by side.

    Raises:
        ValueError: no entries.
        EdgedetError: an image of the data set cannot be read, or the file not be written.
    """
    if not entries:
        raise ValueError("a report needs at least one entry")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("report.html.j2").render(_context(with_accuracy(entries), title, photographs))
    write_text(out, page)
    return out


def failures(entries: Sequence[ReportEntry]) -> list[str]:
    """One line for each file that is not the model, or of which that is not known; accuracy is taken into account."""
    lines = []
    for entry in with_accuracy(entries):
        if isinstance(entry.parity, ParityReport) and not entry.parity.passed:
            reasons = entry.parity.reasons()
            more = f"; and {len(reasons) - _MOST_REASONS} more" if len(reasons) > _MOST_REASONS else ""
            lines.append(f"{entry.name}: parity {entry.parity.status} ({'; '.join(reasons[:_MOST_REASONS])}{more})")
        lines += [f"{entry.name}: not run, {absence}" for absence in entry.absences()]
    return lines


def _context(entries: Sequence[ReportEntry], title: str, photographs: int) -> dict[str, Any]:
    """Everything the template names."""
    results = [(entry.name, entry.evaluation) for entry in entries if isinstance(entry.evaluation, EvalResult)]
    head, rows = side_by_side(entries, photographs)
    return {
        "title": title,
        "css": (_TEMPLATES / "report.css").read_text(encoding="utf-8"),
        "js": (_TEMPLATES / "report.js").read_text(encoding="utf-8"),
        "verdicts": _verdicts(entries),
        "dataset_line": _dataset_line(results[0][1]) if results else "no images: nothing was evaluated",
        "summary": summary_table(entries),
        "remarks": _remarks(entries),
        "absences": [(entry.name, entry.absences()) for entry in entries if entry.absences()],
        "parity": parity_table(entries),
        "bars": stage_bars(entries),
        "curves": curves_svg(entries),
        "curves_note": _curves_note(results[0][1]) if results else "",
        "classes": class_table(entries),
        "confusions": [_matrix(name, result) for name, result in results],
        "mistakes": mistakes(results[0][1]) if results else [],
        "picture_head": head,
        "picture_rows": rows,
        "notes": [(entry.name, entry.notes) for entry in entries if entry.notes],
        "facts": _facts(entries),
        "digests": [(entry.name, entry.latency.sha256) for entry in entries if isinstance(entry.latency, Latency)],
        "version": edgedet.__version__,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
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
    results = [entry.evaluation for entry in entries if isinstance(entry.evaluation, EvalResult)]
    if results:
        metrics = results[0].metrics
        cells.append(Cell(f"{metrics['coco_ap50']:.3f}", title=f"AP50, {entries[0].name}"))
        cells.append(Cell(f"{metrics['coco_ap']:.3f}", title="COCO AP (IoU .50:.95)"))
    timed = [e for e in exported if _p50_ms(e) is not None]
    if timed:
        p50_ms, name = min((p50, e.name) for e in timed if (p50 := _p50_ms(e)) is not None)
        cells.append(Cell(f"{p50_ms:.1f} ms", title=f"p50 on this host, {name}"))
    sizes = [entry.size_bytes for entry in exported if entry.size_bytes is not None]
    if sizes:
        cells.append(Cell(f"{min(sizes) / 1e6:.1f} MB", title="smallest file"))
    return cells


def _p50_ms(entry: ReportEntry) -> float | None:
    """Median on a device; None where there is none, or where the file was only interpreted."""
    latency = entry.latency
    return latency.steady.p50_ms if isinstance(latency, Latency) and latency.is_device_latency else None


def _dataset_line(result: EvalResult) -> str:
    data = result.dataset
    objects = sum(len(sample.objects) for sample in data.samples)
    return f"the {data.split} split of {data.root.name}: {len(data)} images, {objects} objects"


def _remarks(entries: Sequence[ReportEntry]) -> list[str]:
    lines = ["Change: COCO AP minus that of the .pt, on the same images. Parity includes it."]
    if any(isinstance(e.latency, Latency) and not e.latency.is_device_latency for e in entries):
        lines.append(
            f"† {REFERENCE_RUNTIME}: the saved file is interpreted operator by operator. Not a device latency."
        )
    return lines


def _curves_note(result: EvalResult) -> str:
    drawn = sum(1 for curve in result.curves.values() if curve.num_objects)
    return f"The {MAX_PANELS} of {drawn} classes with the most objects." if drawn > MAX_PANELS else ""


def _matrix(name: str, result: EvalResult) -> _Matrix:
    confusion = result.confusion
    return _Matrix(name, confusion_table(confusion), confusion.score_min, confusion.iou_min)


def _gib(size_bytes: int | None) -> str:
    return "memory not readable" if size_bytes is None else f"{size_bytes / 2**30:.0f} GiB"


def _facts(entries: Sequence[ReportEntry]) -> list[tuple[str, str]]:
    """Host, load, libraries and pictures of the measurements."""
    facts = []
    results = [entry.evaluation for entry in entries if isinstance(entry.evaluation, EvalResult)]
    if results and results[0].source.score_min is not None:
        facts.append(("Accuracy", f"at the score threshold inside the file, {results[0].source.score_min:g}"))
    timed = [entry.latency for entry in entries if not isinstance(entry.latency, NotRun)]
    if not timed:
        return facts
    first, host, device = timed[0], timed[0].environment, timed[0].device
    others = max(latency.environment.other_cores_busy or 0.0 for latency in timed)
    noise = ": expect noise" if any(latency.environment.busy for latency in timed) else ""
    runs = max(len(latency.steady.samples_ms) for latency in timed)
    threads = f"{host.threads}" if host.threads else "each runtime's own default"
    return [
        *facts,
        (
            "Latency",
            f"batch 1, one process a file, first and warm-up runs apart, up to {runs} runs counted",
        ),
        (
            "Pictures",
            f"{len(first.images.sizes_wh_px)} {first.images.source}; scores from {first.score_min:g} enter NMS",
        ),
        ("CPU", f"{device.cpu}, {host.usable_cores} of {device.cores} cores"),
        ("Threads", threads),
        (
            "Clock",
            f"governor {host.governor or 'not readable'}, {host.clock_mhz[1] if host.clock_mhz else 'unknown'} MHz",
        ),
        (
            "Other work",
            f"kept up to {others:.2f} cores busy meanwhile{noise}",
        ),
        ("System", f"{device.os}, {_gib(device.memory_bytes)}"),
        ("Libraries", ", ".join(f"{name} {version}" for name, version in host.versions.items())),
    ]
