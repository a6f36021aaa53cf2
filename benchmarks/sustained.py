"""What minutes of work do to a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgedet.benchmarks.changepoints import segments

MINUTE_S = 60.0
THROTTLED = 1.05  # times the burst's median: a level above it is throttling, below it everyday noise


@dataclass(frozen=True)
class Minute:
    """Runs that began within one minute, counted from the first run that counts."""

    start_s: float
    runs: int
    p50_ms: float
    p90_ms: float


@dataclass(frozen=True)
class SustainedResult:
    """Result of the mode.

    Attributes:
        minutes: in order, without those in which no run began; the last may be shorter.
        burst_ms: median of the first minute, and sustained_ms: of the last.
        ratio: sustained to burst; above 1 the device became slower.
        throttle_onset_s: since when it has been slower than the burst by more than 5 %, to the end; None where it never
            was, or recovered.
    """

    minutes: tuple[Minute, ...]
    burst_ms: float
    sustained_ms: float
    ratio: float
    throttle_onset_s: float | None


def sustained(samples_ms: Sequence[float], starts_s: Sequence[float]) -> SustainedResult:
    """Figures by minute of runs and when they began.

    Raises:
        ValueError: there are no runs, or not a start for each.
    """
    if not samples_ms or len(samples_ms) != len(starts_s):
        raise ValueError(f"{len(samples_ms)} runs with {len(starts_s)} starts")
    values, since = np.asarray(samples_ms), np.asarray(starts_s) - starts_s[0]
    number = (since // MINUTE_S).astype(int)
    minutes = tuple(_minute(int(k), values[number == k]) for k in np.unique(number))
    burst, last = minutes[0].p50_ms, minutes[-1].p50_ms
    return SustainedResult(minutes, burst, last, last / burst, _onset_s(values, since, burst))


def _minute(number: int, values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Minute:
    p50, p90 = np.percentile(values, (50, 90))
    return Minute(number * MINUTE_S, len(values), float(p50), float(p90))


def _onset_s(values: np.ndarray[tuple[int], np.dtype[np.float64]], since: np.ndarray, burst_ms: float) -> float | None:
    onset = None
    for part in reversed(segments(values.tolist())):
        if part.median_ms <= THROTTLED * burst_ms:
            break
        onset = float(since[part.start])
    return onset
