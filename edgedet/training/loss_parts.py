"""What every loss gives: its parts, and what they were divided by."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class LossParts(dict[str, Tensor]):
    """Parts of a loss by name; their sum is minimised.

    Each part is a sum over the batch divided by the number of its positive priors, at least 1. That number comes
    along, so that the losses of several small batches, or of several processes, can be put together to that of one
    large batch.

    Args:
        parts: scalars.
        positives: their number before it is raised to 1.
    """

    def __init__(self, parts: Mapping[str, Tensor], positives: int) -> None:
        super().__init__(parts)
        self.positives = positives

    @property
    def total(self) -> Tensor:
        return torch.stack(list(self.values())).sum()

    @property
    def total_sum(self) -> Tensor:
        """The same before it was divided."""
        return self.total * max(1, self.positives)
