"""report.html: one self-contained page about the files of one model. Needs no network and no other file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jinja2

from edgedet.benchmarks.nms_curve import NmsCurve
from edgedet.benchmarks.report_context import TEMPLATES, page_context
from edgedet.benchmarks.report_entries import ReportEntry, with_accuracy
from edgedet.benchmarks.report_join import OfAnotherFile
from edgedet.export.parity_report import ParityReport
from edgedet.files import write_text

__all__ = ["ReportEntry", "failures", "write_report"]

_MOST_REASONS = 4  # in one line; the page has them all


def write_report(
    out: Path, entries: Sequence[ReportEntry], title: str, photographs: int = 6, others: Sequence[OfAnotherFile] = (),
    curves: Sequence[NmsCurve] = (),
) -> Path:  # fmt: skip
    """Write the page in one step.

    Args:
        out: the .html file.
        entries: one a file, the model.pt first; at least one.
        title: head of the page.
        photographs: rows of pictures side by side.
        others: results that were given, but are of other files; they are named and enter no table.
        curves: what suppression costs; those of other files are left out.

    Raises:
        ValueError: no entries.
        EdgedetError: an image of the data set cannot be read, or the file not be written.
    """
    if not entries:
        raise ValueError("a report needs at least one entry")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    context = page_context(with_accuracy(entries), title, photographs, others, curves)
    write_text(out, environment.get_template("report.html.j2").render(context))
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
