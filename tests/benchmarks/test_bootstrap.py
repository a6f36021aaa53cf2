from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedet.benchmarks.bootstrap import (
    FloatArray,
    block_length,
    fewest_samples,
    midranks,
    percentile_intervals,
    variance_inflation,
)


def autoregressive(n: int, phi: float, seed: int) -> FloatArray:
    """Standard normal values, each `phi` times the one before plus noise."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=n)
    for k in range(1, n):
        values[k] = phi * values[k - 1] + np.sqrt(1 - phi**2) * values[k]
    return values


def test_midranks_by_hand() -> None:
    assert midranks(np.array([5.0, 1.0, 5.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


def test_how_many_samples_an_interval_needs() -> None:
    """0.5^6 = 0.0156 is the first power of 1/2 below 0.025; 0.9^36 = 0.0225; 0.99^368 = 0.0248."""
    assert [fewest_samples(q) for q in (0.5, 0.9, 0.99)] == [6, 36, 368]
    samples = np.linspace(1, 2, 40).tolist()
    assert set(percentile_intervals(samples)) == {"p50", "p90"}
    assert percentile_intervals(samples[:5]) == {}


def test_equal_samples_leave_no_doubt() -> None:
    assert percentile_intervals([4.0] * 400) == {"p50": (4.0, 4.0), "p90": (4.0, 4.0), "p99": (4.0, 4.0)}


def test_dependent_runs_get_longer_blocks_and_wider_intervals() -> None:
    """The variance of a mean of an AR(1) series is (1 + phi) / (1 - phi) times that of independent values: 9 at 0.8."""
    independent, dependent = autoregressive(2000, 0.0, 1), autoregressive(2000, 0.8, 1)
    assert variance_inflation(independent) == pytest.approx(1.0, abs=0.4)
    assert variance_inflation(dependent) == pytest.approx(9.0, rel=0.35)
    assert block_length(independent) <= 6 < block_length(dependent)
    width = [high - low for low, high in (percentile_intervals(x)["p50"] for x in (independent, dependent))]
    assert width[1] > 2 * width[0]


@pytest.mark.parametrize("phi", [0.0, 0.6])
def test_intervals_hold_the_truth_about_as_often_as_they_say(phi: float) -> None:
    """The median is 0. Blocks of finite length lose a little coverage where runs depend on each other."""
    hits = 0
    for seed in range(60):
        low, high = percentile_intervals(autoregressive(300, phi, seed))["p50"]
        hits += low <= 0 <= high
    assert hits >= 51  # 85 %; a binomial of 95 % falls below with probability 0.002


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.1, 1e3), min_size=6, max_size=60), st.floats(0.01, 100))
def test_intervals_lie_within_the_samples_and_scale_with_them(samples: list[float], factor: float) -> None:
    intervals = percentile_intervals(samples)
    scaled = percentile_intervals([factor * sample for sample in samples])
    for name, (low, high) in intervals.items():
        assert min(samples) * (1 - 1e-9) <= low <= high <= max(samples) * (1 + 1e-9)
        assert scaled[name] == pytest.approx((factor * low, factor * high), rel=1e-6)
