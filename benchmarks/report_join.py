"""Results from elsewhere brought to the files of a report: joined by the digest of the file, never by its name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgedet.benchmarks.latency import Latency, NotRun, read_results
from edgedet.benchmarks.report_entries import ReportEntry
from edgedet.benchmarks.report_evaluations import Accuracy, read_accuracy
from edgedet.errors import DataError


@dataclass(frozen=True)
class OfAnotherFile:
    """A result whose file is not in the report.

    Attributes:
        artifact, sha256: path and digest of the file as the result names them; the digest is "" where nothing ran.
        what: what was measured, and where.
        source: the file that holds the result.
    """

    artifact: str
    sha256: str
    what: str
    source: str


def join_results(
    entries: Sequence[ReportEntry], latencies: Sequence[Path] = (), evaluations: Sequence[Path] = ()
) -> tuple[list[ReportEntry], list[OfAnotherFile]]:
    """Add results of the same files to the entries.

    What was not run has no digest of its own. It is taken for the file that the same results call by the same path,
    or else for the only file of that name.

    Args:
        latencies: what `edgedet bench --json` wrote, or folders of it such as a fleet's results.
        evaluations: what `edgedet eval --json` wrote, or folders of it.

    Returns:
        The entries, and the results that are of other files.

    Raises:
        DataError: a file is missing or holds something else, or a folder is empty.
    """
    joined, others = list(entries), []
    for path in _json_files(evaluations):
        accuracy = read_accuracy(path)
        k = _by_digest(joined, accuracy.sha256)
        if k is None:
            others.append(_other_accuracy(accuracy, path))
        elif accuracy not in joined[k].accuracies:
            joined[k] = replace(joined[k], accuracies=(*joined[k].accuracies, accuracy))
    joined = _comparable_first(joined)
    for path in _json_files(latencies):
        results = read_results(path)
        digests = {row.artifact: row.sha256 for row in results if isinstance(row, Latency)}
        for row in results:
            k = _entry_of(joined, row, digests)
            if k is None:
                others.append(_other_latency(row, path))
            elif row not in (joined[k].latency, *joined[k].latencies):
                joined[k] = replace(joined[k], latencies=(*joined[k].latencies, row))
    return joined, others


def _comparable_first(entries: Sequence[ReportEntry]) -> list[ReportEntry]:
    """With the accuracies first that most files have on the same pictures; among those, the ones on most pictures."""
    counts = Counter(pictures for entry in entries for pictures in {found.pictures for found in entry.accuracies})
    return [
        replace(
            entry,
            accuracies=tuple(sorted(entry.accuracies, key=lambda f: (-counts[f.pictures], -f.images, f.pictures))),
        )
        for entry in entries
    ]


def _entry_of(entries: Sequence[ReportEntry], row: Latency | NotRun, digests: dict[str, str]) -> int | None:
    """Which entry a result belongs to."""
    sha256 = row.sha256 if isinstance(row, Latency) else digests.get(row.artifact)
    if sha256 is not None:
        return _by_digest(entries, sha256)
    name = Path(row.artifact).name
    named = [k for k, entry in enumerate(entries) if Path(entry.name).name == name]
    return named[0] if len(named) == 1 else None


def _by_digest(entries: Sequence[ReportEntry], sha256: str) -> int | None:
    return next((k for k, entry in enumerate(entries) if entry.sha256 == sha256 and sha256), None)


def _json_files(paths: Sequence[Path]) -> list[Path]:
    """The files among `paths`, and all that end in .json below the folders among them; each once."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.rglob("*.json")) if path.is_dir() else [path]
        if not inside:
            raise DataError(f"{path}: holds no .json file", "Give results, or a folder with some.")
        found += inside
    return list(dict.fromkeys(found))


def _other_accuracy(accuracy: Accuracy, path: Path) -> OfAnotherFile:
    what = f"accuracy on {accuracy.pictures_text}"
    return OfAnotherFile(accuracy.artifact, accuracy.sha256, what, path.name)


def _other_latency(row: Latency | NotRun, path: Path) -> OfAnotherFile:
    if isinstance(row, NotRun):
        return OfAnotherFile(row.artifact, "", f"latency on {row.device}: not run, {row.reason}", path.name)
    return OfAnotherFile(row.artifact, row.sha256, f"latency on {row.device.model} ({row.device.name})", path.name)
