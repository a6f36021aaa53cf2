"""Exponential moving average of a network's weights: what is evaluated, saved and exported."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class WeightAverage:
    """A copy of a network that follows it.

    The decay warms up as min(decay, (1 + n) / (10 + n)) after n updates, so that the random start is soon forgotten
    (TensorFlow's ExponentialMovingAverage). Batch-norm statistics are averaged too; counters are copied.

    Args:
        model: the network that is trained.
        decay: 0 makes the copy equal to the network.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0
        self._followed: nn.Module | None = None

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take one step towards the network, whose tensors must stay the same objects from one update to the next."""
        if self._followed is not model:  # pairing hundreds of tensors takes longer than averaging them
            self._followed, self._pairs = model, _pairs(self.model, model)
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        averaged, current, counters = self._pairs
        torch._foreach_lerp_(averaged, current, 1 - decay)
        if counters:
            torch._foreach_copy_([old for old, _ in counters], [new for _, new in counters])

    def state_dict(self) -> dict[str, object]:
        return {"updates": self.updates, "model": self.model.state_dict()}

    def load_state_dict(self, state: dict[str, object]) -> None:
        self.updates = int(state["updates"])  # type: ignore[call-overload]
        self.model.load_state_dict(state["model"])  # type: ignore[arg-type]


def _pairs(averaged: nn.Module, model: nn.Module) -> tuple[list[Tensor], list[Tensor], list[tuple[Tensor, Tensor]]]:
    """Floating-point tensors of both networks, in the same order, and the pairs of other buffers.

    A tensor that several layers share stands there once.
    """
    old, new = averaged.state_dict(keep_vars=True), model.state_dict(keep_vars=True)
    first_name = {id(value): key for key, value in reversed(old.items())}
    floating = [key for key, value in old.items() if value.is_floating_point() and first_name[id(value)] == key]
    counters = [(old[key], new[key]) for key, value in old.items() if not value.is_floating_point()]
    return [old[key] for key in floating], [new[key].detach() for key in floating], counters
