"""The same training step, faster on CPUs. Nothing here changes what is computed, only how.

Five things take most of a MobileNet's time in plain torch on CPU, and none of them is arithmetic:

- the gradient of a depthwise convolution of stride 2 with respect to its input falls back to a slow reference kernel
  (300 ms instead of 40 ms for one layer of MobileNetV2 at 320 px, batch 16);
- the gradient of a depthwise convolution larger than 3x3 with respect to its weights has no fast kernel in bfloat16
  (95 ms instead of 11 ms for one layer of MobileNetV3-Large at 320 px, batch 16);
- the gradient of a mean over the map (squeeze and excitation) comes in another memory layout than the map's own, and
  adding the two is ten times slower than adding two of one layout;
- an activation that works in place first copies its input for the backward pass;
- every large tensor is handed back to the operating system when freed, and its pages are cleared again for the next.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# glibc's mallopt parameters (malloc.h).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution whose gradient uses the fast forward kernel. `accelerate` turns layers into it."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not input.is_cpu or not torch.is_grad_enabled():
            plain: Tensor = super()._conv_forward(input, weight, bias)
            return plain
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            input, weight = input.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        output: Tensor = _Depthwise.apply(input, weight, self.stride[0])
        return output if bias is None else output + bias[:, None, None]


class _Depthwise(torch.autograd.Function):
    """Depthwise convolution with an odd kernel, padding kernel // 2 and one stride for both sides."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.stride = stride
        return F.conv2d(input, weight, None, stride, weight.shape[2] // 2, groups=weight.shape[0])

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        input, weight = ctx.saved_tensors
        stride: int = ctx.stride
        groups, padding = weight.shape[0], weight.shape[2] // 2
        grad_input = grad_weight = None
        if ctx.needs_input_grad[0]:
            # It is the convolution of the output's gradient, spread out by the stride, with the turned kernel.
            spread = grad_output if stride == 1 else _spread(grad_output, input, stride)
            grad_input = F.conv2d(spread, weight.flip(2, 3), None, 1, padding, groups=groups)
        if ctx.needs_input_grad[1]:
            in_windows = weight.dtype == torch.bfloat16 and weight.shape[2] > 3
            gradient = _weight_gradient_in_windows if in_windows else _weight_gradient
            grad_weight = gradient(grad_output, input, weight, stride, padding)
        return grad_input, grad_weight, None


def _weight_gradient(grad_output: Tensor, input: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    found: Tensor = torch.ops.aten.convolution_backward(
        grad_output, input, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], weight.shape[0],
        [False, True, False],
    )[1]  # fmt: skip
    return found


def _weight_gradient_in_windows(
    grad_output: Tensor, input: Tensor, weight: Tensor, stride: int, padding: int
) -> Tensor:
    """The gradient of a large kernel, 3x3 weights at a time: those see the input moved by their place in the kernel."""
    padded = F.pad(input, [padding] * 4)
    height, width = ((side - 1) * stride + 3 for side in grad_output.shape[2:])
    grad_weight = torch.empty_like(weight)
    for y, x in product(range(0, weight.shape[2] - 2, 2), repeat=2):
        seen = padded[:, :, y : y + height, x : x + width].contiguous(memory_format=torch.channels_last)
        window = weight[:, :, y : y + 3, x : x + 3]
        grad_weight[:, :, y : y + 3, x : x + 3] = _weight_gradient(grad_output, seen, window, stride, 0)
    return grad_weight


def _spread(grad_output: Tensor, input: Tensor, stride: int) -> Tensor:
    """The gradient at the places of the input that the stride visited, zeros between them."""
    result = torch.zeros_like(input, memory_format=torch.channels_last)
    result[:, :, ::stride, ::stride] = grad_output
    return result


class BatchNormActivation(nn.BatchNorm2d):
    """A batch norm that also applies the activation after it, in place. `accelerate` turns layers into this class."""

    activation: Activation

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and input.is_cpu and self.momentum is not None and self.running_mean is not None):
            return self.activation.apply_(super().forward(input).clone())
        if input.numel() == input.shape[1]:
            raise ValueError("Expected more than 1 value per channel when training")  # as torch's own batch norm says
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        output: Tensor = _BatchNormActivation.apply(input, self.weight, self.bias, self)
        return output


