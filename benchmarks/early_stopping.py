"""MLPerf's early-stopping estimate of p90.

Source: MLPerf Inference rules, "Early Stopping" (mlcommons/inference_policies), for the single-stream scenario, and
loadgen/early_stopping.cc of mlcommons/inference: percentile 0.9, confidence 0.99, tolerance 0, at least 1024 queries
and 60 seconds. It rests on queries being independent of each other; where they are not, the interval of the block
bootstrap is the better guide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgedet.benchmarks.request import EARLY_STOPPING_QUERIES, EARLY_STOPPING_SECONDS

PERCENTILE, CONFIDENCE = 0.9, 0.99


@dataclass(frozen=True)
class EarlyStopping:
    """Result of the mode.

    Attributes:
        queries: runs that count, and seconds: that they took.
        p90_ms: a time that at most a tenth of all runs exceeds, with 99 % confidence; None with too few queries.
        valid: whether there were at least 1024 queries and 60 seconds.
    """

    queries: int
    seconds: float
    p90_ms: float | None
    valid: bool


def early_stopping(samples_ms: Sequence[float], seconds: float) -> EarlyStopping:
    """Judge the runs that count."""
    n = len(samples_ms)
    exceed = exceeding(n)
    p90_ms = sorted(samples_ms)[n - exceed] if exceed else None
    return EarlyStopping(n, seconds, p90_ms, n >= EARLY_STOPPING_QUERIES and seconds >= EARLY_STOPPING_SECONDS)


def exceeding(queries: int) -> int:
    """How many of the slowest queries may lie at or above the estimate: the largest t with P(X <= t) < 0.01.

    X is the number of queries above the true p90, binomial with probability 0.1: were the t-th slowest query faster
    than the true p90, so few slow ones would be rarer than 1 in 100. 0 where there are too few queries (63 or less).
    """
    below, t = 0.0, -1
    while True:
        below += _binomial(queries, t + 1)
        if below >= 1 - CONFIDENCE:
            return max(t, 0)
        t += 1


def _binomial(n: int, k: int) -> float:
    """Probability of k exceedances among n."""
    logs = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(logs + k * math.log(1 - PERCENTILE) + (n - k) * math.log(PERCENTILE))
