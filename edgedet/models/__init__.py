"""Networks: a table of heads, a table of backbones, and `build`, which turns a spec into a module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from edgedet.errors import ConfigError
from edgedet.models import darknet, retinanet, ssd, ssd300, yolov1
from edgedet.models.backbones import BACKBONES
from edgedet.models.darknet_networks import NETWORKS
from edgedet.models.input_shift import shift_input
from edgedet.spec import DetectorSpec, InputSpec, NetworkSpec

__all__ = ["BACKBONES", "HEADS", "Head", "build", "feature_grids_hw", "head_of"]


@dataclass(frozen=True)
class Head:
    """A row of HEADS.

    Attributes:
        build: spec to module; the module maps a normalised (B, 3, H, W) image to RawHeads.
        cells: (network, side in pixels) to the cells of each level along that side, in the order of
            DetectorSpec.levels.
        min_levels: the fewest levels the network can have, a prefix of all; None where it has all of them.
        multiple_px: what input sides must be multiples of.
        min_px: the least input side.
        needs_backbone: whether NetworkSpec.backbone names one of BACKBONES.
        equal_anchors: whether all levels must have the same number of anchors.
        any_head_width: whether it heeds NetworkSpec.head_width.
        fixed_size: whether its weights fit one input size only.
        source: where the network was published.
    """

    build: Callable[[DetectorSpec], nn.Module]
    cells: Callable[[NetworkSpec, int], tuple[int, ...]]
    source: str
    min_levels: int | None = None
    multiple_px: Callable[[NetworkSpec], int] = lambda _: 1
    min_px: int = 32
    needs_backbone: bool = False
    equal_anchors: bool = False
    any_head_width: bool = False
    fixed_size: bool = False


def _halving(first_stride: int, levels: int) -> Callable[[NetworkSpec, int], tuple[int, ...]]:
    """Cells of levels each of which is half of the one before, rounded up."""
    return lambda _, side: tuple(-(-side // (first_stride * 2**k)) for k in range(levels))


def _ssd_row(source: str) -> Head:
    return Head(ssd.SSD, _halving(16, ssd.MAX_LEVELS), source, min_levels=2, needs_backbone=True)


def _darknet_row(source: str) -> Head:
    return Head(
        darknet.Darknet,
        lambda network, side: tuple(side // stride for stride in darknet.detection_strides(network)),
        source,
        multiple_px=darknet.largest_stride,
    )


def _retinanet_row(source: str) -> Head:
    return Head(
        retinanet.RetinaNet,
        _halving(8, retinanet.MAX_LEVELS),
        source,
        min_levels=retinanet.MIN_LEVELS,
        multiple_px=lambda _: 32,
        needs_backbone=True,
        equal_anchors=True,
        any_head_width=True,
    )


_PYTORCH_SSD = "github.com/qfgaohao/pytorch-ssd"
_DARKNET = "github.com/pjreddie/darknet"

HEADS: dict[str, Head] = {
    "ssdlite": _ssd_row("Sandler et al. 2018, arXiv 1801.04381; torchvision ssdlite"),
    "ssd": _ssd_row("TensorFlow object detection, ssd_mobilenet_v1"),
    "pytorch_ssd": _ssd_row(_PYTORCH_SSD),
    "pytorch_ssd_lite": _ssd_row(_PYTORCH_SSD),
    "pytorch_ssd_lite_v2": _ssd_row(_PYTORCH_SSD),
    "ssd300": Head(
        ssd300.SSD300, lambda _, side: ssd300.grid_sides(side), "Liu et al. 2016, arXiv 1512.02325", min_px=268
    ),
    "retinanet": _retinanet_row("Lin et al. 2017, arXiv 1708.02002; torchvision retinanet"),
    "retinanet_lite": _retinanet_row("the same, depthwise-separable as TensorFlow's fpnlite"),
    "yolov1": Head(
        yolov1.YoloV1,
        lambda _, side: (side // yolov1.STRIDE_PX,),
        "Redmon et al. 2016, arXiv 1506.02640",
        multiple_px=lambda _: yolov1.STRIDE_PX,
        fixed_size=True,
    ),
    **{name: _darknet_row(_DARKNET if name != "yolov4_tiny" else "github.com/AlexeyAB/darknet") for name in NETWORKS},
    "darknet": _darknet_row("the layers that network.layers names"),
}


def head_of(network: NetworkSpec) -> Head:
    """The row of a network, with its names checked.

    Raises:
        ConfigError: no such head or backbone, or a backbone, layers or a head_width where none belongs.
    """
    if network.head not in HEADS:
        raise ConfigError(f"network.head is {network.head!r}", f"Choose from {', '.join(HEADS)}.")
    head = HEADS[network.head]
    allowed = tuple(BACKBONES) if head.needs_backbone else ("",)
    if network.backbone not in allowed:
        choice = f"Choose from {', '.join(allowed)}." if head.needs_backbone else "Leave network.backbone out."
        raise ConfigError(f"network.backbone is {network.backbone!r} under head {network.head!r}", choice)
    if bool(network.layers) != (network.head == "darknet"):
        raise ConfigError(f"network.layers under head {network.head!r}", "Head darknet needs them, no other has them.")
    if network.head_width != 1 and not head.any_head_width:
        raise ConfigError(f"network.head_width under head {network.head!r}", "Leave it out; network.width is for all.")
    return head


def feature_grids_hw(network: NetworkSpec, image: InputSpec, count: int | None = None) -> tuple[tuple[int, int], ...]:
    """Rows and columns of each level's map.

    Args:
        count: how many levels; None for all the head has.

    Raises:
        ConfigError: the input size or the number of levels does not suit the network.
    """
    head = head_of(network)
    multiple = head.multiple_px(network)
    size = f"input is {image.width}x{image.height} px"
    if image.height % multiple or image.width % multiple:
        raise ConfigError(size, f"Choose sides that are multiples of {multiple} for {network.head}.")
    if min(image.height, image.width) < head.min_px:
        raise ConfigError(size, f"Choose sides of at least {head.min_px} px for {network.head}.")
    grids = tuple(zip(head.cells(network, image.height), head.cells(network, image.width), strict=True))
    count = len(grids) if count is None else count
    fewest = len(grids) if head.min_levels is None else head.min_levels
    if not fewest <= count <= len(grids):
        choice = f"{fewest} to {len(grids)}" if fewest < len(grids) else f"{fewest}"
        raise ConfigError(f"{count} levels of priors for {network.head}", f"Give {choice} of them.")
    return grids[:count]


def build(spec: DetectorSpec) -> nn.Module:
    """The network of a spec, randomly initialised: (B, 3, H, W) normalised image to RawHeads with spec.num_priors rows.

    Raises:
        ConfigError: the network is unknown or the spec's levels are not those it produces.
    """
    head = head_of(spec.network)
    grids = feature_grids_hw(spec.network, spec.input, len(spec.levels))
    if grids != tuple((level.grid_h, level.grid_w) for level in spec.levels):
        raise ConfigError(f"the levels of spec {spec.name!r} are not those of its network", f"Expected grids {grids}.")
    if head.equal_anchors and len({len(level.anchors_wh_px) for level in spec.levels}) > 1:
        raise ConfigError(
            f"the levels of spec {spec.name!r} have different numbers of anchors",
            f"{spec.network.head} shares its subnets: give each level as many.",
        )
    model = head.build(spec)
    if spec.network.input_shift:
        shift_input(model, spec.network.input_shift)
    return model
