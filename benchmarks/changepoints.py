"""Where a series of times changes its level for good: optimal partitioning on normal scores.

Warm-up, throttling and other load show as steps and slopes. Barrett et al., "Virtual machine warmup blows hot and cold"
(OOPSLA 2017), find them with PELT (Killick, Fearnhead and Eckley, JASA 2012) after outliers are removed. Here times are
replaced by normal scores of their ranks (van der Waerden 1952), so that no outlier needs removing, and the penalty
grows with the dependence of neighbouring runs, which otherwise look like many small steps. The partition that minimises
cost plus penalty is found exactly (Jackson et al. 2005); long series are first reduced to medians of short blocks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from edgedet.benchmarks.bootstrap import FloatArray, midranks, variance_inflation

SHORTEST = 3  # points of a segment; a single slow run is an outlier, not a level
_MOST_POINTS = 600
_PENALTY = 3.0  # times the logarithm of the number of points, in units of the scores' variance
_MOST_INFLATION = 10.0


@dataclass(frozen=True)
class Segment:
    """Runs from `start` up to before `stop`, and their median."""

    start: int
    stop: int
    median_ms: float

    def __len__(self) -> int:
        return self.stop - self.start


def segments(runs_ms: Sequence[float]) -> list[Segment]:
    """Cut a series of at least one run into stretches of one level each."""
    values = np.asarray(runs_ms, dtype=np.float64)
    block = math.ceil(len(values) / _MOST_POINTS)
    points = np.array([np.median(values[k : k + block]) for k in range(0, len(values), block)])
    cuts = [0, *(min(cut * block, len(values)) for cut in _cuts(points))]
    return [Segment(a, b, float(np.median(values[a:b]))) for a, b in itertools.pairwise(cuts)]


def _cuts(points: FloatArray) -> list[int]:
    """Ends of the segments of the cheapest partition, the last one the length of the series."""
    m = len(points)
    scores = _normal_scores(points)
    if m < 2 * SHORTEST or not scores.any():
        return [m]
    halves = (points[: m // 2], points[m // 2 :])  # a step inflates the half that it lies in; dependence inflates both
    inflation = min(_MOST_INFLATION, *(variance_inflation(_without_slope(half)) for half in halves))
    penalty = _PENALTY * math.log(m) * float(np.var(scores)) * inflation
    sums, squares = (np.concatenate([[0.0], np.cumsum(scores**k)]) for k in (1, 2))
    best = np.full(m + 1, np.inf)
    best[0], before = -penalty, np.zeros(m + 1, dtype=np.int64)
    for stop in range(SHORTEST, m + 1):
        start = np.arange(0, stop - SHORTEST + 1)
        spread = squares[stop] - squares[start] - (sums[stop] - sums[start]) ** 2 / (stop - start)
        cost = best[start] + spread + penalty
        before[stop] = int(np.argmin(cost))
        best[stop] = cost[before[stop]]
    return _follow(before)


def _without_slope(values: FloatArray) -> FloatArray:
    """Less a straight line: a drift is a change of level, not dependence."""
    places = np.arange(len(values))
    line = np.polyval(np.polyfit(places, values, 1), places)
    return np.asarray(np.round(values - line, 9), dtype=np.float64)


def _follow(before: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[int]:
    cuts, stop = [], len(before) - 1
    while stop > 0:
        cuts.append(stop)
        stop = int(before[stop])
    return cuts[::-1]


def _normal_scores(values: FloatArray) -> FloatArray:
    """Quantiles of the standard normal distribution at rank / (n + 1)."""
    ranks, inverse = np.unique(midranks(values), return_inverse=True)
    normal = NormalDist()
    scores = np.array([normal.inv_cdf(float(rank) / (len(values) + 1)) for rank in ranks])
    return scores[inverse]
