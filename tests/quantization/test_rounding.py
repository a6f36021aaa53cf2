"""Weights to integers: by hand, and what holds for all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgedet.quantization.rounding import nearest_keeping_sums, round_keeping_sums, round_to_nearest

STEPS = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 4), st.integers(1, 30)), elements=st.floats(-127, 127, width=32)
)


def test_to_the_nearest_and_no_further_than_127() -> None:
    assert round_to_nearest(np.float32([[0.4, 0.6, -1.6, 127.4, -128.0]])).tolist() == [[0, 1, -2, 127, -127]]


def test_the_weight_nearest_to_the_middle_goes_the_other_way() -> None:
    """All errors are positive and add up to 0.9: one step too much, and 2.6 is the cheapest to take it from."""
    assert round_keeping_sums(np.float32([[0.75, 1.75, 2.6]])).tolist() == [[1, 2, 2]]
    assert round_keeping_sums(np.float32([[-0.75, -1.75, -2.6]])).tolist() == [[-1, -2, -2]]
    assert round_keeping_sums(np.float32([[0.75, 1.25, 2.6]])).tolist() == [[1, 1, 3]]  # these cancel as they are


def test_each_output_channel_for_itself_along_any_axis() -> None:
    steps = np.float32([[0.75, 1.75, 2.6], [0.75, 1.25, 2.6], [5.0, 6.0, 7.0]])
    expected = [[1, 2, 2], [1, 1, 3], [5, 6, 7]]
    assert round_keeping_sums(steps).tolist() == expected
    assert round_keeping_sums(steps.T, axis=1).T.tolist() == expected
    kernels = round_keeping_sums(steps.reshape(3, 1, 3, 1))
    assert kernels.shape == (3, 1, 3, 1)
    assert kernels.reshape(3, 3).tolist() == expected


def test_levels_of_any_distance() -> None:
    """Errors -1, -1 and -1.5: 9.5 costs least, and goes from 8 to 12; another one would be too much."""
    levels = np.array([0.0, 4.0, 8.0, 12.0])
    assert levels[nearest_keeping_sums(np.float32([[1, 5, 9.5]]), levels)].tolist() == [[0, 4, 12]]
    assert levels[nearest_keeping_sums(np.float32([[1, 4, 8]]), levels)].tolist() == [[0, 4, 8]]
    uneven = np.array([-10.0, 0.0, 1.0])
    assert uneven[nearest_keeping_sums(np.float32([[0.4, 0.4, 0.4]]), uneven)].tolist() == [[1, 0, 0]]
    assert uneven[nearest_keeping_sums(np.float32([[5, 5, 0]]), uneven)].tolist() == [[1, 1, 1]]  # all that helps


@given(STEPS)
def test_sums_are_right_to_half_a_step_and_no_weight_moves_by_more_than_one(steps: npt.NDArray[np.float32]) -> None:
    rounded = round_keeping_sums(steps).astype(np.float64)
    errors = rounded - steps
    assert (np.abs(errors) <= 1 + 1e-6).all()
    at_the_end = (np.abs(steps) > 126).any(axis=1)  # where 127 ends, a sum may have to stay wrong
    assert (np.abs(errors.sum(axis=1))[~at_the_end] <= 0.5 + 1e-3).all()


@pytest.mark.parametrize("rounding", [round_to_nearest, round_keeping_sums])
def test_whole_numbers_stay(rounding: object) -> None:
    whole = np.arange(-127, 128, dtype=np.float32)[None]
    assert callable(rounding)
    assert (rounding(whole) == whole).all()


def test_outputs_of_a_layer_that_reads_positive_values_err_less() -> None:
    rng = np.random.default_rng(0)
    steps = rng.normal(0, 40, (64, 96)).clip(-127, 127)
    values = np.abs(rng.normal(size=(96, 500))) + 0.5

    def error(integers: npt.NDArray[np.int8]) -> float:
        return float(((integers - steps) @ values).std())

    assert error(round_keeping_sums(steps)) < 0.7 * error(round_to_nearest(steps))
