from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest

from edgedet.benchmarks.early_stopping import early_stopping, exceeding


def exact(n: int, t: int) -> Fraction:
    """P(X <= t) of n queries that each exceed with probability 1/10."""
    return sum((Fraction(comb(n, k) * 9 ** (n - k), 10**n) for k in range(t + 1)), Fraction(0))


def test_64_queries_are_the_fewest() -> None:
    """0.9^64 + 64 * 0.1 * 0.9^63 = 0.0096; with 63 queries it is 0.0105."""
    assert [exceeding(n) for n in (0, 1, 63, 64)] == [0, 0, 0, 1]


@pytest.mark.parametrize("n", [64, 100, 1024])
def test_agrees_with_exact_fractions(n: int) -> None:
    t = exceeding(n)
    assert exact(n, t) < Fraction(1, 100) <= exact(n, t + 1)


def test_the_estimate_is_the_t_th_slowest() -> None:
    """Times 1..1024 ms: the true p90 is about 922; the estimate lies above it by what 1024 queries leave open."""
    result = early_stopping([float(k) for k in range(1024, 0, -1)], 61.0)
    assert result.p90_ms == 1024 - exceeding(1024) + 1 > 922
    assert result.valid


def test_too_short_or_too_few_is_not_valid() -> None:
    assert not early_stopping([1.0] * 1024, 59.9).valid
    few = early_stopping([1.0] * 63, 90.0)
    assert (few.p90_ms, few.valid) == (None, False)
