"""Palettes: a weight tensor as indices into a table of few values, the table as near to the weights as can be."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgedet.quantization.rounding import nearest_keeping_sums

_MOST_ROUNDS = 300


def best_palette(weight: npt.NDArray[Any], bits: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
    """One-dimensional k-means over the weights' distinct values, each counting as often as it occurs.

    The start has no chance in it: values as dense as the cube root of the weights' density, which is best for many
    values (Panter and Dite 1951, "Quantization Distortion in Pulse-Count Modulation"), and Lloyd's algorithm goes on
    from there. Half precision has at most 63488 finite values, so a round takes the same time for weights of any size.

    Args:
        weight: of half or single precision, of any shape.
        bits: 2**bits is the table's length.

    Returns:
        (2**bits,) table of weight's type in rising order, filled up with zeros where there are fewer distinct values,
        and (size,) indices.
    """
    values, index, counts = np.unique(weight.reshape(-1), return_inverse=True, return_counts=True)
    table = np.zeros(1 << bits, weight.dtype)
    if len(values) <= len(table):
        table[: len(values)] = values
        return table, index.astype(np.uint8)
    exact = values.astype(np.float64)
    centres = _lloyd(exact, counts, _start(exact, counts, len(table)))
    table[:] = centres
    return table, _nearest(values, table.astype(np.float64))[index].astype(np.uint8)


def palette_keeping_sums(weight: npt.NDArray[Any], bits: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
    """The table of `best_palette`, and indices with which the errors of each output channel cancel.

    Args:
        weight: (C, ...) of C output channels.
    """
    table, indices = best_palette(weight, bits)
    if (np.diff(table.astype(np.float64)) <= 0).any():  # all weights stand in the table, or two entries are one half
        return table, indices
    return table, nearest_keeping_sums(weight, table).reshape(-1).astype(np.uint8)


def _start(values: npt.NDArray[Any], counts: npt.NDArray[Any], entries: int) -> npt.NDArray[np.float64]:
    """(entries,) rising values: the density's cube root has the same area between each two of them."""
    width, mass = np.diff(values), (counts[:-1] + counts[1:]) / 2
    area = np.concatenate(([0.0], np.cumsum(np.cbrt(mass / width) * width)))
    return np.interp((np.arange(entries) + 0.5) / entries * area[-1], area, values)


def _lloyd(values: npt.NDArray[Any], counts: npt.NDArray[Any], centres: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Means of the values nearest to each centre, until nothing moves; a centre without values stays."""
    mass = np.concatenate(([0.0], np.cumsum(counts)))
    moment = np.concatenate(([0.0], np.cumsum(counts * values)))
    for _ in range(_MOST_ROUNDS):
        borders = np.searchsorted(values, (centres[:-1] + centres[1:]) / 2)
        first, last = np.concatenate(([0], borders)), np.concatenate((borders, [len(values)]))
        held = mass[last] - mass[first]
        means = np.where(held > 0, (moment[last] - moment[first]) / np.maximum(held, 1), centres)
        if np.array_equal(means, centres):
            break
        centres = means
    return centres


def _nearest(values: npt.NDArray[Any], table: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    return np.searchsorted((table[:-1] + table[1:]) / 2, values.astype(np.float64))
