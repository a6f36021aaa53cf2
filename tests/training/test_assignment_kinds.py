"""Each rule of matching by its name, with heads that are not those of its paper, on cases counted by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from edgedet.config import TRAINED_CODINGS, LossConfig, load_config
from edgedet.config.loss import matching_of
from edgedet.decode import RawHeads
from edgedet.errors import ConfigError
from edgedet.levels import make_levels
from edgedet.spec import CodingSpec, DetectorSpec, InputSpec, NetworkSpec, NmsSpec
from edgedet.training.assignment_kinds import MATCHERS, make_matcher
from edgedet.training.losses import make_loss
from tests.training.helpers import objects, targets

# 100 x 100 px: four cells of 50 px with an anchor of 50 x 50, then one cell of 100 px with anchors 100 x 100, 100 x 40.
SPEC = DetectorSpec(
    "grid", NetworkSpec("ssdlite", "mobilenet_v2"), InputSpec(100, 100),
    make_levels([(2, 2), (1, 1)], [[(50, 50)], [(100, 100), (100, 40)]], 100, 100),
    CodingSpec("ssd", (1, 1, 1, 1)), NmsSpec(), ("a", "b"),
)  # fmt: skip
SIGMOID = replace(SPEC, coding=CodingSpec("ssd", (1, 1, 1, 1), score="sigmoid"))
NOTHING = torch.zeros(1, 6, 4)
# The whole width, the lower 45 px: IoU .474 with each lower cell, .45 with the whole, .889 with the flat anchor when
# that lies over it; it lies in the middle, so 4000 and 4500 px share 15 * 100: .214.
LOW = [0.0, 0.55, 1.0, 1.0]


def config(**fields: object) -> LossConfig:
    return LossConfig.model_validate(fields)


def test_own_is_the_papers_rule() -> None:
    found = {key: matching_of(CodingSpec(key[0], score=key[1]), LossConfig()) for key in TRAINED_CODINGS}  # type: ignore[arg-type]
    assert found["ssd", "softmax_bg0"] == "ssd"
    assert found["ssd", "sigmoid"] == "retinanet"
    assert found["yolo", "obj_times_cls"] == found["yolo", "obj_times_softmax"] == "yolo"
    assert found["yolo_v1", "linear_obj_times_cls"] == "yolo_v1"
    assert set(found.values()) == set(MATCHERS)


@pytest.mark.parametrize("spec", [SPEC, SIGMOID])
def test_ssd(spec: DetectorSpec) -> None:
    """Best prior (a lower cell; the first of two equals), then IoU >= .46; the whole picture's .45 is background."""
    found = make_matcher(spec, config(matching="ssd", iou_match=0.46))(targets(objects([LOW])), NOTHING)
    assert found.prior.tolist() == [2, 3]
    assert not found.left_alone.any()


@pytest.mark.parametrize("spec", [SPEC, SIGMOID])
def test_retinanet(spec: DetectorSpec) -> None:
    """From .44 to .6 is the band: of three such priors the best is the object's, two are left alone."""
    chosen = config(matching="retinanet", iou_match=0.6, iou_background=0.44)
    found = make_matcher(spec, chosen)(targets(objects([LOW])), NOTHING)
    assert found.prior.tolist() == [2]
    assert found.left_alone[0].nonzero().flatten().tolist() == [3, 4]


@pytest.mark.parametrize("spec", [SPEC, SIGMOID])
def test_yolo(spec: DetectorSpec) -> None:
    """The flat anchor has the best shape: 40 x 100 of 45 x 100. Its level has one cell, whose second prior it is."""
    matcher = make_matcher(spec, config(matching="yolo", iou_ignore=0.6))
    predicted = NOTHING.clone()
    predicted[0, 0] = torch.tensor([0.0, 0.55, 0.65, 1.0])  # IoU .65: left alone
    predicted[0, 1] = torch.tensor([0.0, 0.55, 0.55, 1.0])  # IoU .55: background
    found = matcher(targets(objects([LOW])), predicted)
    assert found.prior.tolist() == [5]
    assert found.left_alone[0].nonzero().flatten().tolist() == [0]


def test_yolo_never_leaves_the_matched_prior_alone() -> None:
    predicted = torch.tensor([LOW]).repeat(6, 1)[None]
    found = make_matcher(SPEC, config(matching="yolo"))(targets(objects([LOW])), predicted)
    assert found.left_alone[0].tolist() == [True] * 5 + [False]


@pytest.mark.parametrize("spec", [SPEC, SIGMOID])
@pytest.mark.parametrize("matching", ["ssd", "retinanet", "yolo"])
def test_the_loss_of_a_head_takes_any_rule(spec: DetectorSpec, matching: str) -> None:
    raw = RawHeads(NOTHING.clone().requires_grad_(), torch.zeros(1, 6, spec.num_logits, requires_grad=True))
    loss = make_loss(spec, config(matching=matching))
    sum(loss(raw, targets(objects([LOW]))).values()).backward()
    assert raw.box_codes.grad is not None
    taught = raw.box_codes.grad[0].abs().sum(dim=1).nonzero().flatten().tolist()
    assert taught == loss.matcher(targets(objects([LOW])), NOTHING).prior.tolist()


@pytest.mark.parametrize(
    ("base", "change", "told"),
    [
        ("tiny_yolov3", "loss.matching=ssd", "own, which is yolo's rule"),
        ("yolov1", "loss.matching=yolo", "own, which is yolo_v1's"),
        ("ssdlite_mobilenet_v2", "loss.iou_objectness=0.5", "no objectness"),
        ("retinanet_lite_mobilenet_v2", "loss.iou_objectness=1", "no objectness"),
        ("ssdlite_mobilenet_v2", "loss.matching=nearest", "loss.matching"),
        ("ssdlite_mobilenet_v2", "loss.box=iou", "loss.box"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(base: str, change: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config(base, [change])


@pytest.mark.parametrize(
    ("base", "change"),
    [
        ("ssdlite_mobilenet_v2", "loss.matching=yolo"),
        ("retinanet_lite_mobilenet_v2", "loss.matching=ssd"),
        ("tiny_yolov3", "loss.matching=yolo"),
        ("tiny_yolov3", "loss.iou_objectness=0.5"),
        ("yolov1", "loss.box=giou"),
    ],
)
def test_parts_that_go_together(base: str, change: str) -> None:
    field, value = change.removeprefix("loss.").split("=")
    assert str(getattr(load_config(base, [change]).loss, field)) == value
