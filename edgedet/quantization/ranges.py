"""The activation ranges that travel with a network, from quantization-aware training through model.pt to int8 files."""

from __future__ import annotations

import math

from torch import nn

_ATTRIBUTE = "activation_ranges"


def attach_ranges(network: nn.Module, ranges: object) -> None:
    """Let a network carry ranges: a dict of name (`Simulation.ranges`) to (lowest, highest value).

    They are no part of its state dict, and copies of the network carry them too.

    Raises:
        ValueError: they are none, in one line.
    """
    if not isinstance(ranges, dict):
        raise ValueError(f"activation ranges are a {type(ranges).__name__}, not a dict")
    for name, pair in ranges.items():
        if not (isinstance(name, str) and isinstance(pair, tuple) and len(pair) == 2):
            raise ValueError(f"the activation range of {name!r} is not a pair of numbers")
        if not all(isinstance(value, float) and math.isfinite(value) for value in pair) or not pair[0] <= 0 <= pair[1]:
            raise ValueError(f"the activation range of {name} is {pair}, which is no range around 0")
    if ranges or ranges_of(network):
        object.__setattr__(network, _ATTRIBUTE, dict(ranges))


def ranges_of(network: nn.Module) -> dict[str, tuple[float, float]]:
    """The ranges that a network carries; {} where it was trained without quantization."""
    return dict(getattr(network, _ATTRIBUTE, {}))
