"""Confidence intervals of percentiles of runs that depend on each other.

Times of neighbouring runs are alike: a clock that drops, another process that comes and goes, pictures that are cycled
through. Resampling single runs would take them for independent and give intervals that are too narrow. The block
bootstrap resamples stretches of neighbouring runs and so keeps what holds within a stretch (Künsch, "The jackknife and
the bootstrap for general stationary observations", Annals of Statistics 17, 1989; blocks that wrap around at the end:
Politis and Romano 1992). The length of a block is chosen from the data: Politis and White, "Automatic block-length
selection for the dependent bootstrap", Econometric Reviews 23, 2004, with the correction of Patton, Politis and White,
Econometric Reviews 28, 2009.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgedet.benchmarks.stats import PERCENTILES

FloatArray = npt.NDArray[np.float64]
CONFIDENCE = 0.95
_RESAMPLES = 2000
_MOST_DRAWN = 20_000_000  # numbers in all; long series are resampled less often, their intervals are narrow
_CHUNK = 2_000_000


def percentile_intervals(
    samples_ms: Sequence[float], confidence: float = CONFIDENCE, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Interval (low, high) of p50, p90 and p99, each where there are enough samples to bound it from both sides.

    Args:
        samples_ms: in the order of measuring.
        confidence: that the interval holds the percentile.
        seed: of the resampling; the same samples give the same interval.
    """
    values = np.asarray(samples_ms, dtype=np.float64)
    names = [name for name, q in PERCENTILES.items() if len(values) >= fewest_samples(q / 100, confidence)]
    if not names:
        return {}
    drawn = _resampled_percentiles(values, [PERCENTILES[name] for name in names], block_length(values), seed)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(drawn, (tail, 100 - tail), axis=0)
    return {name: (float(low[k]), float(high[k])) for k, name in enumerate(names)}


def fewest_samples(quantile: float, confidence: float = CONFIDENCE) -> int:
    """How many samples it takes until the largest lies above the quantile, and the smallest below, surely enough.

    With fewer, no interval between order statistics can have the confidence (6 samples for p50, 36 for p90, 368 for
    p99 at 95 %).
    """
    rarer = max(quantile, 1 - quantile)
    return math.ceil(math.log((1 - confidence) / 2) / math.log(rarer) - 1e-9)


def block_length(values: FloatArray) -> int:
    """Best length of a block of the circular block bootstrap, computed on ranks so that single spikes do not decide."""
    n = len(values)
    long_run, slope = _spectrum(midranks(values))
    if long_run <= 0 or slope == 0:
        return 1
    best = ((2 * slope**2) / (4 / 3 * long_run**2)) ** (1 / 3) * n ** (1 / 3)
    return max(1, math.ceil(min(float(best), 3 * math.sqrt(n), n / 3)))


def variance_inflation(values: FloatArray) -> float:
    """How many times dependence widens the variance of a mean of ranks: 1 for independent runs, never less.

    The number of runs divided by it is the number of independent runs that would say as much.
    """
    ranks = midranks(values)
    spread = float(np.var(ranks))
    return max(1.0, _spectrum(ranks)[0] / spread) if spread > 0 else 1.0


def midranks(values: FloatArray) -> FloatArray:
    """Ranks from 1 on; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: FloatArray = ends - (counts - 1) / 2
    return means[inverse]


def _spectrum(values: FloatArray) -> tuple[float, float]:
    """Spectral density at zero and its generalised slope, with the flat-top lag window of Politis and White."""
    n = len(values)
    most = min(n - 1, math.ceil(math.sqrt(n)) + 5)
    covariances = _autocovariances(values, most)
    if covariances[0] <= 0:
        return 0.0, 0.0
    last = _last_correlated_lag(covariances / covariances[0], n)
    width = min(2 * max(last, 1), most)
    lags = np.arange(1, width + 1)
    window = np.minimum(1.0, 2 * (1 - lags / width))
    weighted = window * covariances[1 : width + 1]
    return float(covariances[0] + 2 * weighted.sum()), float(2 * (lags * weighted).sum())


def _last_correlated_lag(correlations: FloatArray, n: int) -> int:
    """The lag after which several correlations in a row are within noise (the rule of Politis and White)."""
    in_a_row = max(5, math.ceil(math.sqrt(math.log10(n))))
    limit = 2 * math.sqrt(math.log10(n) / n)
    small = np.abs(correlations[1:]) < limit
    for lag in range(len(small)):
        if small[lag : lag + in_a_row].all():
            return lag
    return len(small)


def _autocovariances(values: FloatArray, most: int) -> FloatArray:
    centred = values - values.mean()
    return np.array([centred[: len(values) - lag] @ centred[lag:] for lag in range(most + 1)]) / len(values)


def _resampled_percentiles(values: FloatArray, percents: list[float], block: int, seed: int) -> FloatArray:
    """Percentiles of resamples made of whole blocks, one row a resample."""
    n = len(values)
    rng = np.random.default_rng(seed)
    resamples = max(200, min(_RESAMPLES, _MOST_DRAWN // n))
    blocks = math.ceil(n / block)
    rows: list[FloatArray] = []
    at_once = max(1, _CHUNK // n)
    for done in range(0, resamples, at_once):
        count = min(at_once, resamples - done)
        starts = rng.integers(0, n, (count, blocks, 1))
        places = ((starts + np.arange(block)) % n).reshape(count, -1)[:, :n]
        rows.append(np.percentile(values[places], percents, axis=1).T)
    return np.concatenate(rows)
