"""Networks: a table of heads, a table of backbones, and `build`, which turns a spec into a module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from edgedet.errors import ConfigError
from edgedet.models import ssdlite, tiny_yolo
from edgedet.models.backbones import BACKBONES
from edgedet.spec import DetectorSpec, InputSpec, NetworkSpec


@dataclass(frozen=True)
class Head:
    """A row of HEADS.

    Attributes:
        build: spec to module; the module maps a normalised (B, 3, H, W) image to RawHeads.
        strides_px: stride of each level, in the order of DetectorSpec.levels; a prefix of them may be used where
            `min_levels` allows.
        min_levels: the fewest levels the network can have.
        size_multiple_px: input sides must be multiples of this.
        needs_backbone: whether NetworkSpec.backbone names one of BACKBONES.
    """

    build: Callable[[DetectorSpec], nn.Module]
    strides_px: tuple[int, ...]
    min_levels: int
    size_multiple_px: int
    needs_backbone: bool


HEADS: dict[str, Head] = {
    "ssdlite": Head(ssdlite.SSDLite, tuple(16 * 2**k for k in range(ssdlite.MAX_LEVELS)), 2, 32, True),
    "yolov3_tiny": Head(tiny_yolo.TinyYoloV3, tiny_yolo.STRIDES_PX, 2, 32, False),
}


def head_of(network: NetworkSpec) -> Head:
    """The row of a network, with its names checked.

    Raises:
        ConfigError: no such head or backbone, or a backbone where none belongs.
    """
    if network.head not in HEADS:
        raise ConfigError(f"network.head is {network.head!r}", f"Choose from {', '.join(HEADS)}.")
    head = HEADS[network.head]
    allowed = tuple(BACKBONES) if head.needs_backbone else ("",)
    if network.backbone not in allowed:
        choice = f"Choose from {', '.join(allowed)}." if head.needs_backbone else "Leave network.backbone out."
        raise ConfigError(f"network.backbone is {network.backbone!r} under head {network.head!r}", choice)
    return head


def feature_grids_hw(network: NetworkSpec, image: InputSpec, count: int | None = None) -> tuple[tuple[int, int], ...]:
    """Rows and columns of each level's map: the input's sides over the stride, rounded up.

    Args:
        count: how many levels; None for all the head has.

    Raises:
        ConfigError: the input size or the number of levels does not suit the network.
    """
    head = head_of(network)
    count = len(head.strides_px) if count is None else count
    if not head.min_levels <= count <= len(head.strides_px):
        raise ConfigError(
            f"{count} levels of priors for {network.head}", f"Give {head.min_levels} to {len(head.strides_px)} of them."
        )
    multiple = head.size_multiple_px
    if image.height % multiple or image.width % multiple:
        raise ConfigError(
            f"input is {image.width}x{image.height} px",
            f"Choose sides that are multiples of {multiple} for {network.head}.",
        )
    return tuple((-(-image.height // s), -(-image.width // s)) for s in head.strides_px[:count])


def build(spec: DetectorSpec) -> nn.Module:
    """The network of a spec, randomly initialised: (B, 3, H, W) normalised image to RawHeads with spec.num_priors rows.

    Raises:
        ConfigError: the network is unknown or the spec's levels are not those it produces.
    """
    head = head_of(spec.network)
    grids = feature_grids_hw(spec.network, spec.input, len(spec.levels))
    if grids != tuple((level.grid_h, level.grid_w) for level in spec.levels):
        raise ConfigError(f"the levels of spec {spec.name!r} are not those of its network", f"Expected grids {grids}.")
    return head.build(spec)
