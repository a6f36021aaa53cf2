"""The published detectors that are recognised by their tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from edgedet.config import load_config, make_spec
from edgedet.spec import DetectorSpec, InputSpec

State = dict[str, Tensor]

_IMAGENET_MEANS, _IMAGENET_STDS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of torchvision, shares of 255
_SSD300_MEANS = (0.48235, 0.45882, 0.40784)  # torchvision.models.detection.ssd300_vgg16
_BATCH_NORM_EPS = 1e-5


@dataclass(frozen=True)
class Source:
    """A row of SOURCES.

    Attributes:
        name: what the user reads.
        marks: tensors that only this source has.
        config: bundled configuration of the same network; `input` replaces its input where it is not None.
        class_head: tensor of a level's class head whose rows are `anchors` times the classes with background.
        prefixes: of our tensors, to those of the source. Behind them both sides have the same tensors in one order.
        means: of red, green and blue, as shares of 255, where the source has one for each.
        adapt: rewrites the source's tensors, in place, for the spec's input and coding.
        note: what the user should know.
    """

    name: str
    marks: tuple[str, ...]
    config: str
    class_head: str
    anchors: int
    prefixes: Mapping[str, str]
    input: InputSpec | None = None
    means: tuple[float, float, float] | None = None
    adapt: Callable[[State, InputSpec], None] | None = None
    note: str = ""

    def spec(self, class_names: tuple[str, ...]) -> DetectorSpec:
        config = load_config(self.config)
        spec = make_spec(config, class_names, np.empty((0, 2), np.float32))
        image = self.input or spec.input
        network = spec.network if self.means is None else replace(spec.network, input_shift=_shift(self.means, image))
        return replace(spec, input=image, network=network)


def _shift(means: tuple[float, float, float], image: InputSpec) -> tuple[float, ...]:
    """What the channels of an image of one mean and std need to have the source's means, in units of its std."""
    return tuple(round((image.mean - 255 * mean) / image.std, 6) for mean in means)


def _adapt_retinanet(state: State, image: InputSpec) -> None:
    """Three stds into the first convolution, background out of the class head, and the eps of frozen batch norms.

    torchvision's published RetinaNet has frozen batch norms (no counters) with an eps of 0; ours add 1e-5.
    """
    conv = "backbone.body.conv1.weight"
    scale = image.std / 255 / state[conv].new_tensor(_IMAGENET_STDS)
    state[conv] = state[conv] * scale[None, :, None, None]
    if not any(key.endswith("num_batches_tracked") for key in state):
        for key in [key for key in state if key.endswith("running_var")]:
            state[key] = state[key] - _BATCH_NORM_EPS
    for part in ("weight", "bias"):
        key = f"head.classification_head.cls_logits.{part}"
        rows = state[key]
        state[key] = rows.reshape(_RETINANET_ANCHORS, -1, *rows.shape[1:])[:, 1:].flatten(0, 1)


_RETINANET_ANCHORS = 9
_TORCHVISION_HEADS = {
    "box_heads.": "head.regression_head.module_list.",
    "class_heads.": "head.classification_head.module_list.",
}
_PYTORCH_SSD = {
    "backbone.": "base_net.",
    "extras.": "extras.",
    "box_heads.": "regression_headers.",
    "class_heads.": "classification_headers.",
}

SOURCES = (
    Source(
        "torchvision ssdlite320_mobilenet_v3_large",
        ("backbone.extra.0.0.0.weight", "head.classification_head.module_list.0.1.weight"),
        "ssdlite_mobilenet_v3_large",
        "head.classification_head.module_list.0.1.weight",
        6,
        {"backbone.": "backbone.features.", "extras.": "backbone.extra.", **_TORCHVISION_HEADS},
    ),
    Source(
        "torchvision ssd300_vgg16",
        ("backbone.scale_weight", "head.classification_head.module_list.0.weight"),
        "ssd300_vgg16",
        "head.classification_head.module_list.0.weight",
        4,
        {"backbone.": "backbone.", **_TORCHVISION_HEADS},
        InputSpec(300, 300, mean=114.6, std=1.0),  # the average of its means; torchvision divides by 1
        _SSD300_MEANS,
    ),
    Source(
        "torchvision retinanet_resnet50_fpn",
        (
            "backbone.body.conv1.weight",
            "head.classification_head.cls_logits.weight",
            "head.regression_head.conv.0.0.bias",
        ),
        "retinanet_resnet50",
        "head.classification_head.cls_logits.weight",
        _RETINANET_ANCHORS,
        {
            "backbone.": "backbone.body.",
            "pyramid.": "backbone.fpn.",
            "box_heads.0.": "head.regression_head.",  # all levels share the tensors of the first
            "class_heads.0.": "head.classification_head.",
        },
        InputSpec(800, 800, mean=114.6, std=57.7, resize="letterbox"),
        _IMAGENET_MEANS,
        _adapt_retinanet,
        "images are letterboxed to 800x800, where torchvision lets one side grow to 1333",
    ),
    Source(
        "pytorch-ssd mb1-ssd",
        ("base_net.13.4.running_mean", "extras.0.2.weight", "classification_headers.0.weight"),
        "mb1_ssd",
        "classification_headers.0.weight",
        6,
        _PYTORCH_SSD,
    ),
    Source(
        "pytorch-ssd mb2-ssd-lite",
        ("base_net.18.0.weight", "extras.0.conv.0.weight", "classification_headers.0.3.weight"),
        "mb2_ssd_lite",
        "classification_headers.0.3.weight",
        6,
        _PYTORCH_SSD,
    ),
)
