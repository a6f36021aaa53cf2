"""Operators of ML programs (MIL, opsets of iOS 15 to 18) in torch: the table that the reference runtime knows.

Each function takes a MIL operator's arguments by their MIL names; coremltools' "MIL Ops" reference describes them.
Tensors are float32, bool or int64; strides, axes, names and flags are plain Python values. Elementwise operators also
take Python numbers, because MIL passes scalars so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgedet.export import mil_quantize_ops as quantized
from edgedet.export import mil_shape_ops as shapes
from edgedet.export.mil_nms import non_maximum_suppression

Value = Any  # a Tensor or a Python number


def _tensor(value: Value) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(value)


def _binary(function: Callable[[Any, Any], Any]) -> Callable[..., Tensor]:
    def run(x: Value, y: Value) -> Tensor:
        result: Tensor = function(_tensor(x), _tensor(y))
        return result

    return run


def _unary(function: Callable[[Any], Any]) -> Callable[..., Tensor]:
    def run(x: Value) -> Tensor:
        result: Tensor = function(_tensor(x))
        return result

    return run


def _reduction(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(x: Tensor, axes: Sequence[int] | None = None, keep_dims: bool = False) -> Tensor:
        return function(x, dim=tuple(range(x.ndim)) if axes is None else tuple(axes), keepdim=keep_dims)

    return run


def _symmetric(pads: Sequence[int]) -> tuple[int, ...] | None:
    """[before, after, before, after, ...] as one number a dimension, None where the sides differ."""
    return tuple(pads[::2]) if list(pads[::2]) == list(pads[1::2]) else None


def _explicit_pads(
    x: Tensor,
    pad_type: str,
    pad: Sequence[int] | None,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[int]:
    """MIL's three ways to pad a window operator as explicit numbers [before, after, ...]."""
    if pad_type == "custom":
        return list(pad or [0] * (2 * len(kernel)))
    if pad_type == "valid":
        return [0] * (2 * len(kernel))
    pads = []
    for size, k, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size)
        pads += [total - total // 2, total // 2] if pad_type == "same_lower" else [total // 2, total - total // 2]
    return pads


def _torch_order(pads: Sequence[int]) -> list[int]:
    """torch's F.pad lists the last dimension first."""
    pairs = [list(pads[i : i + 2]) for i in range(0, len(pads), 2)]
    return [number for pair in reversed(pairs) for number in pair]


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: Sequence[int] | None = None,
    pad_type: str = "valid",
    pad: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    groups: int = 1,
) -> Tensor:
    """(B, C, H, W) with weight (C_out, C / groups, kh, kw)."""
    ones = [1] * (x.ndim - 2)
    strides, dilations = strides or ones, dilations or ones
    pads = _explicit_pads(x, pad_type, pad, weight.shape[2:], strides, dilations)
    even = _symmetric(pads)
    if even is None:
        x, even = F.pad(x, _torch_order(pads)), (0,) * len(ones)
    function = F.conv2d if len(ones) == 2 else F.conv1d
    result: Tensor = function(x, weight, bias, tuple(strides), even, tuple(dilations), groups)
    return result


def max_pool(
    x: Tensor,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] | None = None,
    pad_type: str = "valid",
    pad: Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """(B, C, H, W); padding never wins."""
    strides = strides or [1] * len(kernel_sizes)
    pads = _explicit_pads(x, pad_type, pad, kernel_sizes, strides, [1] * len(kernel_sizes))
    if any(pads):
        x = F.pad(x, _torch_order(pads), value=-torch.inf)
    result: Tensor = F.max_pool2d(x, tuple(kernel_sizes), tuple(strides), ceil_mode=ceil_mode)
    return result


def avg_pool(
    x: Tensor,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] | None = None,
    pad_type: str = "valid",
    pad: Sequence[int] | None = None,
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> Tensor:
    """(B, C, H, W)."""
    strides = strides or [1] * len(kernel_sizes)
    pads = _explicit_pads(x, pad_type, pad, kernel_sizes, strides, [1] * len(kernel_sizes))
    padded = F.pad(x, _torch_order(pads))
    average: Tensor = F.avg_pool2d(padded, tuple(kernel_sizes), tuple(strides), ceil_mode=ceil_mode)
    if exclude_padding_from_average and any(pads):
        inside = F.pad(torch.ones_like(x[:1, :1]), _torch_order(pads))
        average = average / F.avg_pool2d(inside, tuple(kernel_sizes), tuple(strides), ceil_mode=ceil_mode)
    return average


