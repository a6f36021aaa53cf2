"""Where the time goes: the medians of the stages, one group of bars a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgedet.benchmarks.latency import Latency
from edgedet.benchmarks.parts import Parts
from edgedet.benchmarks.report_cells import ms
from edgedet.benchmarks.report_devices import Place, places, timings_at, way
from edgedet.benchmarks.report_entries import ReportEntry

_LABELS = {
    "preprocess": "resize",
    "inference": "the file: heads, decoding, NMS",
    "normalise": "in the file: normalising",
    "backbone": "in the file: backbone",
    "backbone and head": "in the file: backbone and heads",
    "head": "in the file: heads",
    "decode": "in the file: decoding",
    "nms": "in the file: suppression",
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
    found = [name for entry in entries for latency in entry.timings for name in split_ms(latency)]
    return list(dict.fromkeys([name for name in _LABELS if name in found] + found))


def stage_labels(entries: Sequence[ReportEntry]) -> list[str]:
    """What the stages do, for the legend, in the same order."""
    return [_LABELS.get(name, name) for name in stage_names(entries)]


def split_ms(latency: Latency) -> dict[str, float]:
    """Medians by stage; the file itself by its parts where it was taken apart.

    Parts were timed in runs of their own, so they share the stage's median in their proportions. One that the noise of
    two differences made negative counts as nothing.
    """
    inside = latency.inside
    found: dict[str, float] = {}
    for name, summary in latency.stages.items():
        if name != "inference" or inside is None:
            found[name] = summary.p50_ms
            continue
        parts = {part: max(0.0, part_ms) for part, part_ms in inside.parts_ms.items()}
        scale = summary.p50_ms / sum(parts.values())
        found |= {part: part_ms * scale for part, part_ms in parts.items()}
    return found


def inside_notes(entries: Sequence[ReportEntry]) -> list[str]:
    """A line for each file that was taken apart: how, and how far its parts add up."""
    return [
        _inside_note(entry.name, latency, latency.inside)
        for entry in entries
        for latency in entry.timings
        if latency.inside is not None
    ]


def _inside_note(name: str, latency: Latency, inside: Parts) -> str:
    where = f"{name} on {latency.device.name}"
    if inside.traced_ms is None:
        return f"{where}: differences of files cut at inner tensors, which add up by themselves"
    said = "" if inside.agrees else ", which is not within 5 %: other work took part"
    return (
        f"{where}: operators by the runtime's trace, in sum {inside.sum_ms:.2f} ms ({inside.traced_ms:.2f} with the "
        f"profiler's own time); the file without a profiler {inside.total_ms:.2f} ms{said}"
    )


def _bar(name: str, latency: Latency, longest_ms: float, names: Sequence[str]) -> Bar:
    """An interpreted file may be many times slower than all others, which would leave nothing of their bars."""
    cut = _sum_ms(latency) > longest_ms
    scale = 100 / max(longest_ms, _sum_ms(latency))
    stages = tuple(
        Stage(names.index(key), key, f"{stage_ms:.2f}", round(scale * stage_ms, 2))
        for key, stage_ms in split_ms(latency).items()
    )
    steady = latency.steady
    total, p99, runs = ms(steady.p50_ms), ms(steady.p99_ms), len(steady.samples_ms)
    return Bar(name, way(latency), latency.is_device_latency, cut, total, p99, runs, stages)


def _sum_ms(latency: Latency) -> float:
    return sum(stage.p50_ms for stage in latency.stages.values())
