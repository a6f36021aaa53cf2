"""Compressed weights of ML programs: the constexpr operators (MIL, opsets of iOS 16 and iOS 18), evaluated once.

Each function takes an operator's arguments as numpy arrays under their MIL names and gives the dense weight;
coremltools' "MIL Ops" reference describes them. Arithmetic is in float32. An argument `shape` marks the form of iOS 16,
which stores several indices or mask bits in a byte and says here what they unpack to; iOS 18 has types for them.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def unpack_bits(packed: Array, bits: int, count: int) -> Array:
    """uint8 bytes to `count` unsigned numbers of `bits` bits; the first is in the lowest bits of the first byte.

    Raises:
        ValueError: the bytes are not as many as the numbers need.
    """
    if packed.size != -(-count * bits // 8):
        raise ValueError(f"{packed.size} bytes cannot hold {count} numbers of {bits} bits")
    every_bit = np.unpackbits(packed.reshape(-1), bitorder="little")[: count * bits].reshape(count, bits)
    numbers: Array = (every_bit << np.arange(bits, dtype=np.uint8)).sum(axis=1, dtype=np.uint8)
    return numbers


def affine_dequantize(quantized_data: Array, zero_point: Array, scale: Array, axis: Array) -> Array:
    """iOS 16: scale * (quantized_data - zero_point); scale and zero point are numbers, or vectors along `axis`."""
    along = [1] * quantized_data.ndim
    along[int(axis)] = -1
    shift, factor = (part.astype(np.float32).reshape(along) for part in (zero_point, scale))
    return (quantized_data.astype(np.float32) - shift) * factor


def blockwise_shift_scale(data: Array, scale: Array, offset: Array | None = None) -> Array:
    """iOS 18: scale * (data - offset); scale and offset have data's rank, each value serves a block of equal size."""
    dense = data.astype(np.float32)
    if offset is not None:
        dense = dense - _blown_up(offset.astype(np.float32), data.shape)
    return dense * _blown_up(scale.astype(np.float32), data.shape)


def _blown_up(blocks: Array, shape: tuple[int, ...]) -> Array:
    """Each value repeated over its block."""
    if blocks.ndim != len(shape) or any(side % have for side, have in zip(shape, blocks.shape, strict=True)):
        raise ValueError(f"blocks of shape {blocks.shape} do not divide {shape}")
    for axis, side in enumerate(shape):
        blocks = blocks.repeat(side // blocks.shape[axis], axis)
    return blocks


def lut_to_dense(indices: Array, lut: Array, shape: Array | None = None, vector_axis: Array | None = None) -> Array:
    """Indices into a table of values.

    iOS 18: `lut` has the rank of `indices` plus two: a table for each block of indices, with (entries, vector length)
    last; an index then stands for a vector along `vector_axis`.

    Raises:
        ValueError: the table's length is no power of two, the shapes do not fit.
    """
    entries = lut.shape[0] if shape is not None else lut.shape[-2]
    bits = int(entries).bit_length() - 1
    if entries != 1 << bits:
        raise ValueError(f"a table of {entries} values")
    if shape is not None:
        sides = tuple(int(side) for side in shape)
        return lut[unpack_bits(indices, bits, prod(sides))].reshape(sides)
    tables = lut.reshape(-1, *lut.shape[-2:])
    table_of = _blown_up(np.arange(len(tables)).reshape(lut.shape[:-2]), indices.shape)
    vectors = tables[table_of, indices]  # (..., vector length)
    if vectors.shape[-1] == 1:
        return np.asarray(vectors[..., 0])
    if vector_axis is None:
        raise ValueError("vectors without an axis")
    axis = int(vector_axis) % indices.ndim
    sides = tuple(side * (vectors.shape[-1] if i == axis else 1) for i, side in enumerate(indices.shape))
    return np.moveaxis(vectors, -1, axis + 1).reshape(sides)


def sparse_to_dense(nonzero_data: Array, mask: Array, shape: Array | None = None) -> Array:
    """Values in row-major order where the mask is set, zero elsewhere.

    Raises:
        ValueError: the mask has another number of ones than there are values.
    """
    if shape is not None:
        sides = tuple(int(side) for side in shape)
        mask = unpack_bits(mask, 1, prod(sides)).reshape(sides)
    chosen = mask != 0
    if np.count_nonzero(chosen) != nonzero_data.size:
        raise ValueError(f"{nonzero_data.size} values for a mask of {np.count_nonzero(chosen)} ones")
    dense = np.zeros(mask.shape, nonzero_data.dtype)
    dense[chosen] = nonzero_data.reshape(-1)
    return dense


def cast(source_val: Array, output_dtype: Array) -> Array:
    """Half to single precision; no other cast is defined."""
    if str(output_dtype) != "fp32":
        raise ValueError(f"a cast of weights to {output_dtype}")
    return source_val.astype(np.float32)


CONSTEXPRS: dict[str, Callable[..., Array]] = {
    "constexpr_affine_dequantize": affine_dequantize,
    "constexpr_blockwise_shift_scale": blockwise_shift_scale,
    "constexpr_cast": cast,
    "constexpr_lut_to_dense": lut_to_dense,
    "constexpr_sparse_to_dense": sparse_to_dense,
}
