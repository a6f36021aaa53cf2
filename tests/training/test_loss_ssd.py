from __future__ import annotations

import math

import pytest
import torch

from edgedet.config import LossConfig
from edgedet.decode import RawHeads
from edgedet.training.assignment import Matches
from edgedet.training.loss_ssd import SsdLoss, class_labels, hard_negatives
from tests.small_models import small_spec
from tests.training.helpers import objects, targets

SPEC = small_spec("ssdlite_mobilenet_v2")
LOSS = SsdLoss(SPEC, LossConfig())


def raw_zeros(batch: int = 1) -> RawHeads:
    return RawHeads(
        torch.zeros(batch, SPEC.num_priors, 4, requires_grad=True),
        torch.zeros(batch, SPEC.num_priors, SPEC.num_logits, requires_grad=True),
    )


def prior_box(index: int) -> list[float]:
    """A box that equals a prior, so that all its codes are 0."""
    x, y, w, h = LOSS.decoder.priors_cxcywh[index].tolist()
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def test_equal_logits_and_perfect_boxes() -> None:
    index = 6 * 19  # a square prior of the finest level, away from the border
    found = LOSS(raw_zeros(), targets(objects([prior_box(index)], [2])))
    # With 1 + 3 equal logits every prior costs log 4: each positive and its three negatives, per positive.
    assert float(found["class"]) == pytest.approx(4 * math.log(4), rel=1e-5)


def test_smooth_l1_of_codes() -> None:
    raw = raw_zeros()
    index = 6 * 19
    image = targets(objects([prior_box(index)]))
    perfect = float(LOSS(raw, image)["box"])
    raw.box_codes.data[0, index] = torch.tensor([1.0, 0.5, 0.0, -2.0])
    # 0.5 * 1 + 0.5 * 0.25 + 0 + (2 - 0.5), shared among the positives.
    count = len(LOSS.matcher(image, torch.zeros(1, SPEC.num_priors, 4)).prior)
    assert float(LOSS(raw, image)["box"]) == pytest.approx(perfect + 2.125 / count, rel=1e-4)


def test_mining_keeps_the_worst_negatives_at_the_ratio() -> None:
    losses = torch.tensor([[5.0, 1.0, 4.0, 3.0, 2.0, 9.0, 0.5, 0.1]])
    positive = torch.tensor([[True, False, False, False, False, False, False, False]])
    left_alone = torch.tensor([[False, False, False, False, False, True, False, False]])
    mined = hard_negatives(losses, positive, left_alone, 3.0)
    assert mined.nonzero()[:, 1].tolist() == [2, 3, 4]  # not the positive, not the one left alone


def test_mining_runs_out_of_negatives() -> None:
    positive = torch.tensor([[True, True, False]])
    assert hard_negatives(torch.ones(1, 3), positive, torch.zeros_like(positive), 3.0).tolist() == [
        [False, False, True]
    ]


def test_an_image_without_objects_teaches_background() -> None:
    raw = raw_zeros()
    found = LOSS(raw, targets(objects([])))
    assert float(found["class"]) == pytest.approx(3 * math.log(4), rel=1e-5)
    assert float(found["box"]) == 0
    sum(found.values()).backward()
    assert (raw.logits.grad.abs().sum(dim=(0, 2)) > 0).sum() == 3
    assert raw.box_codes.grad.abs().sum() == 0


def test_labels_have_background_first() -> None:
    image = targets(objects([[0, 0, 1, 1], [0, 0, 1, 1]], [2, 0]))
    zero, nowhere = torch.tensor([0, 0]), torch.zeros(1, 3, dtype=torch.bool)
    found = Matches(zero, torch.tensor([0, 1]), torch.tensor([1, 2]), nowhere)
    assert class_labels(image, found).tolist() == [[0, 3, 1]]


def test_gradients_reach_positives_only_in_boxes() -> None:
    raw = raw_zeros()
    box = prior_box(6 * 19)
    shifted = [box[0] + 0.02, box[1] + 0.02, box[2] + 0.02, box[3] + 0.02]
    found = LOSS(raw, targets(objects([shifted])))
    sum(found.values()).backward()
    touched = raw.box_codes.grad.abs().sum(dim=2)[0] > 0
    assert touched[6 * 19]
    assert touched.sum() < 30


def test_a_whole_crowd_picture_has_no_negative_inside_the_crowd() -> None:
    raw = raw_zeros()
    found = LOSS(raw, targets(objects([[-1.0, -1.0, 2.0, 2.0]], ignored=[True])))
    assert float(found["class"]) == 0
