"""What a report says about one file: joined from export.json, an evaluation and a latency measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgedet.benchmarks.latency import REFERENCE_RUNTIME, Latency, NotRun
from edgedet.evaluation import EvalResult
from edgedet.export.parity import accuracy_depth
from edgedet.export.parity_report import ParityReport
from edgedet.export.tolerances import tolerance_of


@dataclass(frozen=True)
class ReportEntry:
    """One file of a report; the model.pt that others were exported from is the entry without `parity`.

    Attributes:
        name: as tables print it.
        format, precision: of the file.
        size_bytes: of the file, or of all files of a folder; None where there is no file.
        evaluation, latency: what was measured, or why not.
        parity: how the file compared with its model.pt when it was exported; None for a model.pt, which is the
            reference, and NotRun where it is not known.
        notes: what the app that runs the file must know or do.
    """

    name: str
    format: str
    precision: str
    size_bytes: int | None
    evaluation: EvalResult | NotRun
    latency: Latency | NotRun
    parity: ParityReport | NotRun | None
    notes: tuple[str, ...] = ()

    @property
    def is_reference(self) -> bool:
        return self.parity is None

    @property
    def runtime(self) -> str:
        """What ran the file, "" where nothing did."""
        if isinstance(self.evaluation, EvalResult):
            return self.evaluation.source.runtime
        return self.latency.runtime if isinstance(self.latency, Latency) else ""

    @property
    def in_reference_runtime(self) -> bool:
        """Whether the file was only interpreted here, not run as a device would."""
        return REFERENCE_RUNTIME in self.runtime

    def absences(self) -> list[str]:
        """What was not run, one line a reason."""
        parts = {"accuracy": self.evaluation, "latency": self.latency, "parity": self.parity}
        by_reason: dict[str, list[str]] = {}
        for what, part in parts.items():
            if isinstance(part, NotRun):
                by_reason.setdefault(part.reason, []).append(what)
        return [f"{', '.join(what)}: {reason}" for reason, what in by_reason.items()]


def missing_entry(path: Path, format: str, precision: str, reason: str) -> ReportEntry:
    """An entry for a file that could not be made: nothing about it was run."""
    absent = NotRun(str(path), reason)
    return ReportEntry(path.name, format, precision, None, absent, absent, absent)


def reference_result(entries: Sequence[ReportEntry]) -> EvalResult | None:
    """The evaluation of the model.pt, if it is among the entries and was evaluated."""
    results = (entry.evaluation for entry in entries if entry.is_reference)
    return next((result for result in results if isinstance(result, EvalResult)), None)


def with_accuracy(entries: Sequence[ReportEntry]) -> list[ReportEntry]:
    """The entries with the change in accuracy from model.pt to each file as the fourth depth of its parity.

    Where either was not evaluated, that depth stays as it is: not run.
    """
    reference = reference_result(entries)
    if reference is None:
        return list(entries)
    return [_with_accuracy(entry, reference) for entry in entries]


def _with_accuracy(entry: ReportEntry, reference: EvalResult) -> ReportEntry:
    if not isinstance(entry.parity, ParityReport) or not isinstance(entry.evaluation, EvalResult):
        return entry
    depth = accuracy_depth(reference, entry.evaluation, tolerance_of(entry.format, entry.precision))
    others = tuple(d for d in entry.parity.depths if d.name != depth.name)
    return replace(entry, parity=replace(entry.parity, depths=(*others, depth)))
