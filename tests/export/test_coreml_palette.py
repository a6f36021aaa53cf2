from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedet.export.coreml_palette import best_palette, palette_keeping_sums


def _error(weight: npt.NDArray[np.float16], bits: int) -> float:
    table, indices = best_palette(weight, bits)
    return float(((table[indices].astype(np.float64) - weight.reshape(-1)) ** 2).mean())


def test_two_clusters_by_hand() -> None:
    table, indices = best_palette(np.array([[0.0, 10.0], [1.0, 12.0]], np.float16), 1)
    assert table.tolist() == [0.5, 11.0]
    assert indices.tolist() == [0, 1, 0, 1]


def test_a_value_that_occurs_often_draws_its_centre() -> None:
    weight = np.array([0.0] * 9 + [1.0] + [100.0] * 2, np.float16)
    assert best_palette(weight, 1)[0].tolist() == [np.float16(0.1), 100.0]


def test_few_values_are_kept_exactly() -> None:
    weight = np.array([3.0, -1.0, 3.0, 0.0], np.float16)
    table, indices = best_palette(weight, 4)
    assert table.tolist() == [-1.0, 0.0, 3.0, *[0.0] * 13]
    assert table[indices].tolist() == weight.tolist()


@given(st.lists(st.floats(-4, 4, width=16), min_size=1, max_size=200))
def test_each_weight_has_the_nearest_value(values: list[float]) -> None:
    weight = np.array(values, np.float16)
    table, indices = best_palette(weight, 2)
    used = table[: min(4, len(np.unique(weight)))].astype(np.float64)
    nearest = np.abs(weight.astype(np.float64)[:, None] - used).min(axis=1)
    np.testing.assert_allclose(np.abs(table[indices].astype(np.float64) - weight), nearest, atol=1e-12)


@pytest.mark.parametrize(("bits", "factor"), [(4, 1.05), (6, 1.15)])
def test_near_the_best_there_is_for_normal_weights(bits: int, factor: float) -> None:
    """Max 1960, "Quantizing for minimum distortion", table I: shares of a normal distribution's variance."""
    weight = np.random.default_rng(0).standard_normal(100_000).astype(np.float16)
    best = {4: 0.009501, 6: 6.4e-4}[bits]
    assert _error(weight, bits) < factor * best


def test_twice_the_same() -> None:
    weight = np.random.default_rng(1).standard_normal(5_000).astype(np.float16)
    first, second = best_palette(weight, 6), best_palette(weight.copy(), 6)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_sums_of_output_channels_are_kept_in_the_same_table() -> None:
    weight = np.random.default_rng(0).normal(size=(16, 90)).astype(np.float16)
    table, nearest = best_palette(weight, 4)
    same, balanced = palette_keeping_sums(weight, 4)
    assert (same == table).all()

    def worst_sum(indices: npt.NDArray[np.uint8]) -> float:
        errors = table[indices].astype(np.float64).reshape(weight.shape) - weight
        return float(np.abs(errors.sum(axis=1)).max())

    assert worst_sum(balanced) < 0.2 * worst_sum(nearest)
    assert balanced.dtype == np.uint8
    assert np.abs(balanced.astype(int) - nearest).max() == 1


def test_few_values_are_kept_exactly_with_their_sums() -> None:
    weight = np.array([[3.0, -1.0], [3.0, 0.0]], np.float16)
    table, indices = palette_keeping_sums(weight, 4)
    assert table[indices].reshape(2, 2).tolist() == weight.tolist()
