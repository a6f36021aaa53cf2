"""Summaries of repeated measurements. The raw samples are always kept: a summary can be made again, samples cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0}


@dataclass(frozen=True)
class Summary:
    """Percentiles of one series of times, and the series itself in the order it was measured, all in milliseconds.

    Attributes:
        intervals_ms: 95 % confidence interval (low, high) by percentile ("p50", "p90", "p99"); without a percentile
            that too few samples decide, empty where none was asked for.
    """

    p50_ms: float
    p90_ms: float
    p99_ms: float
    samples_ms: tuple[float, ...]
    intervals_ms: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class ToolSummary:
    """What a tool on a device says that keeps its single runs to itself.

    Attributes:
        p50_ms, p90_ms, p99_ms: None where it does not say.
        runs: how many it counted.
        aggregates_ms: what else it says, by name: "mean", "std", "min", "max", "p95".
    """

    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    runs: int
    aggregates_ms: dict[str, float]

    @property
    def samples_ms(self) -> tuple[float, ...]:
        return ()

    @property
    def intervals_ms(self) -> dict[str, tuple[float, float]]:
        return {}


def summarise(samples_ms: Sequence[float]) -> Summary:
    """Percentiles with linear interpolation between order statistics (numpy's default, Hyndman and Fan's type 7).

    Raises:
        ValueError: no samples, or one that is not a finite number.
    """
    values = np.asarray(samples_ms, dtype=np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"cannot summarise {values.size} samples: at least one is needed and all must be finite")
    p50, p90, p99 = (float(v) for v in np.percentile(values, list(PERCENTILES.values())))
    return Summary(p50, p90, p99, tuple(round(float(v), 4) for v in values))
