"""Seeing that a run has become useless, without making a GPU wait after every step to be asked."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from edgedet.errors import EdgedetError

GPU_STEPS = 20  # between two looks at numbers that lie on a GPU


class FiniteCheck:
    """Raises when a number that was added is infinite or NaN.

    Numbers are added up where they lie: a sum is finite only if each of them was. On CPU each is looked at at once.

    Args:
        device: where the numbers lie.
    """

    def __init__(self, device: torch.device) -> None:
        self.every = 1 if device.type == "cpu" else GPU_STEPS
        self.sums: dict[str, Tensor] = {}
        self.added = 0

    def add(self, what: str, value: Tensor) -> None:
        """Count one number, called `what` in the error message, and look at the sums when it is time."""
        value = value.detach()
        self.sums[what] = self.sums[what] + value if what in self.sums else value
        self.added += 1
        if self.added >= self.every:
            self.look()

    def look(self) -> None:
        """Look now: before weights are saved.

        Raises:
            EdgedetError: a number since the last look was not finite.
        """
        for what, total in self.sums.items():
            value = float(total)
            if not math.isfinite(value):
                raise EdgedetError(
                    f"the {what} became {value}",
                    "Lower training.lr or raise training.warmup_steps; the last checkpoint is kept.",
                )
        self.sums, self.added = {}, 0