class _BatchNormActivation(torch.autograd.Function):
    """Stores the norm's input and the activation's output only, and the latter is the next layer's input anyway."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor, layer: BatchNormActivation) -> Tensor:
        output, mean, inverse_std = torch.native_batch_norm(
            input, weight, bias, layer.running_mean, layer.running_var, True, layer.momentum or 0.0, layer.eps
        )
        output = layer.activation.apply_(output)
        ctx.save_for_backward(input, weight, mean, inverse_std, output)
        ctx.layer = layer
        return output

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, mean, inverse_std, output = ctx.saved_tensors
        grad = ctx.layer.activation.gradient(grad_output, output)
        needed = [bool(n) for n in ctx.needs_input_grad[:3]]
        grads = torch.ops.aten.native_batch_norm_backward(
            grad, input, weight, None, None, mean, inverse_std, True, ctx.layer.eps, needed
        )
        return (*grads, None)


class ChannelMean(nn.AdaptiveAvgPool2d):
    """A mean over the whole map, whose gradient is never written out. `accelerate` turns layers into this class."""

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = _ChannelMean.apply(input)
        return output


class _ChannelMean(torch.autograd.Function):
    """(B, C, H, W) to (B, C, 1, 1)."""

    @staticmethod
    def forward(ctx: Any, input: Tensor) -> Tensor:
        ctx.shape = input.shape
        mean: Tensor = input.mean((2, 3), keepdim=True)
        return mean

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        share: Tensor = grad_output / (ctx.shape[2] * ctx.shape[3])
        return share.expand(ctx.shape)


@dataclass(frozen=True)
class Activation:
    """An activation whose gradient follows from its output: `apply_` in place, `gradient` of (grad, output)."""

    apply_: Callable[[Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor], Tensor]


def _activation(layer: nn.Module) -> Activation | None:
    aten = torch.ops.aten
    if isinstance(layer, nn.ReLU6):
        return Activation(lambda x: x.clamp_(0, 6), lambda grad, y: aten.hardtanh_backward(grad, y, 0, 6))
    if isinstance(layer, nn.LeakyReLU) and layer.negative_slope > 0:
        slope = layer.negative_slope
        return Activation(
            lambda x: F.leaky_relu_(x, slope), lambda grad, y: aten.leaky_relu_backward(grad, y, slope, True)
        )
    if isinstance(layer, nn.ReLU):
        return Activation(torch.relu_, lambda grad, y: aten.threshold_backward(grad, y, 0))
    return None


def accelerate(model: nn.Module) -> None:
    """Change layers of a network to the faster classes, in place. Names, shapes and values stay as they are."""
    for module in list(model.modules()):
        if type(module) is nn.Conv2d and _is_plain_depthwise(module):
            module.__class__ = DepthwiseConv2d
        if type(module) is nn.AdaptiveAvgPool2d and module.output_size in (1, (1, 1)):
            module.__class__ = ChannelMean
        if isinstance(module, nn.Hardswish):
            module.inplace = False
        if isinstance(module, nn.Sequential):
            _fuse_activations(module)


def _fuse_activations(layers: nn.Sequential) -> None:
    for name, norm, follower in zip(list(layers._modules)[1:], layers, list(layers)[1:], strict=False):
        if type(norm) is nn.BatchNorm2d and norm.affine and (activation := _activation(follower)):
            norm.__class__ = BatchNormActivation
            cast(BatchNormActivation, norm).activation = activation
            layers._modules[name] = nn.Identity()


def _is_plain_depthwise(conv: nn.Conv2d) -> bool:
    kernel, stride = conv.kernel_size, conv.stride
    return (
        conv.groups == conv.in_channels == conv.out_channels
        and kernel[0] == kernel[1]
        and kernel[0] % 2 == 1
        and stride[0] == stride[1]
        and conv.dilation == (1, 1)
        and conv.padding == (kernel[0] // 2,) * 2
        and conv.padding_mode == "zeros"
    )


def keep_freed_memory() -> bool:
    """Let this process reuse large blocks instead of handing them back to the system, in large pages where it can.

    Returns:
        Whether the C library took the settings (glibc on Linux); elsewhere nothing is changed.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    os.environ.setdefault(
        "THP_MEM_ALLOC_ENABLE", "1"
    )  # torch asks for transparent huge pages (c10/core/impl/alloc_cpu)
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(*pair) for pair in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 * 2**20)))
