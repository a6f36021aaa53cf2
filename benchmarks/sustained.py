"""What minutes of work do to a device."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Minute:
    """Runs that began within one minute, counted from the first run after warm-up."""

    start_s: float
    runs: int
    p50_ms: float
    p90_ms: float


@dataclass(frozen=True)
class SustainedResult:
    """Result of the mode.

    Attributes:
        minutes: in order; the last may be shorter.
        burst_ms: median of the first minute, and sustained_ms: of the last.
        ratio: sustained to burst; above 1 the device became slower.
        throttle_onset_s: when it became slower for good; None where it did not.
    """

    minutes: tuple[Minute, ...]
    burst_ms: float
    sustained_ms: float
    ratio: float
    throttle_onset_s: float | None
