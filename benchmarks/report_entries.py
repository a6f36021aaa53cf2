"""What a report says about one file: joined from export.json, evaluations and latencies, here and elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgedet.benchmarks.latency import REFERENCE_RUNTIME, Latency, NotRun
from edgedet.benchmarks.report_evaluations import Accuracy
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
        evaluation, latency: what was measured here, or why not; None where nobody asked for it.
        parity: how the file compared with its model.pt when it was exported; None for a model.pt, which is the
            reference, and NotRun where it is not known.
        notes: what the app that runs the file must know or do.
        sha256: of the file, or of all files of a folder; "" where there is no file.
        accuracies, latencies: of the very same file, brought in from elsewhere.
    """

    name: str
    format: str
    precision: str
    size_bytes: int | None
    evaluation: EvalResult | NotRun | None
    latency: Latency | NotRun | None
    parity: ParityReport | NotRun | None
    notes: tuple[str, ...] = ()
    sha256: str = ""
    accuracies: tuple[Accuracy, ...] = ()
    latencies: tuple[Latency | NotRun, ...] = ()

    @property
    def is_reference(self) -> bool:
        return self.parity is None

    @property
    def runtime(self) -> str:
        """What ran the file, here or else elsewhere; "" where nothing did."""
        if self.accuracy is not None:
            return self.accuracy.runtime
        return self.timings[0].runtime if self.timings else ""

    @property
    def accuracy(self) -> Accuracy | None:
        """Measured here, or else the first from elsewhere."""
        if isinstance(self.evaluation, EvalResult):
            return Accuracy.of(self.evaluation)
        return self.accuracies[0] if self.accuracies else None

    @property
    def timings(self) -> tuple[Latency, ...]:
        """Everything that was timed, the one of here first."""
        return tuple(row for row in (self.latency, *self.latencies) if isinstance(row, Latency))

    @property
    def untimed(self) -> tuple[NotRun, ...]:
        """Where it could not be timed."""
        return tuple(row for row in (self.latency, *self.latencies) if isinstance(row, NotRun))

    @property
    def in_reference_runtime(self) -> bool:
        """Whether the file was only interpreted here, not run as a device would."""
        return REFERENCE_RUNTIME in self.runtime

    def absences(self) -> list[str]:
        """What was not run here, one line a reason."""
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


def reference_accuracy(entries: Sequence[ReportEntry]) -> Accuracy | None:
    """The accuracy of the model.pt, if it is among the entries and its accuracy is known."""
    return next((e.accuracy for e in entries if e.is_reference and e.accuracy is not None), None)


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
