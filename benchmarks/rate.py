"""Frames at a fixed rate, as from a camera."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RateResult:
    """Result of the mode.

    Attributes:
        fps: asked for, and fps_reached: pictures answered a second.
        offered: pictures that arrived; answered: those that were run; dropped: those that a newer one replaced while
            the runner was busy.
        late: answered ones whose answer came after the next picture's arrival.
        age_p50_ms, age_p90_ms: from a picture's arrival to its answer.
    """

    fps: float
    fps_reached: float
    offered: int
    answered: int
    dropped: int
    late: int
    age_p50_ms: float
    age_p90_ms: float
