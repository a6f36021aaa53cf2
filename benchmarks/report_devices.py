"""Devices side by side for the same files, and every measurement as a row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgedet.benchmarks.latency import Latency, NotRun
from edgedet.benchmarks.report_cells import NOT_MEASURED, NOT_RUN, Cell, Table, ms, number
from edgedet.benchmarks.report_entries import ReportEntry
from edgedet.benchmarks.request import Mode, Rate, Sustained
from edgedet.benchmarks.stats import ToolSummary

_TRUST = 5  # its column in the table of all measurements
_LONGEST_REASON = 90  # characters inside a cell; the list under the table has all of it


@dataclass(frozen=True)
class Place:
    """A device as the page heads it; `model` is "" where nothing ran and only the name is known."""

    name: str
    model: str

    @property
    def title(self) -> str:
        return self.model or self.name


def places(entries: Sequence[ReportEntry]) -> list[Place]:
    """Every device with a result, this host's first, each once."""
    found = [Place(t.device.name, t.device.model) for entry in entries for t in entry.timings]
    named = {place.name for place in found}
    found += [Place(row.device, "") for entry in entries for row in entry.untimed if row.device not in named]
    return list(dict.fromkeys(found))


def timings_at(entry: ReportEntry, place: Place) -> list[Latency]:
    """All measurements of a file on a device, the best one first.

    Measurements of single runs as fast as they go come before other modes, real runs before interpreted ones, those
    that can be trusted before those that cannot, then the shortest.
    """
    here = [t for t in entry.timings if (t.device.name, t.device.model) == (place.name, place.model)]
    return sorted(
        here, key=lambda t: (not _is_steady(t.mode), not t.is_device_latency, not t.trusted, typical_ms(t) or math.inf)
    )


def best_at(entry: ReportEntry, place: Place) -> Latency | None:
    """The fastest way to run a file on a device as fast as it goes; None where there is none."""
    first = next(iter(timings_at(entry, place)), None)
    return first if first and _is_steady(first.mode) and first.is_device_latency and typical_ms(first) else None


def typical_ms(latency: Latency) -> float | None:
    """The median, or the mean where a tool gives only that; None where it gives neither."""
    steady = latency.steady
    if steady.p50_ms is None and isinstance(steady, ToolSummary):
        return steady.aggregates_ms.get("mean")
    return steady.p50_ms


def way(latency: Latency) -> str:
    """What ran the file: runtime, what inside it, threads."""
    threads = latency.environment.threads
    parts = [latency.runtime, latency.provider]
    if threads:
        parts.append("1 thread" if threads == 1 else f"{threads} threads")
    return ", ".join(part for part in parts if part)


def doubts(latency: Latency) -> list[str]:
    """Why a measurement should not be trusted; empty where no sign of noise was exceeded."""
    return [check.meaning for check in latency.noise if check.exceeded]


def device_table(entries: Sequence[ReportEntry]) -> Table:
    """One row a file, one column a device: the fastest way to run the file there."""
    columns = places(entries)
    fastest = {place: _fastest_ms(entries, place) for place in columns}
    rows = [
        (Cell(entry.name, entry.name, "name"), *(_device_cell(entry, place, fastest[place]) for place in columns))
        for entry in entries
    ]
    heads = (f"{place.title}\n{place.name}" if place.model else place.title for place in columns)
    return Table(("File", *heads), tuple(rows))


def measurement_table(entries: Sequence[ReportEntry]) -> Table:
    """Every measurement as a row."""
    head = (
        "File", "Device", "Ran in", "p50 ms", "95 % interval", "Trust", "p90 ms", "p99 ms", "Load ms", "First ms",
        "Runs", "Memory MB", "Mode",
    )  # fmt: skip
    rows = [_measurement_row(entry, latency) for entry in entries for latency in entry.timings]
    rows += [_untimed_row(entry, row, len(head)) for entry in entries for row in entry.untimed]
    return Table(head, tuple(rows))


def doubtful(entries: Sequence[ReportEntry]) -> list[tuple[str, list[str]]]:
    """Each measurement that should not be trusted, and why."""
    return [
        (f"{entry.name} on {latency.device.model}, {way(latency)}", doubts(latency))
        for entry in entries
        for latency in entry.timings
        if not latency.trusted
    ]


def not_run_elsewhere(entries: Sequence[ReportEntry]) -> list[tuple[str, list[str]]]:
    """Each file that other devices could not run, and why."""
    return [
        (f"{entry.name} on {row.device}", [row.reason])
        for entry in entries
        for row in entry.latencies
        if isinstance(row, NotRun)
    ]


def _is_steady(mode: Mode) -> bool:
    return not isinstance(mode, Sustained | Rate)


def _fastest_ms(entries: Sequence[ReportEntry], place: Place) -> float | None:
    """Of all files on a device, where there are several."""
    found = [typical_ms(latency) or math.inf for e in entries if (latency := best_at(e, place)) is not None]
    return min(found) if len(found) > 1 else None


