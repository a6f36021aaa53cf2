"""Losses of a tree of classes, counted by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from edgedet.class_tree import ClassTree
from edgedet.config import LossConfig
from edgedet.decode import Decoder, RawHeads
from edgedet.levels import make_levels
from edgedet.spec import CodingSpec, DetectorSpec, InputSpec, NetworkSpec, NmsSpec
from edgedet.training.loss_ssd import SsdLoss
from edgedet.training.loss_tree import PathEntropy, SsdTreeLoss, YoloTreeLoss, best_priors
from edgedet.training.loss_yolo_squared import YoloV2Loss
from edgedet.training.targets import Objects, image_labels_of
from tests.small_models import TREE
from tests.training.helpers import objects, targets

# One anchor of 50 x 50 px in each of four cells of 50 px; classes disc, polygon, and of these triangle, quadrangle, ...
_LEVELS = make_levels([(2, 2)], [[(50, 50)]], 100, 100)
YOLO = DetectorSpec(
    "tree", NetworkSpec("yolov2"), InputSpec(100, 100), _LEVELS,
    CodingSpec("yolo", (1, 1, 1, 1), score="obj_times_tree"), NmsSpec(), TREE.names, class_parents=TREE.parents,
)  # fmt: skip
SSD = replace(YOLO, coding=CodingSpec("ssd", (1, 1, 1, 1), score="softmax_tree"))
DISC, POLYGON, TRIANGLE, QUADRANGLE, SQUARE, RECTANGLE = range(6)
LOGITS = torch.tensor([0.2, 0.8, 0.25, 0.75, 0.9, 0.1]).log()


def label(*class_ids: int) -> Objects:
    """An image of which only the classes are known."""
    found = objects([[0, 0, 1, 1]] * len(class_ids), class_ids)
    return replace(found, class_ids=image_labels_of(found.class_ids))


def heads(logits: Tensor) -> RawHeads:
    return RawHeads(torch.zeros(*logits.shape[:2], 4), logits)


@pytest.mark.parametrize(
    ("class_id", "expected"),
    [
        (DISC, -math.log(0.2)),
        (POLYGON, -math.log(0.8)),  # nothing is said of triangles and quadrangles
        (TRIANGLE, -math.log(0.8) - math.log(0.25)),
        (RECTANGLE, -math.log(0.8) - math.log(0.75) - math.log(0.1)),
    ],
)
def test_path_entropy_by_hand(class_id: int, expected: float) -> None:
    logits = (LOGITS + 3.0)[None].requires_grad_()
    loss = PathEntropy(TREE)(logits, torch.tensor([class_id]))
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.sum().backward()
    assert logits.grad is not None
    in_path_groups = {DISC: 2, POLYGON: 2, TRIANGLE: 4, RECTANGLE: 6}[class_id]
    assert (logits.grad[0, :in_path_groups] != 0).all()
    assert (logits.grad[0, in_path_groups:] == 0).all()


def test_a_tree_of_one_level_learns_as_its_softmax() -> None:
    """Of the same classes without a tree, YOLOv2's and SSD's own losses are the same numbers."""
    torch.manual_seed(0)
    raw = RawHeads(torch.randn(2, 4, 4), torch.randn(2, 4, 4))
    image = targets(objects([[0.0, 0.0, 0.5, 0.5]], [2]), objects([[0.4, 0.5, 0.9, 0.9]], [1]))
    for spec, flat, tree_loss, flat_loss in (
        (YOLO, "obj_times_softmax", YoloTreeLoss, YoloV2Loss),
        (SSD, "softmax_bg0", SsdTreeLoss, SsdLoss),
    ):
        one = replace(spec, class_names=("a", "b", "c"), class_parents=(-1, -1, -1))
        same = replace(one, class_parents=(), coding=replace(one.coding, score=flat))
        found, expected = tree_loss(one, LossConfig())(raw, image), flat_loss(same, LossConfig())(raw, image)
        assert found.keys() == expected.keys()
        for name in expected:
            torch.testing.assert_close(found[name], expected[name])


def test_yolo_object_by_hand() -> None:
    """An anchor's own box in cell 0, labelled with an inner class."""
    logits = torch.cat((torch.zeros(1), LOGITS)).expand(1, 4, 7)
    found = YoloTreeLoss(YOLO, LossConfig(class_weight=2))(heads(logits), targets(objects([[0, 0, 0.5, 0.5]], [3])))
    assert float(found["class"]) == pytest.approx(-2 * math.log(0.6), rel=1e-5)
    assert float(found["objectness"]) == pytest.approx(0.5 * 4 * 0.25, rel=1e-5)
    assert float(found["box"]) == pytest.approx(0, abs=1e-10)
    assert "image_label" not in found


def test_the_surest_prior_is_the_best_product_of_object_and_path() -> None:
    objectness = torch.tensor([[0.9, 0.4, 0.2, 0.1]])
    class_logits = LOGITS.repeat(1, 4, 1)
    class_logits[0, 1, SQUARE] += 3  # more of a square than prior 0's 0.9 of a quadrangle, but surely no object
    class_logits[0, 2, DISC] += 8
    labels = torch.tensor([[DISC, -1, SQUARE]])
    found = best_priors(objectness, class_logits, labels, TREE)
    assert found.class_id.tolist() == [DISC, SQUARE]
    assert found.image.tolist() == [0, 0]
    assert found.prior.tolist() == [2, 0]  # disc: .2 * .999 > .9 * .2; square: .9 * .54 > .4 * .6 * .995


