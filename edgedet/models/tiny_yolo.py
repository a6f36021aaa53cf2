"""Tiny-YOLOv3, layer for layer as Darknet's yolov3-tiny.cfg.

Darknet's last convolution of each scale gives (4 + 1 + C) columns per anchor; here it is two convolutions, boxes and
logits, with the same weights in total, because boxes and scores must never share a quantization scale.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgedet.decode import RawHeads
from edgedet.models.shapes import per_prior
from edgedet.spec import DetectorSpec

STRIDES_PX = (32, 16)


def _conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.LeakyReLU(0.1),
    )


def _max_pool_same(x: Tensor) -> Tensor:
    """Darknet's max-pool of size 2 and stride 1: padded right and below with cells that cannot win.

    Repeating the last row and column has that effect and needs no infinities in the exported files.
    """
    x = torch.cat((x, x[:, :, -1:]), dim=2)
    x = torch.cat((x, x[:, :, :, -1:]), dim=3)
    return F.max_pool2d(x, kernel_size=2, stride=1)


class TinyYoloV3(nn.Module):
    """(B, 3, H, W) normalised image to RawHeads; the stride-32 level first, as in Darknet."""

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__()

        def c(channels: int) -> int:
            return max(8, int(channels * spec.network.width))

        stem = (3, c(16), c(32), c(64), c(128), c(256))
        self.stem = nn.ModuleList(_conv(a, b, 3) for a, b in pairwise(stem))
        self.deep = nn.ModuleList((_conv(c(256), c(512), 3), _conv(c(512), c(1024), 3), _conv(c(1024), c(256), 1)))
        self.coarse = _conv(c(256), c(512), 3)
        self.lateral = _conv(c(256), c(128), 1)
        self.fine = _conv(c(128) + c(256), c(256), 3)
        anchors = [len(level.anchors_wh_px) for level in spec.levels]
        channels = (c(512), c(256))
        self.box_heads = nn.ModuleList(nn.Conv2d(n, a * 4, 1) for n, a in zip(channels, anchors, strict=True))
        self.class_heads = nn.ModuleList(
            nn.Conv2d(n, a * spec.num_logits, 1) for n, a in zip(channels, anchors, strict=True)
        )
        self.num_logits = spec.num_logits

    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Maps before the heads, at strides 32 and 16."""
        x = self.stem[0](image)
        for block in self.stem[1:]:
            x = block(F.max_pool2d(x, 2))
        stride16 = x
        x = self.deep[0](F.max_pool2d(x, 2))
        x = self.deep[2](self.deep[1](_max_pool_same(x)))
        upsampled = F.interpolate(self.lateral(x), scale_factor=2.0, mode="nearest")
        return self.coarse(x), self.fine(torch.cat((upsampled, stride16), dim=1))

    def forward(self, image: Tensor) -> RawHeads:
        maps = self.features(image)
        box_codes = [per_prior(head(x), 4) for head, x in zip(self.box_heads, maps, strict=True)]
        logits = [per_prior(head(x), self.num_logits) for head, x in zip(self.class_heads, maps, strict=True)]
        return RawHeads(torch.cat(box_codes, dim=1), torch.cat(logits, dim=1))
