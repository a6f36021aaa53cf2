"""RetinaNet (Lin et al. 2017): a feature pyramid, and one class and one box subnet that all its levels share.

"retinanet" is layer for layer torchvision's retinanet_resnet50_fpn. "retinanet_lite" is the same with depthwise-
separable convolutions and batch norms in the subnets; weights are shared, norms are each level's own, as in
TensorFlow's ssd_mobilenet_v2_fpnlite.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from edgedet.decode import RawHeads
from edgedet.models.backbones import pyramid_backbone
from edgedet.models.shapes import gather_heads
from edgedet.spec import DetectorSpec

MIN_LEVELS, MAX_LEVELS = 3, 5
_SUBNET_DEPTH = 4
_MIN_CHANNELS = 16
_PRIOR_PROBABILITY = 0.01  # pi of the paper, section 4.1: what every prior says of every class before training


@dataclass(frozen=True)
class Parts:
    """What the pyramid and the subnets are made of.

    Attributes:
        channels: of all pyramid levels, at width and head_width 1.
        conv3x3: (in, out, stride) to the layers of a 3x3 convolution.
        after: channels to the layers behind each shared convolution of a subnet; each level has its own.
        tower_std: standard deviation of the subnets' first weights; None keeps the layers' own.
    """

    channels: int
    conv3x3: Callable[[int, int, int], list[nn.Module]]
    after: Callable[[int], list[nn.Module]]
    tower_std: float | None


def _full(channels: int, out: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, out, 3, stride, 1)]


def _separable(channels: int, out: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False), nn.Conv2d(channels, out, 1)]


PARTS: dict[str, Parts] = {
    "retinanet": Parts(256, _full, lambda _: [nn.ReLU()], 0.01),
    "retinanet_lite": Parts(128, _separable, lambda c: [nn.BatchNorm2d(c, eps=0.001, momentum=0.03), nn.ReLU6()], None),
}


class FeaturePyramid(nn.Module):
    """Maps at strides 8, 16 and 32 to maps of equal channels there, and at twice and four times the last stride.

    Feature pyramid paper, section 3, and RetinaNet paper, section 4: P6 is made from P5, as torchvision does.
    """

    def __init__(self, in_channels: tuple[int, ...], parts: Parts, channels: int, levels: int) -> None:
        super().__init__()
        self.inner = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in in_channels)
        self.outer = nn.ModuleList(nn.Sequential(*parts.conv3x3(channels, channels, 1)) for _ in in_channels)
        extra = levels - len(in_channels)
        self.coarser = nn.ModuleList(nn.Sequential(*parts.conv3x3(channels, channels, 2)) for _ in range(extra))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        laterals = [inner(x) for inner, x in zip(self.inner, maps, strict=True)]
        for fine in range(len(laterals) - 2, -1, -1):
            laterals[fine] = laterals[fine] + F.interpolate(laterals[fine + 1], scale_factor=2.0, mode="nearest")
        levels = [outer(x) for outer, x in zip(self.outer, laterals, strict=True)]
        for index, coarser in enumerate(self.coarser):
            levels.append(coarser(levels[-1] if index == 0 else F.relu(levels[-1])))
        return levels


class RetinaNet(nn.Module):
    """(B, 3, H, W) normalised image to RawHeads, levels from fine to coarse.

    `box_heads` and `class_heads` hold one Sequential a level; their convolutions are the same objects in each.
    """

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__()
        parts = PARTS[spec.network.head]
        channels = max(_MIN_CHANNELS, int(parts.channels * spec.network.width * spec.network.head_width))
        anchors = {len(level.anchors_wh_px) for level in spec.levels}
        assert len(anchors) == 1, "edgedet.models.build checks this"
        (count,), levels = anchors, len(spec.levels)
        self.backbone = pyramid_backbone(spec.network)
        self.pyramid = FeaturePyramid(self.backbone.out_channels, parts, channels, levels)
        self.box_heads = _subnet(parts, channels, count * 4, levels, bias=0.0)
        doubt = -math.log((1 - _PRIOR_PROBABILITY) / _PRIOR_PROBABILITY)
        self.class_heads = _subnet(parts, channels, count * spec.num_logits, levels, bias=doubt)
        self.num_logits = spec.num_logits

    def forward(self, image: Tensor) -> RawHeads:
        maps = self.pyramid(self.backbone(image))
        return gather_heads(maps, self.box_heads, self.class_heads, self.num_logits)


def _subnet(parts: Parts, channels: int, out: int, levels: int, bias: float) -> nn.ModuleList:
    """RetinaNet paper, section 4: four convolutions and a prediction, the same for every level.

    Args:
        bias: of the prediction, before training.
    """
    convs = [parts.conv3x3(channels, channels, 1) for _ in range(_SUBNET_DEPTH)]
    predict = parts.conv3x3(channels, out, 1)
    for conv in [*convs, predict] if parts.tower_std else [predict]:
        for layer in conv:
            assert isinstance(layer, nn.Conv2d)
            nn.init.normal_(layer.weight, std=parts.tower_std or 0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    last = predict[-1]
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    nn.init.constant_(last.bias, bias)
    return nn.ModuleList(
        nn.Sequential(*[m for conv in convs for m in (*conv, *parts.after(channels))], *predict) for _ in range(levels)
    )
