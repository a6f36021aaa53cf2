"""Summaries of repeated measurements. The raw samples are always kept: a summary can be made again, samples cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Summary:
    """Percentiles of one series of times, and the series itself in the order it was measured, all in milliseconds."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    samples_ms: tuple[float, ...]


def summarise(samples_ms: Sequence[float]) -> Summary:
    """Percentiles with linear interpolation between order statistics (numpy's default, Hyndman and Fan's type 7).

    Raises:
        ValueError: no samples, or one that is not a finite number.
    """
    values = np.asarray(samples_ms, dtype=np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"cannot summarise {values.size} samples: at least one is needed and all must be finite")
    p50, p90, p99 = (float(v) for v in np.percentile(values, (50, 90, 99)))
    return Summary(p50, p90, p99, tuple(round(float(v), 4) for v in values))
