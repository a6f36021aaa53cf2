"""Small, fast networks of every kind, with heads that see something, for tests that need a model but no training."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from edgedet.class_tree import tree_of
from edgedet.levels import make_levels, make_pyramid_levels, pyramid_anchors_wh_px, ssd_anchors_wh_px, ssd_scales
from edgedet.models import build, feature_grids_hw
from edgedet.models.resnet import Bottleneck
from edgedet.spec import CodingSpec, DetectorSpec, InputSpec, NetworkSpec, NmsSpec, ScoreKind

CLASS_NAMES = ("disc", "square", "triangle")
TREE = tree_of({"disc": None, "polygon": {"triangle": None, "quadrangle": ["square", "rectangle"]}}, "tests")
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


# One layer of every kind that edgedet.models.darknet knows, in the shape of a two-level YOLO.
_EVERY_LAYER = (
    "8x3s2 max2s2 16x3 route-1/2:1 16x1:relu route-1,-3 16x1 max2s2 16x3g16b:relu6 16x1:linear add-2 max2s2 32x3s2 "
    "max2s1 max3s1 route-4 20x1 reorg2 route-1,-4 32x1 detect route-4 8x1 up2 16x3 detect"
)


def _darknet_spec(image: InputSpec) -> DetectorSpec:
    network = NetworkSpec("darknet", layers=_EVERY_LAYER)
    grids = feature_grids_hw(network, image)
    levels = make_levels(grids, _TINY_YOLO_ANCHORS, image.height, image.width, scales_xy=(1.05, 1.1))
    coding = CodingSpec("yolo", (1.0, 1.0, 1.0, 1.0), score="obj_times_softmax")
    return DetectorSpec("darknet", network, image, levels, coding, NmsSpec(), CLASS_NAMES)


def _retinanet_spec(head: str, backbone: str, width: float, image: InputSpec) -> DetectorSpec:
    shift = (0.2, -0.1, -0.3) if backbone == "resnet50" else ()  # as the imports from torchvision have one
    network = NetworkSpec(head, backbone, width, input_shift=shift)
    anchors = pyramid_anchors_wh_px(4, 16, 2, (0.5, 2.0))
    levels = make_pyramid_levels(feature_grids_hw(network, image, 4), anchors, image.height, image.width)
    coding = CodingSpec("ssd", (1.0, 1.0, 1.0, 1.0), score="sigmoid")
    return DetectorSpec(f"{head}_{backbone}", network, image, levels, coding, NmsSpec(), CLASS_NAMES)


def _ssd300_spec(image: InputSpec) -> DetectorSpec:
    network = NetworkSpec("ssd300", width=0.05, input_shift=(0.2, -0.1, -0.3))
    ratios = [[2], [2, 3], [2, 3], [2, 3], [2], [2]]
    anchors = ssd_anchors_wh_px([0.07, 0.15, 0.33, 0.51, 0.69, 0.87], ratios, image.height, image.width, 1.05)
    levels = make_levels(feature_grids_hw(network, image), anchors, image.height, image.width)
    return DetectorSpec("ssd300", network, image, levels, CodingSpec("ssd"), NmsSpec(), CLASS_NAMES)


def _yolov1_spec(image: InputSpec) -> DetectorSpec:
    network = NetworkSpec("yolov1", width=0.03)
    whole = (float(image.width), float(image.height))
    levels = make_levels(feature_grids_hw(network, image), [[whole] * 2], image.height, image.width)
    coding = CodingSpec("yolo_v1", (1.0, 1.0, 1.0, 1.0), score="linear_obj_times_cls")
    return DetectorSpec("yolov1", network, image, levels, coding, NmsSpec(), CLASS_NAMES)


def _with_tree(spec: DetectorSpec, score: ScoreKind) -> DetectorSpec:
    """The same detector for a tree of classes, inner ones included."""
    coding = replace(spec.coding, score=score)
    return replace(spec, name=f"{spec.name}_tree", coding=coding, class_names=TREE.names, class_parents=TREE.parents)


# A row for each kind of network and each backbone family: tests/models fails when edgedet.models has one more.
SPECS: dict[str, DetectorSpec] = {
    "ssdlite_mobilenet_v2": _ssdlite_spec("mobilenet_v2", 0.35, _INPUT),
    "ssdlite_mobilenet_v3_large_tree": _with_tree(_ssdlite_spec("mobilenet_v3_large", 0.35, _INPUT), "softmax_tree"),
    "ssdlite_mobilenet_v3_small": _ssdlite_spec("mobilenet_v3_small", 0.5, _INPUT),
    "yolov3_tiny": _tiny_yolo_spec(0.125, _INPUT),
    "yolov3_tiny_tree": _with_tree(_tiny_yolo_spec(0.125, _INPUT), "obj_times_tree"),
    "darknet": _darknet_spec(_INPUT),
    "retinanet_resnet50": _retinanet_spec("retinanet", "resnet50", 0.125, _INPUT),
    "retinanet_lite_mobilenet_v1": _retinanet_spec("retinanet_lite", "mobilenet_v1", 0.5, _INPUT),
    "ssd300": _ssd300_spec(InputSpec(height=270, width=274)),
    "yolov1": _yolov1_spec(InputSpec(height=128, width=192)),
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
        _wake(model)
        if spec.network.backbone in ("mobilenet_v1", "mobilenet_v2") or spec.network.head == "yolov1":
            _straighten(model)
        model.train()(images)
        model.eval()
        _calm(model)
        _answer(model, spec, images)
    torch.set_rng_state(generator_state)
    return model


def _answer(model: nn.Module, spec: DetectorSpec, images: Tensor) -> None:
    """Scale the last layers so that scores cover 0..1 and boxes vary, and few priors see an object."""
    raw = model(images)
    for layer in _last_layers(model.box_heads):
        # Without variances a code moves a box by the prior's whole side.
        strength = 0.1 if spec.coding.kind == "yolo_v1" or spec.coding.score == "sigmoid" else 0.5
        layer.weight.mul_(strength / raw.box_codes.std())
        if spec.coding.kind == "yolo_v1":
            layer.bias.fill_(0.4)  # codes without activation: a centre within the cell, a sixth of the image
    for layer in _last_layers(model.class_heads):
        if spec.coding.score == "linear_obj_times_cls":
            layer.weight.mul_(0.3 / raw.logits.std())
            layer.bias.fill_(0.4)
            continue
        if spec.coding.score == "sigmoid":
            _answer_rarely(model, layer, images)
            continue
        layer.weight.mul_(2.5 / raw.logits.std())
        columns = layer.bias.view(-1, spec.num_logits)
        columns[:, 0] = 7.0 if spec.coding.score in ("softmax_bg0", "softmax_tree") else -3.0


def _answer_rarely(model: nn.Module, layer: nn.Conv2d | nn.Linear, images: Tensor) -> None:
    """One logit in two hundred gives a score above 0.5, and few saturate: equal scores have no order to compare.

    Photographs excite such a network more than noise does, so smooth pictures count as well.
    """
    smooth = nn.functional.interpolate(images[:, :, ::32, ::32], size=images.shape[2:], mode="bilinear")
    layer.bias.zero_()
    logits = torch.cat((model(images).logits, model(smooth).logits)).flatten()
    top = logits.topk(len(logits) // 200).values
    gain = 2.0 / float(top[0] - top[-1])
    layer.weight.mul_(gain)
    layer.bias.fill_(-gain * float(top[-1]))


def _last_layers(heads: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    """The layer that gives each head's output, each once where levels share it."""
    assert isinstance(heads, nn.ModuleList)
    last = [[m for m in head.modules() if isinstance(m, nn.Conv2d | nn.Linear)][-1] for head in heads]
    return list({id(layer): layer for layer in last}.values())


def _wake(model: nn.Module) -> None:
    """Draw weights that start near zero on purpose, as RetinaNet's subnets do, like those of other layers."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and float(module.weight.std()) < 0.011:
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, Bottleneck):  # sixteen random blocks at full strength would amplify rounding
            nn.init.constant_(module.bn3.weight, 0.2)


def _straighten(model: nn.Module) -> None:
    """Shift batch norms so that most values pass the ReLU after them unchanged.

    Where dozens of random layers follow each other without a shortcut, each batch norm with a ReLU amplifies a small
    difference (Yang et al. 2019, A Mean Field Theory of Batch Normalization): rounding would end in scores that are off
    by 0.02, where the other small networks show 0.003, among boxes whose scores lie closer together than that. So would
    8-bit integers by half the spread of all scores, where trained networks show a tenth.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.bias)


def _calm(model: nn.Module) -> None:
    """Lift small variances of each batch norm to the layer's median.

    Random channels that hardly vary would be amplified a hundredfold, and rounding with them: fp16 would then err ten
    times more than in a trained network.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_var is not None
            module.running_var.clamp_(min=float(module.running_var.median()))
