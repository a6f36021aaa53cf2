"""Fake quantization: floats rounded to what 8-bit integers can say (Jacob et al. 2018, arXiv 1712.05877, section 3).

Weights are symmetric, -127..127, with one scale an output channel; activations are asymmetric, -128..127, with one
scale and zero point a tensor: what ONNX Runtime, TensorFlow Lite and Core ML execute. The gradient is straight-through:
1 where the value lies within the range, 0 where it was clipped.
"""

from __future__ import annotations

import torch
from torch import Tensor

ACTIVATION_MIN, ACTIVATION_MAX = -128, 127
WEIGHT_MAX = 127
_LEAST_SCALE = 1e-10  # of a tensor that is zero everywhere


def activation_scale(range_min_max: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and zero point of a range.

    Args:
        range_min_max: (2,) float. It is widened to hold 0, which must be exact: it pads convolutions.

    Returns:
        Scalars scale (float32) and zero point (int32, -128..127): value = scale * (integer - zero point).
    """
    low, high = range_min_max[0].clamp(max=0), range_min_max[1].clamp(min=0)
    scale = ((high - low) / (ACTIVATION_MAX - ACTIVATION_MIN)).clamp(min=_LEAST_SCALE)
    zero_point = (ACTIVATION_MIN - low / scale).round().clamp(ACTIVATION_MIN, ACTIVATION_MAX)
    return scale, zero_point.to(torch.int32)


def weight_scales(weight: Tensor) -> Tensor:
    """(C,) scales of the (C, ...) weights of C output channels."""
    return (weight.detach().abs().flatten(1).amax(1) / WEIGHT_MAX).clamp(min=_LEAST_SCALE)


def quantize_activation(x: Tensor, range_min_max: Tensor) -> Tensor:
    """Any float tensor, rounded to the 256 values of a range; of the same shape and dtype."""
    scale, zero_point = activation_scale(range_min_max)
    return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, ACTIVATION_MIN, ACTIVATION_MAX)


def quantize_weight(weight: Tensor) -> Tensor:
    """(C, ...) float weights, each channel rounded to 255 values between minus and plus its largest magnitude."""
    scales = weight_scales(weight)
    zero_points = torch.zeros_like(scales, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scales, zero_points, 0, -WEIGHT_MAX, WEIGHT_MAX)
