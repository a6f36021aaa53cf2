"""Quantized activations of ML programs (MIL, opset of iOS 17): float to int8 and back, in torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Value = Any  # a Python number or list, or a Tensor

_RANGES = {"int8": (torch.int8, -128, 127), "uint8": (torch.uint8, 0, 255)}


def quantize(input: Tensor, scale: Value, output_dtype: str, zero_point: Value = 0, axis: int | None = None) -> Tensor:
    """clip(round(input / scale) + zero_point), halves to even; the two are numbers, or vectors along `axis`."""
    dtype, lowest, highest = _RANGES[output_dtype]
    steps = (input / _along(scale, input, axis)).round() + _along(zero_point, input, axis)
    return steps.clamp(lowest, highest).to(dtype)


def dequantize(input: Tensor, scale: Value, zero_point: Value = 0, axis: int | None = None) -> Tensor:
    """scale * (input - zero_point)."""
    return (input.float() - _along(zero_point, input, axis)) * _along(scale, input, axis)


def _along(value: Value, input: Tensor, axis: int | None) -> Tensor:
    numbers = torch.as_tensor(value, dtype=torch.float32)
    if axis is None or numbers.ndim == 0:
        return numbers
    sides = [1] * input.ndim
    sides[axis] = -1
    return numbers.reshape(sides)


OPERATORS: dict[str, Callable[..., Tensor]] = {"dequantize": dequantize, "quantize": quantize}
