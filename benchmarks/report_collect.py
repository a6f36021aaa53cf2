"""Entries of a report from files: loads, evaluates and times each, and joins what was stored when it was exported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgedet.benchmarks.harness import Budget, measure_each
from edgedet.benchmarks.latency import Latency, NotRun
from edgedet.benchmarks.report_entries import ReportEntry
from edgedet.data import Dataset
from edgedet.errors import DataError, EdgedetError, ModelFileError, NotRunError
from edgedet.evaluation import EvalResult, evaluate
from edgedet.export.artifact import Artifact, file_digest, json_path
from edgedet.export.parity_report import ParityReport
from edgedet.formats import Format, all_formats, format_of, load

_INSIDE_RUNS = 40


def find_models(paths: Sequence[Path]) -> list[Path]:
    """Model files among `paths` and directly inside the folders among them; those that are no export come first.

    Raises:
        ModelFileError: a path is missing or no model file, or a folder holds none.
    """
    found: list[Path] = []
    for path in paths:
        inside = [path] if _is_model(path) else sorted(p for p in _entries_of(path) if _is_model(p))
        if not inside:
            suffixes = ", ".join(row.suffix for row in all_formats())
            raise ModelFileError(f"{path}: holds no model file ({suffixes})", "Give model files or a folder with some.")
        found += inside
    return sorted(dict.fromkeys(found), key=lambda path: is_export(format_of(path)))


def is_export(row: Format) -> bool:
    """Whether files of this format are exported from another one."""
    return bool(row.precisions)


def collect_entries(
    paths: Sequence[Path], dataset: Dataset | None, max_images: int | None = None, threads: int | None = None,
    budget: Budget | None = None,
) -> list[ReportEntry]:  # fmt: skip
    """Evaluate and time model files; without a data set, nothing is measured here.

    Raises:
        DataError: an image cannot be read, the classes differ or the split is empty.
    """
    if dataset is None:
        entries = [make_entry(path, None, None) for path in paths]
    else:
        evaluations = [evaluate_or_reason(path, dataset, max_images) for path in paths]
        images = [sample.image_path for sample in dataset.samples]
        latencies = measure_each(paths, images, threads, budget)
        latencies = [inside_or_not(*row, images, threads) for row in zip(paths, latencies, strict=True)]
        entries = [make_entry(*row) for row in zip(paths, evaluations, latencies, strict=True)]
    return [replace(entry, name=name) for entry, name in zip(entries, names_of(paths), strict=True)]


def names_of(paths: Sequence[Path]) -> list[str]:
    """What tables call files: their names, with the folder before those that several have."""
    names = [path.name for path in paths]
    return [
        name if names.count(name) == 1 else f"{path.resolve().parent.name}/{name}"
        for path, name in zip(paths, names, strict=True)
    ]


def evaluate_or_reason(path: Path, dataset: Dataset, max_images: int | None = None) -> EvalResult | NotRun:
    """Accuracy of a file, or why it could not be run."""
    try:
        return evaluate(load(path), dataset, max_images)
    except DataError:
        raise
    except EdgedetError as error:
        return NotRun(str(path), str(error))


def inside_or_not(
    path: Path, latency: Latency | NotRun, images: Sequence[Path], threads: int | None
) -> Latency | NotRun:
    """The measurement with where its time goes, for files that can be taken apart."""
    from edgedet.benchmarks.operators import attribute, with_inside

    if isinstance(latency, NotRun):
        return latency
    try:
        return with_inside(latency, attribute(path, images, threads, _INSIDE_RUNS))
    except NotRunError:  # the .pt, and files that leave suppression to the app
        return latency


def make_entry(path: Path, evaluation: EvalResult | NotRun | None, latency: Latency | NotRun | None) -> ReportEntry:
    """Join the measurements of a file with the JSON beside it."""
    row = format_of(path)
    sha256, size = file_digest(path) if path.exists() else ("", None)
    if not is_export(row):
        return ReportEntry(path.name, row.name, "fp32", size, evaluation, latency, None, sha256=sha256)
    precision, parity, notes = _exported(path, row, sha256)
    return ReportEntry(path.name, row.name, precision, size, evaluation, latency, parity, notes, sha256)


def _exported(path: Path, row: Format, sha256: str) -> tuple[str, ParityReport | NotRun, tuple[str, ...]]:
    """Precision, parity and notes from the JSON beside a file."""
    try:
        artifact = Artifact.read(path)
    except ModelFileError as error:
        return row.precisions[0], NotRun(str(path), str(error)), ()
    if artifact.file_sha256 != sha256:
        reason = f"{json_path(path)}: belongs to another version of the file. Export it again."
        return artifact.precision, NotRun(str(path), reason), ()
    return artifact.precision, artifact.parity, artifact.notes


def _is_model(path: Path) -> bool:
    return path.exists() and any(path.name.endswith(row.suffix) for row in all_formats())


def _entries_of(path: Path) -> list[Path]:
    if not path.exists():
        raise ModelFileError(f"{path}: there is no such file or folder", "Check the path.")
    return list(path.iterdir()) if path.is_dir() else []
