"""Compressed weights by hand: what each constexpr operator unpacks, down to the order of bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedet.export.mil_constexpr import (
    affine_dequantize,
    blockwise_shift_scale,
    cast,
    lut_to_dense,
    sparse_to_dense,
    unpack_bits,
)


def _bytes(*values: int) -> npt.NDArray[np.uint8]:
    return np.array(values, np.uint8)


@pytest.mark.parametrize(
    ("packed", "bits", "numbers"),
    [
        (_bytes(0b00001101, 0b1), 1, [1, 0, 1, 1, 0, 0, 0, 0, 1]),
        (_bytes(0b01101100, 0b11), 2, [0, 3, 2, 1, 3]),  # the example of coremltools' reference
        (_bytes(0x21, 0x43, 0x05), 4, [1, 2, 3, 4, 5]),  # the low half of a byte comes first
        # 1, 2, 3, 63: 000001, 000010, 000011, 111111 from the lowest bit on; the second lies in two bytes
        (_bytes(0b10_000001, 0b0011_0000, 0b111111_00), 6, [1, 2, 3, 63]),
        (_bytes(0b11_010_001, 0b1), 3, [1, 2, 7]),
        (_bytes(7, 255), 8, [7, 255]),
    ],
)
def test_bits_are_read_from_the_lowest_on(packed: npt.NDArray[np.uint8], bits: int, numbers: list[int]) -> None:
    assert unpack_bits(packed, bits, len(numbers)).tolist() == numbers


@given(st.sampled_from([1, 2, 3, 4, 6, 8]), st.lists(st.integers(0, 255), max_size=40))
def test_what_was_packed_is_unpacked(bits: int, numbers: list[int]) -> None:
    numbers = [number % (1 << bits) for number in numbers]
    whole = sum(number << (bits * place) for place, number in enumerate(numbers))
    packed = np.frombuffer(whole.to_bytes(-(-bits * len(numbers) // 8), "little"), np.uint8)
    assert unpack_bits(packed, bits, len(numbers)).tolist() == numbers


def test_bytes_that_are_too_few_or_too_many() -> None:
    for packed in (_bytes(1), _bytes(1, 2, 3)):
        with pytest.raises(ValueError, match="3 numbers of 4 bits"):
            unpack_bits(packed, 4, 3)


def test_affine_weights_with_a_scale_a_channel() -> None:
    data = np.array([[-127, 0, 2], [10, 11, 12]], np.int8)
    scale, zero = np.array([0.5, 0.25], np.float16), np.array([1, 10], np.int8)
    by_row = affine_dequantize(data, zero, scale, np.int32(0))
    assert by_row.tolist() == [[-64.0, -0.5, 0.5], [0.0, 0.25, 0.5]]
    by_column = affine_dequantize(data[:, :2], np.array([0, 1], np.int8), scale, np.int32(-1))
    assert by_column.tolist() == [[-63.5, -0.25], [5.0, 2.5]]
    assert affine_dequantize(data, np.int8(2), np.float16(2), np.int32(0)).tolist() == [[-258, -4, 0], [16, 18, 20]]


def test_scales_of_blocks() -> None:
    data = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.int8)
    scale = np.array([[1.0, 10.0]], np.float16)  # one block of two rows and two columns each
    assert blockwise_shift_scale(data, scale).tolist() == [[1, 2, 30, 40], [5, 6, 70, 80]]
    offset = np.array([[1, 3]], np.int8)
    assert blockwise_shift_scale(data, scale, offset).tolist() == [[0, 1, 0, 10], [4, 5, 40, 50]]
    with pytest.raises(ValueError, match="do not divide"):
        blockwise_shift_scale(data, np.ones((1, 3), np.float16))


def test_table_of_values_in_packed_bytes() -> None:
    """2 bits: 0, 3, 2, 1, 3, and a sixth that is 0."""
    table = np.array([-1.0, 0.5, 2.0, 8.0], np.float16)
    dense = lut_to_dense(_bytes(0b01101100, 0b11), table, np.array([2, 3], np.uint32))
    assert dense.tolist() == [[-1.0, 8.0, 2.0], [0.5, 8.0, -1.0]]
    with pytest.raises(ValueError, match="table of 3"):
        lut_to_dense(_bytes(0), table[:3], np.array([1], np.uint32))


def test_tables_of_groups() -> None:
    """The example of coremltools' reference: two tables, each for three rows."""
    indices = np.array([[2, 3], [3, 0], [1, 0], [3, 0], [2, 1], [0, 3]], np.uint8)
    tables = np.array([1.0, 5.0, 9.0, 13.0, 2.0, 10.0, 18.0, 26.0], np.float16).reshape(2, 1, 4, 1)
    assert lut_to_dense(indices, tables).tolist() == [[9, 13], [13, 1], [5, 1], [26, 2], [18, 10], [2, 26]]


def test_tables_of_vectors() -> None:
    indices = np.array([[0, 1], [1, 1]], np.uint8)
    tables = np.array([[1.0, 2.0], [3.0, 4.0]], np.float16).reshape(1, 1, 2, 2)
    assert lut_to_dense(indices, tables, vector_axis=np.int32(0)).tolist() == [[1, 3], [2, 4], [3, 3], [4, 4]]
    assert lut_to_dense(indices, tables, vector_axis=np.int32(-1)).tolist() == [[1, 2, 3, 4], [3, 4, 3, 4]]
    with pytest.raises(ValueError, match="without an axis"):
        lut_to_dense(indices, tables)


def test_sparse_weights() -> None:
    values, shape = np.array([5.0, -1.0, 2.0], np.float16), np.array([2, 3], np.uint32)
    expected = [[0.0, 5.0, 0.0], [0.0, -1.0, 2.0]]
    assert sparse_to_dense(values, _bytes(0b110010), shape).tolist() == expected
    assert sparse_to_dense(values, np.array([[0, 1, 0], [0, 1, 1]], np.uint8)).tolist() == expected
    with pytest.raises(ValueError, match="3 values for a mask of 2 ones"):
        sparse_to_dense(values, _bytes(0b010010), shape)


def test_cast_is_to_single_precision_only() -> None:
    assert cast(np.array([0.5], np.float16), np.array("fp32")).dtype == np.float32
    with pytest.raises(ValueError, match="int8"):
        cast(np.array([0.5], np.float16), np.array("int8"))
