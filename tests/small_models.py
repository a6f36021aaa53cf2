"""Small, fast networks of every kind, with heads that see something, for tests that need a model but no training."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from edgedet.levels import make_levels, ssd_anchors_wh_px, ssd_scales
from edgedet.models import build, feature_grids_hw
from edgedet.spec import CodingSpec, DetectorSpec, InputSpec, NetworkSpec, NmsSpec

CLASS_NAMES = ("disc", "square", "triangle")
_INPUT = InputSpec(height=96, width=128)  # not square: swapped sides show
_TINY_YOLO_ANCHORS = [[(40, 41), (68, 84), (110, 90)], [(10, 14), (23, 27), (37, 29)]]


def _ssdlite_spec(backbone: str, width: float, image: InputSpec) -> DetectorSpec:
    network = NetworkSpec("ssdlite", backbone, width)
    grids = feature_grids_hw(network, image)
    anchors = ssd_anchors_wh_px(ssd_scales(6, 0.2, 0.95), [[2, 3]] * 6, image.height, image.width)
    levels = make_levels(grids, anchors, image.height, image.width)
    return DetectorSpec(f"ssdlite_{backbone}", network, image, levels, CodingSpec("ssd"), NmsSpec(), CLASS_NAMES)


def _tiny_yolo_spec(width: float, image: InputSpec) -> DetectorSpec:
    network = NetworkSpec("yolov3_tiny", width=width)
    levels = make_levels(feature_grids_hw(network, image), _TINY_YOLO_ANCHORS, image.height, image.width)
    coding = CodingSpec("yolo", (1.0, 1.0, 1.0, 1.0), score="obj_times_cls")
    return DetectorSpec("yolov3_tiny", network, image, levels, coding, NmsSpec(), CLASS_NAMES)


# One row for each pair of head and backbone: tests/export's matrix fails when edgedet.models has one that is not here.
SPECS: dict[str, DetectorSpec] = {
    "ssdlite_mobilenet_v2": _ssdlite_spec("mobilenet_v2", 0.35, _INPUT),
    "ssdlite_mobilenet_v3_large": _ssdlite_spec("mobilenet_v3_large", 0.35, _INPUT),
    "ssdlite_mobilenet_v3_small": _ssdlite_spec("mobilenet_v3_small", 0.5, _INPUT),
    "yolov3_tiny": _tiny_yolo_spec(0.125, _INPUT),
}


def small_spec(name: str, **changes: object) -> DetectorSpec:
    """One of SPECS, with fields replaced."""
    return replace(SPECS[name], **changes)  # type: ignore[arg-type]


def small_model(spec: DetectorSpec, seed: int = 0) -> nn.Module:
    """A random network whose batch norms have seen data and whose heads answer strongly enough to give detections.

    The logits' spread is set so that scores cover 0..1 and depend on the image, without any training.
    """
    generator_state = torch.get_rng_state()
    torch.manual_seed(seed)
    model = build(spec)
    images = torch.rand(8, 3, spec.input.height, spec.input.width) * 2 - 1
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # cumulative average: one pass fits the statistics
    with torch.no_grad():
        model.train()(images)
        model.eval()
        _calm(model)
        raw = model(images)
        last_convs = [[m for m in h.modules() if isinstance(m, nn.Conv2d)][-1] for h in model.class_heads]
        rare = 7.0 if spec.coding.score == "softmax_bg0" else -3.0  # few priors see an object, as in a trained network
        for conv in last_convs:
            conv.weight.mul_(2.5 / raw.logits.std())
            assert conv.bias is not None
            conv.bias.view(-1, spec.num_logits)[:, 0] = rare
        for head in model.box_heads:
            [m for m in head.modules() if isinstance(m, nn.Conv2d)][-1].weight.mul_(0.5 / raw.box_codes.std())
    torch.set_rng_state(generator_state)
    return model


def _calm(model: nn.Module) -> None:
    """Lift small variances of each batch norm to the layer's median.

    Random channels that hardly vary would be amplified a hundredfold, and rounding with them: fp16 would then err ten
    times more than in a trained network.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_var is not None
            module.running_var.clamp_(min=float(module.running_var.median()))
