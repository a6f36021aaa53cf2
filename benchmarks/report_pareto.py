"""Accuracy against latency on each device, and which files no other file beats in both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgedet.benchmarks.latency import Latency
from edgedet.benchmarks.report_devices import Place, best_at, places, typical_ms
from edgedet.benchmarks.report_entries import ReportEntry


@dataclass(frozen=True)
class Point:
    """One file on one device.

    Attributes:
        number: of the file in the page's legend, from 1.
        interval_ms: of `p50_ms`; None where single runs are not known.
        on_front: no other file on this device is as fast and as accurate, and better in one of the two.
    """

    number: int
    name: str
    p50_ms: float
    interval_ms: tuple[float, float] | None
    ap: float
    trusted: bool
    on_front: bool


@dataclass(frozen=True)
class Panel:
    """One device: its points, fastest first."""

    place: Place
    points: tuple[Point, ...]

    @property
    def front(self) -> tuple[Point, ...]:
        return tuple(point for point in self.points if point.on_front)


def panels(entries: Sequence[ReportEntry]) -> list[Panel]:
    """A panel for each device on which a file was timed whose accuracy is known on the same pictures as the others."""
    compared = _comparable(entries)
    found = []
    for place in places(entries):
        timed = [(k, e, latency) for k, e in compared if (latency := best_at(e, place)) is not None]
        if timed:
            found.append(Panel(place, _points(timed)))
    return found


def left_out(entries: Sequence[ReportEntry]) -> list[str]:
    """Files whose accuracy was measured on other pictures than the first one's: no point of theirs can be compared."""
    kept = {entry.name for _, entry in _comparable(entries)}
    return [e.name for e in entries if e.accuracy is not None and e.name not in kept]


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which (latency, accuracy) pairs no other pair dominates: not slower, not less accurate, and better in one."""
    return [
        not any(o[0] <= p[0] and o[1] >= p[1] and o != p for o in points)
        for p in points
    ]  # fmt: skip


def _comparable(entries: Sequence[ReportEntry]) -> list[tuple[int, ReportEntry]]:
    """Entries with their numbers; those of other pictures and those without any object to decide are left out."""
    known = [(k, e) for k, e in enumerate(entries, 1) if e.accuracy and not math.isnan(e.accuracy.metrics["coco_ap"])]
    first = known[0][1].accuracy if known else None
    return [(k, e) for k, e in known if first and e.accuracy and e.accuracy.pictures == first.pictures]


def _points(timed: Sequence[tuple[int, ReportEntry, Latency]]) -> tuple[Point, ...]:
    pairs = [(typical_ms(t) or math.inf, e.accuracy.metrics["coco_ap"] if e.accuracy else 0.0) for _, e, t in timed]
    rows = zip(timed, pairs, front(pairs), strict=True)
    points = [
        Point(k, e.name, p50_ms, t.steady.intervals_ms.get("p50"), ap, t.trusted, best)
        for (k, e, t), (p50_ms, ap), best in rows
    ]
    return tuple(sorted(points, key=lambda point: point.p50_ms))
