"""Where the time goes: the medians of the stages, one group of bars a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgedet.benchmarks.latency import Latency
from edgedet.benchmarks.report_cells import ms
from edgedet.benchmarks.report_devices import Place, places, timings_at, way
from edgedet.benchmarks.report_entries import ReportEntry

_LABELS = {
    "preprocess": "resize",
    "inference": "the file: heads, decoding, NMS",
    "postprocess": "boxes to pixels",
}


@dataclass(frozen=True)
class Stage:
    """One piece of a bar: `percent` of the longest bar of its device, `k` is its colour."""

    k: int
    name: str
    ms: str
    percent: float


@dataclass(frozen=True)
class Bar:
    """One file: the medians of its stages.

    Attributes:
        device: False where the file was only interpreted.
        cut: whether it would be longer than the longest bar of a file that really ran.
    """

    name: str
    way: str
    device: bool
    cut: bool
    total: str
    p99: str
    runs: int
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class StageGroup:
    """One device: its bars, and the files that it times only as a whole."""

    place: Place
    bars: tuple[Bar, ...]
    undivided: tuple[str, ...]


def stage_groups(entries: Sequence[ReportEntry]) -> list[StageGroup]:
    """Of each file the best measurement on each device; devices without any measurement are left out."""
    names = stage_names(entries)
    groups = []
    for place in places(entries):
        best = [(e.name, found[0]) for e in entries if (found := timings_at(e, place))]
        split = [(name, latency) for name, latency in best if latency.stages]
        longest = max((_sum_ms(latency) for _, latency in split if latency.is_device_latency), default=0.0)
        longest = longest or max((_sum_ms(latency) for _, latency in split), default=1.0)
        bars = tuple(_bar(name, latency, longest, names) for name, latency in split)
        undivided = tuple(name for name, latency in best if not latency.stages)
        if bars or undivided:
            groups.append(StageGroup(place, bars, undivided))
    return groups


def stage_names(entries: Sequence[ReportEntry]) -> list[str]:
    """All stages of all measurements, the usual three first."""
    found = [name for entry in entries for latency in entry.timings for name in latency.stages]
    return list(dict.fromkeys([name for name in _LABELS if name in found] + found))


def stage_labels(entries: Sequence[ReportEntry]) -> list[str]:
    """What the stages do, for the legend, in the same order."""
    return [_LABELS.get(name, name) for name in stage_names(entries)]


def _bar(name: str, latency: Latency, longest_ms: float, names: Sequence[str]) -> Bar:
    """An interpreted file may be many times slower than all others, which would leave nothing of their bars."""
    cut = _sum_ms(latency) > longest_ms
    scale = 100 / max(longest_ms, _sum_ms(latency))
    stages = tuple(
        Stage(names.index(key), key, f"{stage.p50_ms:.2f}", round(scale * stage.p50_ms, 2))
        for key, stage in latency.stages.items()
    )
    steady = latency.steady
    total, p99, runs = ms(steady.p50_ms), ms(steady.p99_ms), len(steady.samples_ms)
    return Bar(name, way(latency), latency.is_device_latency, cut, total, p99, runs, stages)


def _sum_ms(latency: Latency) -> float:
    return sum(stage.p50_ms for stage in latency.stages.values())
