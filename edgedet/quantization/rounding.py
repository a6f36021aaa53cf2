"""Weights to the few values that a file has for them: integers, or the entries of a palette."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedet.quantization.fake import WEIGHT_MAX

Floats = npt.NDArray[np.floating[Any]]
Rounding = Callable[[Floats], npt.NDArray[np.int8]]  # (C, ...) weights in steps of their scales, C output channels

_INTEGERS = np.arange(-WEIGHT_MAX, WEIGHT_MAX + 1)


def round_to_nearest(steps: Floats) -> npt.NDArray[np.int8]:
    """Weights in steps of their scales to integers of -127..127, each to the nearest: what training for int8 rounds."""
    return np.clip(np.rint(steps), -WEIGHT_MAX, WEIGHT_MAX).astype(np.int8)


def round_keeping_sums(steps: Floats, axis: int = 0) -> npt.NDArray[np.int8]:
    """Weights in steps of their scales to integers of -127..127, by `nearest_keeping_sums`.

    Args:
        steps: of any shape; the output channels lie along `axis`.
    """
    indices = nearest_keeping_sums(np.moveaxis(np.asarray(steps), axis, 0), _INTEGERS)
    return np.ascontiguousarray(np.moveaxis(_INTEGERS[indices].astype(np.int8), 0, axis))


def nearest_keeping_sums(weights: Floats, levels: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Each weight to a level near it, so that the errors of an output channel's weights cancel.

    What a layer reads is mostly positive (a ReLU lies before it), so the sum of a channel's errors moves all its
    outputs one way, and their sign counts more than their size. Where a channel's nearest levels sum up to too much or
    too little, the weights for which it costs least go to the level on the other side, until the sum is as right as it
    gets: the output channels' part of SQuant (Guo et al. 2022, arXiv 2202.07471), which needs no photographs. Where
    activations are rounded to 8 bits as well, their errors hide the gain.

    Args:
        weights: (C, ...) of C output channels.
        levels: (L,) rising.

    Returns:
        Indices of levels, of the weights' shape.
    """
    flat = np.asarray(weights, np.float64).reshape(len(weights), -1)
    rising = np.asarray(levels, np.float64)
    nearest = np.searchsorted((rising[:-1] + rising[1:]) / 2, flat)
    errors = rising[nearest] - flat
    surplus = errors.sum(axis=1, keepdims=True)
    other = np.clip(nearest - np.sign(surplus).astype(np.intp), 0, len(rising) - 1)
    gaps = np.abs(rising[other] - rising[nearest])
    costs = np.full_like(flat, np.inf)
    np.divide((rising[other] - flat) ** 2 - errors**2, gaps, out=costs, where=gaps > 0)
    order = np.argsort(costs, axis=1, kind="stable")
    gained = np.take_along_axis(gaps, order, axis=1)
    moves = (gained.cumsum(axis=1) - gained / 2 < np.abs(surplus)) & (gained > 0)
    chosen = np.zeros_like(moves)
    np.put_along_axis(chosen, order, moves, axis=1)
    return np.where(chosen, other, nearest).reshape(weights.shape)
