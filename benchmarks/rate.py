"""Pictures at a fixed rate, as from a camera.

Picture k arrives k / fps seconds after the first run began. A camera app takes the newest picture when its detector is
free and lets the others go (CameraX calls this "keep only latest"), so a slow detector drops pictures instead of
falling behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


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


def at_rate(samples_ms: Sequence[float], starts_s: Sequence[float], fps: float) -> RateResult:
    """Judge runs and when they began, in seconds after the first picture arrived.

    Raises:
        ValueError: there are no runs, or not a start for each.
    """
    if not samples_ms or len(samples_ms) != len(starts_s):
        raise ValueError(f"{len(samples_ms)} runs with {len(starts_s)} starts")
    starts = np.asarray(starts_s, dtype=np.float64)
    frames = np.floor(starts * fps + 1e-6).astype(np.int64)  # the newest that had arrived
    ends = starts + np.asarray(samples_ms) / 1e3
    age_s = ends - frames / fps
    offered = int(frames[-1] - frames[0] + 1)
    p50, p90 = np.percentile(age_s * 1e3, (50, 90))
    return RateResult(
        fps=fps,
        fps_reached=len(starts) / (offered / fps),
        offered=offered,
        answered=len(starts),
        dropped=offered - len(starts),
        late=int((age_s > 1 / fps).sum()),
        age_p50_ms=float(p50),
        age_p90_ms=float(p90),
    )