def test_yolo_image_label_by_hand() -> None:
    """Prior 2 says "disc" best; its objectness of 1/5 lacks 0.1 to the assumed IoU. Others are left alone."""
    logits = torch.cat((torch.tensor([-4.0]), LOGITS)).repeat(1, 4, 1)
    logits[0, 2, 0] = -math.log(4)
    logits.requires_grad_()
    found = YoloTreeLoss(YOLO, LossConfig(image_label_weight=3, object_weight=5))(heads(logits), targets(label(DISC)))
    assert found["image_label"].item() == pytest.approx(3 * (-math.log(0.2) + 5 * 0.5 * 0.1**2), rel=1e-4)
    assert found.keys() == {"image_label"}
    assert found.positives == 1
    found.total.backward()
    assert logits.grad is not None
    assert (logits.grad[0, [0, 1, 3]] == 0).all()
    assert logits.grad[0, 2, 0] < 0, "towards an object"
    assert (logits.grad[0, 2, 3:] == 0).all(), "nothing below the label"


def test_an_objectness_above_the_assumed_iou_is_let_be() -> None:
    logits = torch.cat((torch.tensor([1.0]), LOGITS)).repeat(1, 4, 1)
    found = YoloTreeLoss(YOLO, LossConfig())(heads(logits), targets(label(DISC)))
    assert float(found["image_label"]) == pytest.approx(-math.log(0.2), rel=1e-5)


@pytest.mark.parametrize(("kind", "spec"), [(YoloTreeLoss, YOLO), (SsdTreeLoss, SSD)])
def test_mixed_batches_share_out_by_positives(kind: type, spec: DetectorSpec) -> None:
    """One object and two labels are three positive priors: each part is its own batch's sum over three."""
    torch.manual_seed(1)
    codes, logits = torch.randn(3, 4, 4) * 0.1, torch.randn(3, 4, 7)
    loss = kind(spec, LossConfig())
    boxed, labels = objects([[0.0, 0.0, 0.5, 0.5]], [TRIANGLE]), label(SQUARE, DISC)
    mixed = loss(RawHeads(codes, logits), targets(boxed, labels, objects([])))
    alone = loss(RawHeads(codes[[0, 2]], logits[[0, 2]]), targets(boxed, objects([])))
    labelled = loss(RawHeads(codes[[1]], logits[[1]]), targets(labels))
    assert mixed.positives == alone.positives + 2
    for name in alone:
        torch.testing.assert_close(mixed[name] * mixed.positives, alone[name] * alone.positives)
    torch.testing.assert_close(mixed["image_label"] * mixed.positives, labelled["image_label"] * 2)


def test_ssd_by_hand() -> None:
    """Background 3 against the uppermost classes' 0.2 + 0.8: every prior has background 3/4."""
    logits = torch.cat((torch.tensor([math.log(3)]), LOGITS)).expand(1, 4, 7)
    loss = SsdTreeLoss(SSD, LossConfig(negatives_per_positive=2))
    found = loss(heads(logits), targets(objects([[0, 0, 0.5, 0.5]], [SQUARE])))
    expected = -math.log(0.25 * 0.54) - 2 * math.log(0.75)
    assert float(found["class"]) == pytest.approx(expected, rel=1e-5)
    labelled = loss(heads(logits), targets(label(SQUARE)))
    assert float(labelled["image_label"]) == pytest.approx(-math.log(0.54) + 0.5 * 0.05**2, rel=1e-5)


def test_losses_see_the_probability_of_an_object_that_decoding_sees() -> None:
    logits = torch.randn(2, 4, 7, generator=torch.Generator().manual_seed(2)) * 3
    for loss in (YoloTreeLoss(YOLO, LossConfig()), SsdTreeLoss(SSD, LossConfig())):
        objectness, class_logits = loss.split(logits)
        leaves = replace(loss.coding, tree_min=0.0)
        spec = replace(YOLO if loss.coding.kind == "yolo" else SSD, coding=leaves)
        scores = Decoder(spec).scores(logits)
        torch.testing.assert_close(scores.sum(dim=-1), objectness)  # the leaves of a tree sum to 1
        assert class_logits.shape == (2, 4, 6)


def test_gradients_are_those_of_differences() -> None:
    logits = (LOGITS.double() + torch.arange(6))[None].requires_grad_()
    entropy = PathEntropy(ClassTree(TREE.names, TREE.parents))
    assert torch.autograd.gradcheck(lambda x: entropy(x, torch.tensor([SQUARE])), (logits,))
    flat = PathEntropy(ClassTree(("a", "b", "c"), (-1,) * 3))
    torch.testing.assert_close(
        flat(logits[:, :3], torch.tensor([1])), F.cross_entropy(logits[:, :3], torch.tensor([1]), reduction="none")
    )
