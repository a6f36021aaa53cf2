"""Ranges from values, by each method; golden values by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedet.export.precisions import CALIBRATION_METHODS
from edgedet.export.ranges import RangeMeter


def range_by(method: str, *batches: npt.NDArray[np.float32]) -> tuple[float, float]:
    meter = RangeMeter(method)
    for values in batches:
        meter.add(values)
    return meter.range()


def gauss(seed: int, size: int = 40_000) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=size).astype(np.float32)


def test_minmax_is_the_least_and_the_greatest_and_holds_zero() -> None:
    assert range_by("minmax", np.float32([[1, 5]]), np.float32([2, -3])) == (-3.0, 5.0)
    assert range_by("minmax", np.float32([2, 7])) == (0.0, 7.0)
    assert range_by("minmax", np.float32([-2, -7])) == (-7.0, 0.0)


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
def test_a_tensor_of_zeros_has_an_empty_range(method: str) -> None:
    assert range_by(method, np.zeros(10, np.float32)) == (0.0, 0.0)


@pytest.mark.parametrize("method", CALIBRATION_METHODS[1:])
def test_one_outlier_is_cut_off_but_the_rest_is_not(method: str) -> None:
    with_outlier = gauss(1)
    with_outlier[0] = 100.0
    low, high = range_by(method, *(gauss(seed) for seed in range(2, 8)), with_outlier)
    assert -5.5 < low < -2.5
    assert 2.5 < high < 20


@pytest.mark.parametrize(("outliers", "end"), [(1, 1.0), (2, 1.0), (3, 3.0), (20, 3.0)])
def test_percentile_leaves_one_value_in_hundred_thousand_outside_half_at_each_end(outliers: int, end: float) -> None:
    values = np.linspace(-1, 1, 100_000, dtype=np.float32)
    last = values.copy()
    last[-outliers:] = 3.0
    low, high = range_by("percentile", values, values, values, values, last)  # 2.5 of half a million at each end
    assert high == pytest.approx(end, abs=2e-3)  # bins of 8 / 8192
    assert low == pytest.approx(-1.0, abs=2e-3)


def test_bins_that_widen_keep_what_they_counted() -> None:
    """Values of one size first, then values eight times as large: as if both had come at once."""
    small, large = gauss(0), gauss(1) * 8
    assert range_by("percentile", small, large) == pytest.approx(
        range_by("percentile", np.concatenate([large, small])), abs=0.04
    )


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=50), st.sampled_from(CALIBRATION_METHODS))
def test_a_range_lies_within_what_was_seen_and_zero(values: list[float], method: str) -> None:
    low, high = range_by(method, np.asarray(values, np.float32))
    assert min(0.0, *values, 0.0) <= low <= 0 <= high <= max(0.0, *values, 0.0)
