"""A first convolution that knows the mean of each colour.

Every input has one mean and one std for all channels, which is what phone libraries can repeat. A network trained with
a mean for each channel needs the rest added to each channel. Added to a bias it would be right but for the border:
the zeros that pad the image there stand for the mean of each colour. So it is added to the image, inside the network.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn


class ShiftedConv2d(nn.Conv2d):
    """A convolution that first adds a number to each of its input's channels."""

    shift: Tensor  # (1, C, 1, 1), not part of the state dict: NetworkSpec.input_shift holds the numbers

    def forward(self, input: Tensor) -> Tensor:
        shifted: Tensor = super().forward(input + self.shift)
        return shifted


def shift_input(model: nn.Module, shift: tuple[float, ...]) -> None:
    """Let the first convolution of a network add one number to each channel of the image, in place."""
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    first.__class__ = ShiftedConv2d
    numbers = torch.tensor(shift, dtype=first.weight.dtype).reshape(1, first.in_channels, 1, 1)
    cast(ShiftedConv2d, first).register_buffer("shift", numbers, persistent=False)
