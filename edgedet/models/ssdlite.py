"""SSDLite: SSD heads of depthwise-separable convolutions on a tapped backbone.

MobileNetV2 paper (Sandler et al. 2018), section 6.2; layer for layer as torchvision's ssdlite320_mobilenet_v3_large.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torchvision.ops.misc import Conv2dNormActivation

from edgedet.decode import RawHeads
from edgedet.models.backbones import BACKBONES
from edgedet.models.shapes import per_prior
from edgedet.spec import DetectorSpec

_EXTRA_CHANNELS = (512, 256, 256, 128)
_MIN_EXTRA_CHANNELS = 16
MAX_LEVELS = 2 + len(_EXTRA_CHANNELS)

_norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
_conv = partial(Conv2dNormActivation, norm_layer=_norm, activation_layer=nn.ReLU6)


def _extra_block(in_channels: int, out_channels: int) -> nn.Sequential:
    """Halves the map: 1x1 squeeze, depthwise 3x3 of stride 2, 1x1 expand."""
    squeezed = out_channels // 2
    return nn.Sequential(
        _conv(in_channels, squeezed, kernel_size=1),
        _conv(squeezed, squeezed, kernel_size=3, stride=2, groups=squeezed),
        _conv(squeezed, out_channels, kernel_size=1),
    )


def _prediction_block(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        _conv(in_channels, in_channels, kernel_size=3, groups=in_channels),
        nn.Conv2d(in_channels, out_channels, kernel_size=1),
    )


class SSDLite(nn.Module):
    """(B, 3, H, W) normalised image to RawHeads, levels from fine to coarse."""

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__()
        self.backbone = BACKBONES[spec.network.backbone](spec.network)
        extras = [
            max(_MIN_EXTRA_CHANNELS, int(c * spec.network.width)) for c in _EXTRA_CHANNELS[: len(spec.levels) - 2]
        ]
        channels = [*self.backbone.out_channels, *extras]
        self.extras = nn.ModuleList(_extra_block(a, b) for a, b in zip(channels[1:], extras, strict=False))
        anchors = [len(level.anchors_wh_px) for level in spec.levels]
        self.box_heads = nn.ModuleList(_prediction_block(c, a * 4) for c, a in zip(channels, anchors, strict=True))
        self.class_heads = nn.ModuleList(
            _prediction_block(c, a * spec.num_logits) for c, a in zip(channels, anchors, strict=True)
        )
        self.num_logits = spec.num_logits
        for part in (self.extras, self.box_heads, self.class_heads):
            _initialise(part)

    def forward(self, image: Tensor) -> RawHeads:
        maps = self.backbone(image)
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        box_codes = [per_prior(head(x), 4) for head, x in zip(self.box_heads, maps, strict=True)]
        logits = [per_prior(head(x), self.num_logits) for head, x in zip(self.class_heads, maps, strict=True)]
        return RawHeads(torch.cat(box_codes, dim=1), torch.cat(logits, dim=1))


def _initialise(part: nn.Module) -> None:
    """Normal with standard deviation 0.03, as TensorFlow's and torchvision's SSDLite."""
    for module in part.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.03)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
