"""Backbones from torchvision, tapped where detection heads want feature maps.

Module names follow torchvision (`features.0.0.weight` ...), so its state dicts load without renaming.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torchvision
from torch import Tensor, nn

from edgedet.spec import NetworkSpec


class TappedFeatures(nn.Module):
    """A torchvision MobileNet's `features` that gives the maps SSDLite uses.

    The first map is the expansion (before the depthwise convolution) of the block that makes stride 32, at stride 16;
    the second is the last map, at stride 32 (MobileNetV2 paper, section 6.2; torchvision's ssdlite does the same).

    Args:
        features: the Sequential of blocks.
        tapped_block: index of the block whose expansion is the first map.
        layers_of: the layers of that block, the expansion first.
    """

    def __init__(
        self, features: nn.Sequential, tapped_block: int, layers_of: Callable[[nn.Module], nn.Sequential]
    ) -> None:
        super().__init__()
        self.features = features
        self.tapped_block = tapped_block
        self.layers_of = layers_of
        self.out_channels = (_out_channels(layers_of(features[tapped_block])[0]), _out_channels(features[-1]))

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to [(B, C0, H/16, W/16), (B, C1, H/32, W/32)]."""
        x = self.features[: self.tapped_block](image)
        layers = self.layers_of(self.features[self.tapped_block])
        expanded = layers[0](x)
        x = layers[1:](expanded)
        return [expanded, self.features[self.tapped_block + 1 :](x)]


def _out_channels(block: nn.Module) -> int:
    return [m for m in block.modules() if isinstance(m, nn.Conv2d)][-1].out_channels


def _last_stride2_block(features: nn.Sequential) -> int:
    """Index of the last block that halves the map: it brings stride 32 in every MobileNet."""
    return max(
        i for i, b in enumerate(features) if any(m.stride == (2, 2) for m in b.modules() if isinstance(m, nn.Conv2d))
    )


def _v2_layers(block: nn.Module) -> nn.Sequential:
    return block.conv  # type: ignore[return-value]


def _v3_layers(block: nn.Module) -> nn.Sequential:
    return block.block  # type: ignore[return-value]


# torchvision's SSDLite trains batch norm with these; its published weights assume the eps (torchvision ssdlite.py).
_SSDLITE_NORM = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)


def mobilenet_v2(network: NetworkSpec) -> TappedFeatures:
    features = torchvision.models.mobilenet_v2(width_mult=network.width).features
    return TappedFeatures(features, _last_stride2_block(features), _v2_layers)


def _mobilenet_v3(maker: Callable[..., nn.Module], network: NetworkSpec) -> TappedFeatures:
    features = maker(width_mult=network.width, reduced_tail=network.reduced_tail, norm_layer=_SSDLITE_NORM).features
    assert isinstance(features, nn.Sequential)
    return TappedFeatures(features, _last_stride2_block(features), _v3_layers)


def mobilenet_v3_large(network: NetworkSpec) -> TappedFeatures:
    return _mobilenet_v3(torchvision.models.mobilenet_v3_large, network)


def mobilenet_v3_small(network: NetworkSpec) -> TappedFeatures:
    return _mobilenet_v3(torchvision.models.mobilenet_v3_small, network)


BACKBONES: dict[str, Callable[[NetworkSpec], TappedFeatures]] = {
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_large": mobilenet_v3_large,
    "mobilenet_v3_small": mobilenet_v3_small,
}