def upsample_nearest_neighbor(x: Tensor, scale_factor_height: float = 1, scale_factor_width: float = 1) -> Tensor:
    """(B, C, H, W) to (B, C, H * fh, W * fw)."""
    factors = (float(scale_factor_height), float(scale_factor_width))
    result: Tensor = F.interpolate(x, scale_factor=factors, mode="nearest")
    return result


def cast(x: Value, dtype: str) -> Tensor:
    """Half precision is held as float32; the runtime rounds what a program declares fp16."""
    kinds = {"fp16": torch.float32, "fp32": torch.float32, "bool": torch.bool}
    return _tensor(x).to(kinds.get(dtype, torch.int64))


def clip(x: Tensor, alpha: float, beta: float) -> Tensor:
    return x.clamp(alpha, beta)


def leaky_relu(x: Tensor, alpha: float) -> Tensor:
    result: Tensor = F.leaky_relu(x, alpha)
    return result


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(..., C_in) with weight (C_out, C_in)."""
    return F.linear(x, weight, bias)


def log(x: Tensor, epsilon: float = 1e-45) -> Tensor:
    return (x + epsilon).log()


def linear_activation(x: Tensor, alpha: float, beta: float) -> Tensor:
    return x * alpha + beta


def sigmoid_hard(x: Tensor, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    return (x * alpha + beta).clamp(0, 1)


def thresholded_relu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x >= alpha, else 0."""
    return torch.where(x >= alpha, x, 0.0)


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    return x.softmax(axis)


def select(cond: Value, a: Value, b: Value) -> Tensor:
    """Neural networks hold conditions as 0 and 1."""
    return torch.where(_tensor(cond).bool(), a, b)


def topk(
    x: Tensor,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> tuple[Tensor, ...]:
    """Values and indices, best first (without `sort` any order will do); equal values in their order."""
    order = x.sort(dim=axis, descending=not ascending, stable=True)
    values, indices = order.values.narrow(axis, 0, k), order.indices.narrow(axis, 0, k)
    return (values, indices) if return_indices else (values,)


OPERATORS: dict[str, Callable[..., Any]] = {
    "add": _binary(torch.add),
    "avg_pool": avg_pool,
    "cast": cast,
    "ceil": _unary(torch.ceil),
    "clip": clip,
    "conv": conv,
    "equal": _binary(torch.eq),
    "exp": _unary(torch.exp),
    "floor": _unary(torch.floor),
    "greater": _binary(torch.gt),
    "greater_equal": _binary(torch.ge),
    "leaky_relu": leaky_relu,
    "less": _binary(torch.lt),
    "less_equal": _binary(torch.le),
    "linear": linear,
    "linear_activation": linear_activation,
    "log": log,
    "max_pool": max_pool,
    "maximum": _binary(torch.maximum),
    "minimum": _binary(torch.minimum),
    "mul": _binary(torch.mul),
    "non_maximum_suppression": non_maximum_suppression,
    "not_equal": _binary(torch.ne),
    "real_div": _binary(torch.true_divide),
    "reduce_max": _reduction(torch.amax),
    "reduce_mean": _reduction(torch.mean),
    "reduce_min": _reduction(torch.amin),
    "reduce_sum": _reduction(torch.sum),
    "relu": _unary(torch.relu),
    "relu6": _unary(F.relu6),
    "select": select,
    "sigmoid": _unary(torch.sigmoid),
    "sigmoid_hard": sigmoid_hard,
    "silu": _unary(torch.nn.functional.silu),
    "softmax": softmax,
    "sqrt": _unary(torch.sqrt),
    "sub": _binary(torch.sub),
    "thresholded_relu": thresholded_relu,
    "topk": topk,
    "upsample_nearest_neighbor": upsample_nearest_neighbor,
    **quantized.OPERATORS,
    **shapes.OPERATORS,
}
