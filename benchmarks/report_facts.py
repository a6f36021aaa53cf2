"""How each number was taken: of every device what it is, and what went on there meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgedet.benchmarks.latency import Latency
from edgedet.benchmarks.report_devices import Place, places
from edgedet.benchmarks.report_entries import ReportEntry

Facts = tuple[tuple[str, str], ...]
_NOT_READABLE = "not readable"


@dataclass(frozen=True)
class DeviceFacts:
    """Lines about one device: name and text."""

    place: Place
    facts: Facts


def accuracy_facts(entries: Sequence[ReportEntry]) -> Facts:
    """On what the accuracy was measured; a line for each different answer."""
    lines: dict[str, list[str]] = {}
    for entry in entries:
        if entry.accuracy is not None:
            found = entry.accuracy
            threshold = "" if found.score_min is None else f", score threshold inside the file {found.score_min:g}"
            lines.setdefault(f"{found.pictures_text}{threshold}", []).append(entry.name)
    return tuple((", ".join(names), text) for text, names in lines.items())


def device_facts(entries: Sequence[ReportEntry]) -> list[DeviceFacts]:
    """Every device that timed something."""
    found = []
    for place in places(entries):
        timed = [t for e in entries for t in e.timings if (t.device.name, t.device.model) == (place.name, place.model)]
        if timed:
            found.append(DeviceFacts(place, _facts(timed)))
    return found


def _facts(timed: Sequence[Latency]) -> Facts:
    device = timed[0].device
    environments = [latency.environment for latency in timed]
    cores = sorted({environment.usable_cores for environment in environments})
    usable = f"{cores[0]}" if len(cores) == 1 else f"{cores[0]} to {cores[-1]}"
    pinned = _each(_numbers(environment.pinned_cores) for environment in environments)
    noted = dict.fromkeys((name, text) for environment in environments for name, text in environment.notes.items())
    return (
        ("System", f"{device.os}, {_gib(device.memory_bytes)}"),
        ("CPU", f"{device.cpu}, {usable} of {device.cores} cores usable, {pinned}"),
        *device.details.items(),
        ("Threads", _each(_threads(environment.threads) for environment in environments)),
        ("Runs", _runs(timed)),
        ("Pictures", _each(_pictures(latency) for latency in timed)),
        ("Clock", f"governor {_each(e.governor or _NOT_READABLE for e in environments)}, {_range(timed, 'clock_mhz')}"),
        ("Temperature", _range(timed, "temperature_c")),
        ("Load", f"average {_range(timed, 'load_average_1m')}; {_others(timed)}"),
        *noted,
        ("Libraries", _each(_versions(latency) for latency in timed)),
    )


def _runs(timed: Sequence[Latency]) -> str:
    """How many counted, and how the end of warm-up was found."""
    counts = [len(t.steady.samples_ms) or getattr(t.steady, "runs", 0) for t in timed]
    number = f"{min(counts)} to {max(counts)}" if len(set(counts)) > 1 else f"{counts[0]}"
    warm_up = _each(t.warmup.found for t in timed)
    return f"batch 1, {number} runs counted; first run and warm-up apart (end of warm-up: {warm_up})"


def _pictures(latency: Latency) -> str:
    images = latency.images
    return f"{len(images.sizes_wh_px)} {images.source}; scores from {latency.score_min:g} enter NMS"


def _versions(latency: Latency) -> str:
    return ", ".join(f"{name} {version}" for name, version in latency.environment.versions.items()) or "not known"


def _threads(threads: int | None) -> str:
    return f"{threads}" if threads else "the runtime's own default"


def _numbers(cores: tuple[int, ...] | None) -> str:
    return "not pinned" if cores is None else f"pinned to {', '.join(map(str, cores))}"


def _others(timed: Sequence[Latency]) -> str:
    busy = [t.environment.other_cores_busy for t in timed if t.environment.other_cores_busy is not None]
    if not busy:
        return "other work not readable"
    noise = ": expect noise" if any(t.environment.busy for t in timed) else ""
    return f"other work kept up to {max(busy):.2f} cores busy meanwhile{noise}"


def _range(timed: Sequence[Latency], name: str) -> str:
    """From the lowest to the highest value of a pair of the environment, over all measurements."""
    unit = {"clock_mhz": " MHz", "temperature_c": " °C"}.get(name, "")
    pairs = [pair for t in timed if (pair := getattr(t.environment, name)) is not None]
    if not pairs:
        return _NOT_READABLE
    low, high = min(min(pair) for pair in pairs), max(max(pair) for pair in pairs)
    return f"{low:g}{unit}" if low == high else f"{low:g} to {high:g}{unit}"


def _each(texts: Iterable[str]) -> str:
    """The different ones of some texts."""
    return "; ".join(dict.fromkeys(texts))


def _gib(size_bytes: int | None) -> str:
    return f"memory {_NOT_READABLE}" if size_bytes is None else f"{size_bytes / 2**30:.0f} GiB of memory"
