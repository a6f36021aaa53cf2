"""Signs that something other than the file decided a measurement. Each is a reason to doubt it, none a proof.

How often they appear on machines whose truth is known stands in docs/benchmarking.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from edgedet.benchmarks.bootstrap import FloatArray, variance_inflation
from edgedet.benchmarks.changepoints import segments
from edgedet.benchmarks.environment import BUSY_CORES

_CLOCK = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
_FEWEST_RUNS = 20  # below, the shape of the series says nothing


@dataclass(frozen=True)
class Counters:
    """What the operating system counted during the runs; None where it does not tell.

    Attributes:
        wall_seconds: that the runs took.
        involuntary_switches: times a thread of the measuring process was taken off its core for another one.
        voluntary_switches: times one waited by itself; threads that wait for each other count.
        steal_seconds: core time that a hypervisor gave to other machines.
        clock_mhz: the CPU's clock, read now and then meanwhile.
    """

    wall_seconds: float
    involuntary_switches: int | None = None
    voluntary_switches: int | None = None
    steal_seconds: float | None = None
    clock_mhz: tuple[float, ...] = ()


@dataclass(frozen=True)
class NoiseCheck:
    """One sign: its value, the limit above which it says that the measurement should not be trusted, and why."""

    name: str
    value: float
    limit: float
    meaning: str

    @property
    def exceeded(self) -> bool:
        return self.value > self.limit


class CounterWatch:
    """Counts from its making on."""

    def __init__(self) -> None:
        self._clock_mhz: list[float] = []
        self._before = _counts()
        self.read_clock()

    def read_clock(self) -> None:
        """Note the CPU's clock, where a file shows it: that takes microseconds."""
        mhz = current_clock_mhz()
        if mhz is not None:
            self._clock_mhz.append(mhz)

    def counters(self, wall_seconds: float) -> Counters:
        """What was counted since."""
        self.read_clock()
        involuntary, voluntary, steal = (
            None if now is None or then is None else now - then
            for now, then in zip(_counts(), self._before, strict=True)
        )
        return Counters(
            wall_seconds,
            None if involuntary is None else int(involuntary),
            None if voluntary is None else int(voluntary),
            steal,
            tuple(self._clock_mhz),
        )


def diagnose(
    runs_ms: Sequence[float], cycle: int, counters: Counters | None, other_cores_busy: float | None
) -> tuple[NoiseCheck, ...]:
    """All signs that can be judged, exceeded or not.

    Args:
        runs_ms: those that count, in order.
        cycle: number of pictures that were cycled through; pictures that cost more than others are no noise.
        counters, other_cores_busy: of the measuring process and its machine; None where not known.
    """
    checks = []
    if other_cores_busy is not None:
        text = "other work kept {value:.2f} cores busy"
        checks.append(NoiseCheck("other work", other_cores_busy, BUSY_CORES, text))
    checks += list(_counter_checks(counters)) if counters else []
    if len(runs_ms) >= _FEWEST_RUNS:
        checks += list(_shape_checks(without_pictures(np.asarray(runs_ms, dtype=np.float64), cycle)))
    return tuple(NoiseCheck(c.name, round(c.value, 4), c.limit, c.meaning.format(value=c.value)) for c in checks)


def without_pictures(runs_ms: FloatArray, cycle: int) -> FloatArray:
    """The series with each picture's own median brought to the median of all; unchanged with too few turns of each."""
    if cycle < 2 or len(runs_ms) < 5 * cycle:
        return runs_ms
    levelled: FloatArray = runs_ms.copy()
    for k in range(cycle):
        levelled[k::cycle] *= np.median(runs_ms) / np.median(runs_ms[k::cycle])
    return levelled


def _counter_checks(counters: Counters) -> Iterator[NoiseCheck]:
    if counters.involuntary_switches is not None:
        rate = counters.involuntary_switches / max(counters.wall_seconds, 1e-9)
        yield NoiseCheck("context switches", rate, 20.0, "other work took the core away {value:.0f} times a second")
    if counters.steal_seconds is not None:
        share = counters.steal_seconds / max(counters.wall_seconds, 1e-9)
        yield NoiseCheck("steal time", share, 0.01, "the hypervisor gave {value:.1%} of a core to other machines")
    if len(counters.clock_mhz) > 1:
        spread = max(counters.clock_mhz) / min(counters.clock_mhz) - 1
        yield NoiseCheck("clock", spread, 0.05, "the CPU's clock changed by {value:.0%}")


def _shape_checks(runs_ms: FloatArray) -> Iterator[NoiseCheck]:
    p50, p90 = np.percentile(runs_ms, (50, 90))
    yield NoiseCheck("spread", float(p90 / p50 - 1), 0.25, "p90 lies {value:.0%} above p50 for the same picture")
    levels = [part.median_ms for part in segments(runs_ms.tolist()) if len(part) >= 0.1 * len(runs_ms)]
    shift = max(levels) / min(levels) - 1 if levels else 0.0
    yield NoiseCheck("level shifts", shift, 0.05, "the level moved by {value:.0%} during the runs")
    inflation = variance_inflation(runs_ms)
    text = "neighbouring runs are alike: {value:.0f} of them say as much as one"
    yield NoiseCheck("autocorrelation", inflation, max(10.0, len(runs_ms) / 50), text)
    yield NoiseCheck("two modes", _second_mode(runs_ms), 0.1, "{value:.0%} of the runs form a second mode of their own")


def _second_mode(runs_ms: FloatArray) -> float:
    """Share of the smaller of two groups with a gap between them; 0 where there is one group.

    The two groups are those of least squares (Otsu 1979) on logarithms, without the slowest tenth and the fastest 2 %.
    They are modes when they lie at least 3 % apart and the middle third between their means is nearly empty: of a
    normal distribution that third would hold a fifth of all runs, of a uniform one a sixth.
    """
    low, high = np.percentile(runs_ms, (2, 90))
    values = np.sort(np.log(runs_ms[(runs_ms >= low) & (runs_ms <= high)]))
    n = len(values)
    sums, sizes = np.cumsum(values)[:-1], np.arange(1, n)
    between = (sums / sizes - (values.sum() - sums) / (n - sizes)) ** 2 * sizes * (n - sizes)
    cut = int(np.argmax(between)) + 1
    fast, slow = float(values[:cut].mean()), float(values[cut:].mean())
    third = (slow - fast) / 3
    middle = float(((values > fast + third) & (values < slow - third)).mean())
    return min(cut, n - cut) / n if slow - fast > 0.03 and middle < 0.03 else 0.0


def _counts() -> tuple[float | None, float | None, float | None]:
    """Involuntary and voluntary context switches of this process, and seconds of steal time of the machine."""
    involuntary = voluntary = None
    if os.name == "posix":
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF)
        involuntary, voluntary = usage.ru_nivcsw, usage.ru_nvcsw
    return involuntary, voluntary, getattr(psutil.cpu_times(), "steal", None)


def current_clock_mhz() -> float | None:
    """Clock of the first core; None where no file shows it (virtual machines, macOS)."""
    try:
        return int(_CLOCK.read_text(encoding="ascii")) / 1e3
    except (OSError, ValueError):
        return None