def _device_cell(entry: ReportEntry, place: Place, fastest_ms: float | None) -> Cell:
    found = timings_at(entry, place)
    if not found:
        return _absent(entry, place)
    latency = found[0]
    value = typical_ms(latency)
    lines = [_interval(latency), way(latency)]
    if len(found) > 1:
        lines.append(f"best of {len(found)} measurements")
    if not _is_steady(latency.mode):
        lines.append(_mode(latency))
    if not latency.trusted:
        lines.append(f"? {', '.join(check.name for check in latency.noise if check.exceeded)}")
    style = "num" if latency.is_device_latency else "num muted"
    if value is not None and value == fastest_ms and latency.is_device_latency:
        style = "num best"
    mark = ("" if latency.is_device_latency else " †") + ("" if latency.trusted else " ?")
    mean = "" if latency.steady.p50_ms is not None or value is None else "mean "
    return Cell(
        f"{mean}{ms(value)}{mark}", math.inf if value is None else value, style, lines=tuple(filter(None, lines))
    )


def _absent(entry: ReportEntry, place: Place) -> Cell:
    reasons = [row.reason for row in entry.untimed if row.device == place.name]
    if not reasons:
        return Cell(NOT_MEASURED, math.inf, "missing muted")
    text = reasons[0] if len(reasons[0]) <= _LONGEST_REASON else f"{reasons[0][:_LONGEST_REASON].rstrip()}..."
    return Cell(f"{NOT_RUN}: {text}", math.inf, "missing warn", reasons[0])


def _measurement_row(entry: ReportEntry, latency: Latency) -> tuple[Cell, ...]:
    steady, memory = latency.steady, latency.peak_memory_bytes
    runs = steady.runs if isinstance(steady, ToolSummary) else len(steady.samples_ms)
    interval = _interval(latency)
    mark = "" if latency.is_device_latency else " †"
    return (
        Cell(entry.name, entry.name, "name"),
        Cell(latency.device.model, latency.device.model, "text", lines=(latency.device.name,)),
        Cell(way(latency) + mark, way(latency), "text"),
        number(steady.p50_ms, 2, "the tool on the device does not say"),
        Cell(interval or "no single runs", _width(latency), "num" if interval else "muted"),
        _trust(latency),
        number(steady.p90_ms, 2, "the tool on the device does not say"),
        number(steady.p99_ms, 2, "the tool on the device does not say"),
        number(latency.load_ms, 1),
        number(latency.first_ms, 1),
        number(runs, 0),
        number(None if memory is None else memory / 1e6, 0),
        Cell(_mode(latency), _mode(latency), "text"),
    )


def _untimed_row(entry: ReportEntry, row: NotRun, columns: int) -> tuple[Cell, ...]:
    absent = Cell(NOT_RUN, math.inf, "warn", row.reason)
    head = (Cell(entry.name, entry.name, "name"), Cell(row.device, row.device, "text"))
    why = Cell(NOT_RUN, NOT_RUN, "badge warn", lines=(row.reason,))
    return (*head, *[absent] * (_TRUST - 2), why, *[absent] * (columns - _TRUST - 1))


def _trust(latency: Latency) -> Cell:
    if not latency.is_device_latency:
        return Cell("no device", "no device", "badge warn", lines=("the file was interpreted",))
    if not latency.trusted:
        return Cell("doubtful", "doubtful", "badge warn", lines=tuple(doubts(latency)))
    if not latency.noise:
        return Cell("not judged", "not judged", "badge", lines=("nothing there tells of noise",))
    return Cell("no sign of noise", "no sign", "badge good")


def _interval(latency: Latency) -> str:
    """95 % confidence interval of the median; "" where single runs are not known or too few."""
    steady = latency.steady
    if "p50" not in steady.intervals_ms:
        return ""
    low, high = steady.intervals_ms["p50"]
    digits = 2 if high < 100 else 1
    return f"{low:.{digits}f} to {high:.{digits}f}"


def _width(latency: Latency) -> float:
    """Of that interval, relative to the median: what the column is sorted by."""
    steady = latency.steady
    if steady.p50_ms is None or "p50" not in steady.intervals_ms:
        return math.inf
    low, high = steady.intervals_ms["p50"]
    return (high - low) / steady.p50_ms


def _mode(latency: Latency) -> str:
    """How it was run, and what that showed."""
    mode = latency.mode
    if isinstance(mode, Sustained):
        found = latency.sustained
        text = f"sustained {mode.minutes:g} min"
        if found is None:
            return text
        onset = found.throttle_onset_s
        slower = "no throttling" if onset is None else f"slower from {onset:.0f} s on"
        return f"{text}: {found.ratio:.2f} x the burst, {slower}"
    if isinstance(mode, Rate):
        text = f"at {mode.fps:g} pictures a second"
        return f"{text}: {latency.rate.fps_reached:.1f} reached" if latency.rate else text
    return "one after the other"
