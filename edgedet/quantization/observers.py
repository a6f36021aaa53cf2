"""Observers: which range a tensor has, from the batches that were seen."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

# (range so far, batches so far, tensor) to the new range; ranges are (2,) float32: lowest and highest value.
Observer = Callable[[Tensor, int, Tensor], Tensor]

_MOMENTUM = 0.05  # of the moving average: about twenty batches are remembered
_PERCENT = 99.99
_SAMPLE = 2**18  # values of a batch that a percentile is taken from


def min_max(before: Tensor, batches: int, x: Tensor) -> Tensor:
    """The lowest and the highest value ever seen: nothing is clipped, and one outlier costs resolution for all."""
    found = _extremes(x)
    if not batches:
        return found
    return torch.stack((torch.minimum(before[0], found[0]), torch.maximum(before[1], found[1])))


def moving_average(before: Tensor, batches: int, x: Tensor, momentum: float = _MOMENTUM) -> Tensor:
    """Batch extremes, averaged with weights that fall by `1 - momentum` a batch (the paper's section 3.1).

    The first batches are averaged equally, so that the range does not hang on the very first one.
    """
    return torch.lerp(before, _extremes(x), max(momentum, 1 / (batches + 1)))


def percentile(before: Tensor, batches: int, x: Tensor, percent: float = _PERCENT) -> Tensor:
    """The values that `percent` % of a batch lie below and above, averaged over batches: outliers are clipped.

    Of large tensors every n-th value is looked at. A tensor that is constant on one side (ReLU) keeps that end.
    """
    values = x.detach().flatten().float()
    values = values[:: max(1, values.numel() // _SAMPLE)]
    count = values.numel()
    rank = min(count, max(1, round(count * percent / 100)))
    found = torch.stack((values.kthvalue(count + 1 - rank).values, values.kthvalue(rank).values))
    return torch.lerp(before, found, 1 / (batches + 1))


OBSERVERS: dict[str, Observer] = {
    "minmax": min_max,
    "moving_average": moving_average,
    "percentile": partial(percentile, percent=_PERCENT),
}


def _extremes(x: Tensor) -> Tensor:
    return torch.stack(torch.aminmax(x.detach())).float()
