"""All precisions of all formats of one model: size, accuracy, parity, latency."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from edgedet.benchmarks.lab.store import Store, attempt
from edgedet.benchmarks.latency import REFERENCE_RUNTIME, Latency
from edgedet.benchmarks.report_devices import typical_ms
from edgedet.benchmarks.report_evaluations import Accuracy
from edgedet.benchmarks.request import Request
from edgedet.errors import ConfigError
from edgedet.export.artifact import Artifact
from edgedet.export.options import ExportOptions
from edgedet.export.precisions import CALIBRATION_METHODS, PRECISIONS
from edgedet.formats import export_formats

T = TypeVar("T")
FLOAT = "fp32"
_INTERPRETED = "interpreted here by a reference runtime: time it on a device"


@dataclass(frozen=True)
class Cell:
    """What to make: a format, a precision, and how its ranges are found."""

    format: str
    precision: str
    method: str = CALIBRATION_METHODS[0]

    @property
    def name(self) -> str:
        parts = (self.format, self.precision) + ((self.method,) if self.method != CALIBRATION_METHODS[0] else ())
        return " ".join(parts)

    @property
    def options(self) -> ExportOptions:
        return ExportOptions(precision=self.precision, calibration_method=self.method)


@dataclass(frozen=True)
class Row:
    """What became of a cell.

    Attributes:
        reason: why a part of it is missing; "" where nothing is.
        artifact, accuracy: None where it could not be exported or run.
        latencies: one for each round; empty where it was not timed.
    """

    cell: Cell
    reason: str = ""
    artifact: Artifact | None = None
    accuracy: Accuracy | None = None
    latencies: tuple[Latency, ...] = ()

    @property
    def ap(self) -> float | None:
        return None if self.accuracy is None else self.accuracy.metrics["coco_ap"]

    @property
    def p50_ms(self) -> float | None:
        """The median of the rounds' medians."""
        times = [ms for latency in self.latencies if (ms := typical_ms(latency)) is not None]
        return statistics.median(times) if times else None


@dataclass(frozen=True)
class Sweep:
    """The whole: `reference` is the accuracy of the model.pt, and `rows` are in the order of the cells."""

    model: Path
    reference: Accuracy
    rows: tuple[Row, ...]

    def float_row(self, row: Row) -> Row | None:
        """The fp32 file of the same format."""
        found = (r for r in self.rows if r.artifact and (r.cell.format, r.cell.precision) == (row.cell.format, FLOAT))
        return next(found, None)

    def change(self, row: Row) -> float | None:
        """AP of a file minus that of the float file of its format, or else of the model.pt."""
        base = self.float_row(row)
        before = self.reference.metrics["coco_ap"] if base is None or base.ap is None else base.ap
        return None if row.ap is None else row.ap - before

    def speed_up(self, row: Row) -> float | None:
        """How many times as fast as the float file of the same format."""
        base = self.float_row(row)
        if base is None or base.p50_ms is None or row.p50_ms is None:
            return None
        return base.p50_ms / row.p50_ms


def plan(formats: Sequence[str] = (), precisions: Sequence[str] = (), methods: Sequence[str] = ()) -> list[Cell]:
    """Every precision of every format, or of those that are named.

    Args:
        methods: of calibration, for the precisions that have one; the default where none is named.

    Raises:
        ConfigError: a name that there is not, or nothing left.
    """
    rows = export_formats()
    _refuse("format", formats, [row.name for row in rows])
    _refuse("precision", precisions, list(PRECISIONS))
    _refuse("calibration method", methods, list(CALIBRATION_METHODS))
    cells = []
    for row in rows:
        if formats and row.name not in formats:
            continue
        for precision in (p for p in PRECISIONS if p in row.precisions and (not precisions or p in precisions)):
            calibrated = PRECISIONS[precision].needs_calibration
            used = (methods or CALIBRATION_METHODS[:1]) if calibrated else CALIBRATION_METHODS[:1]
            cells += [Cell(row.name, precision, method) for method in used]
    if not cells:
        raise ConfigError("none of these formats has any of these precisions", "Leave one of the two options out.")
    return cells


def _refuse(what: str, asked: Sequence[str], known: Sequence[str]) -> None:
    for name in asked:
        if name not in known:
            raise ConfigError(f"there is no {what} {name!r}", f"Choose from {', '.join(known)}.")


def run_sweep(
    store: Store,
    cells: Sequence[Cell],
    request: Request,
    rounds: int = 1,
    tell: Callable[[str], None] = lambda line: None,
) -> Sweep:
    """Make and measure what the store does not hold yet. A cell that fails says why, and the others go on.

    Args:
        request: of one measurement of latency.
        rounds: measurements of each file, each round through all files, so that a slow minute hits all of them.
        tell: takes a line for each step, with an estimate of the time left.
    """
    steps = _Steps(store, len(cells) * (2 + rounds) + 1, tell)
    reference = steps.run("accuracy", "model.pt", lambda: store.accuracy(store.model, store.model_sha256()))
    rows = [_made(store, cell, steps) for cell in cells]
    for number in range(rounds):
        rows = [_timed(store, row, request, number, steps) for row in rows]
    return Sweep(store.model, reference, tuple(rows))


def _made(store: Store, cell: Cell, steps: _Steps) -> Row:
    artifact, reason = steps.run(
        "export", cell.name, lambda: attempt(lambda: store.artifact(cell.format, cell.options))
    )
    if artifact is None:
        steps.skip()
        return Row(cell, reason)
    accuracy, reason = steps.run(
        "accuracy", cell.name, lambda: attempt(lambda: store.accuracy(artifact.path, artifact.file_sha256))
    )
    return Row(cell, reason, artifact, accuracy)


def _timed(store: Store, row: Row, request: Request, number: int, steps: _Steps) -> Row:
    if row.artifact is None or row.accuracy is None or REFERENCE_RUNTIME in row.accuracy.runtime:
        steps.skip()
        return row if row.reason or row.artifact is None else replace(row, reason=_INTERPRETED)
    path, sha256 = row.artifact.path, row.artifact.file_sha256
    latency, reason = steps.run(
        "latency", row.cell.name, lambda: attempt(lambda: store.latency(path, sha256, request, number))
    )
    return replace(row, reason=reason, latencies=row.latencies + ((latency,) if latency else ()))


class _Steps:
    """Counts steps, and estimates the time left from those that were really done."""

    def __init__(self, store: Store, total: int, tell: Callable[[str], None]) -> None:
        self.store, self.total, self.tell = store, total, tell
        self.done = 0
        self.seconds: list[float] = []

    def skip(self) -> None:
        self.done += 1

    def run(self, kind: str, name: str, job: Callable[[], T]) -> T:
        before, start = len(self.store.made), time.monotonic()
        self.tell(f"[{self.done + 1}/{self.total}] {name}: {kind}{self._left()}")
        result = job()
        if len(self.store.made) > before:
            self.seconds.append(time.monotonic() - start)
        self.done += 1
        return result

    def _left(self) -> str:
        if not self.seconds:
            return ""
        left = statistics.mean(self.seconds) * (self.total - self.done)
        return f" (about {left / 60:.0f} min left)" if left > 90 else f" (about {left:.0f} s left)"
