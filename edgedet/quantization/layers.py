"""Modules that quantize inside a network: convolutions that round their weights, and quantizers behind other modules.

Everything survives copy.deepcopy, and ranges are part of the state dict.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edgedet.quantization.fake import quantize_activation, quantize_weight
from edgedet.quantization.observers import OBSERVERS

_OUTPUT, _INPUT = "output_quantizer", "input_quantizer"


class ActivationQuantizer(nn.Module):
    """Watches the range of a tensor and rounds the tensor to it.

    Args:
        observer: a name in OBSERVERS.

    Attributes:
        range_min_max: (2,) float32, what was observed.
        batches: how many batches were.
        observing: whether the next tensor changes the range.
        rounding: whether the next tensor is rounded.
        is_known: whether the range follows from elsewhere (`know`) and never changes.
    """

    range_min_max: Tensor
    batches: Tensor

    def __init__(self, observer: str = "moving_average") -> None:
        super().__init__()
        self.observer = observer
        self.observing = self.rounding = self.is_known = False
        self.register_buffer("range_min_max", torch.zeros(2))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if self.observing and not self.is_known:
            self.range_min_max.copy_(OBSERVERS[self.observer](self.range_min_max, int(self.batches), x))
            self.batches.add_(1)
        return quantize_activation(x, self.range_min_max) if self.rounding else x

    def know(self, low: float, high: float) -> None:
        """Set the range for good."""
        self.range_min_max.copy_(torch.tensor((low, high)))
        self.is_known = True

    @property
    def range(self) -> tuple[float, float]:
        """The range, widened to hold 0."""
        low, high = self.range_min_max.tolist()
        return min(0.0, low), max(0.0, high)


class RoundedWeights(nn.Conv2d):
    """What `round_weights` puts before a convolution's own class."""

    rounding = False

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        rounded = quantize_weight(weight) if self.rounding else weight
        output: Tensor = super()._conv_forward(input, rounded, bias)
        return output


_ROUNDING: dict[type[nn.Conv2d], type[RoundedWeights]] = {nn.Conv2d: RoundedWeights}


def round_weights(conv: nn.Conv2d) -> RoundedWeights:
    """Let a convolution, of whatever class, round its weights while its `rounding` is true; in place."""
    if not isinstance(conv, RoundedWeights):
        conv.__class__ = _rounding_class(type(conv))
    assert isinstance(conv, RoundedWeights)
    return conv


def _rounding_class(kind: type[nn.Conv2d]) -> type[RoundedWeights]:
    """One class for each class of convolution, so that a copied network has the class of the original."""
    if kind not in _ROUNDING:
        _ROUNDING[kind] = type(f"Rounded{kind.__name__}", (RoundedWeights, kind), {})
    return _ROUNDING[kind]


def quantize_output(module: nn.Module, observer: str) -> ActivationQuantizer:
    """The quantizer behind a module; the first call puts it there."""
    if not hasattr(module, _OUTPUT):
        module.add_module(_OUTPUT, ActivationQuantizer(observer))
        module.register_forward_hook(_quantize_output)
    return output_quantizer(module)


def quantize_input(module: nn.Module, observer: str) -> ActivationQuantizer:
    """The quantizer before a module; the first call puts it there."""
    if not hasattr(module, _INPUT):
        module.add_module(_INPUT, ActivationQuantizer(observer))
        module.register_forward_pre_hook(_quantize_input)
    return entry_quantizer(module)


def output_quantizer(module: nn.Module) -> ActivationQuantizer:
    """The one that `quantize_output` put behind a module."""
    found = getattr(module, _OUTPUT)
    assert isinstance(found, ActivationQuantizer)
    return found


def entry_quantizer(module: nn.Module) -> ActivationQuantizer:
    """The one that `quantize_input` put before a module."""
    found = getattr(module, _INPUT)
    assert isinstance(found, ActivationQuantizer)
    return found


def quantizers(network: nn.Module) -> list[ActivationQuantizer]:
    return [module for module in network.modules() if isinstance(module, ActivationQuantizer)]


# Hooks get the module they stand at, so that those of a copied network use the copy's quantizers.
def _quantize_output(module: nn.Module, _args: Any, output: Tensor) -> Tensor:
    quantizer = getattr(module, _OUTPUT)
    rounded: Tensor = quantizer(output)
    return rounded


def _quantize_input(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (getattr(module, _INPUT)(args[0]), *args[1:])
