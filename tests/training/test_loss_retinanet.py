"""Focal loss and RetinaNet's matching on cases counted by hand."""

from __future__ import annotations

import math

import pytest
import torch

from edgedet.config import LossConfig
from edgedet.decode import RawHeads
from edgedet.levels import make_levels
from edgedet.spec import CodingSpec, DetectorSpec, InputSpec, NetworkSpec, NmsSpec
from edgedet.training.assignment_ssd import assign
from edgedet.training.loss_retinanet import RetinaNetLoss
from tests.training.helpers import objects, targets

# 100 x 100 px, four cells of 50 px with one anchor of 50 x 50 each: priors that do not overlap.
SPEC = DetectorSpec(
    "grid", NetworkSpec("retinanet", "resnet50"), InputSpec(100, 100),
    make_levels([(2, 2)], [[(50, 50)]], 100, 100), CodingSpec("ssd", (1, 1, 1, 1), score="sigmoid"), NmsSpec(),
    ("a", "b"),
)  # fmt: skip
LOSS = RetinaNetLoss(SPEC, LossConfig())
PRIORS = LOSS.decoder.priors_cxcywh


def shifted(share: float) -> list[float]:
    """A box of the first prior's size, moved right by a share of its width: IoU (1 - s) / (1 + s) with the prior."""
    return [0.5 * share, 0.0, 0.5 + 0.5 * share, 0.5]


def test_the_ignore_band() -> None:
    # Object 1 covers 45 % of prior 1 and no other prior.
    image = targets(objects([[0.0, 0.0, 0.5, 0.5], [0.5, 0.0, 1.0, 0.225]]))
    found = assign(image, PRIORS, 0.5, 0.4)
    assert found.object.tolist() == [[0, 1, -1, -1]], "each object keeps its best prior, however small the IoU"
    wide = targets(objects([[0.0, 0.5, 1.0, 0.95]]))
    found = assign(wide, PRIORS, 0.5, 0.4)
    # Each lower prior: intersection .5 * .45, union .45 + .25 - .225, IoU .474. One is the best, the other in the band.
    assert found.object.tolist() == [[-1, -1, 0, -1]]
    assert found.left_alone.tolist() == [[False, False, False, True]]
    assert not assign(wide, PRIORS, 0.5).left_alone.any(), "SSD has no band"


def test_focal_loss_by_hand() -> None:
    """One positive of class 1 with p = 1/2 everywhere: alpha .25, gamma 2."""
    raw = RawHeads(torch.zeros(1, 4, 4), torch.zeros(1, 4, 2))
    found = LOSS(raw, targets(objects([[0.0, 0.0, 0.5, 0.5]], [1])))
    positive = 0.25 * 0.5**2 * math.log(2)
    negative = 0.75 * 0.5**2 * math.log(2)
    assert float(found["class"]) == pytest.approx(positive + 7 * negative, rel=1e-6)
    assert float(found["box"]) == 0


def test_priors_of_the_band_cost_nothing() -> None:
    raw = RawHeads(torch.zeros(1, 4, 4), torch.zeros(1, 4, 2, requires_grad=True))
    found = LOSS(raw, targets(objects([[0.0, 0.5, 1.0, 0.95]])))
    found["class"].backward()
    assert raw.logits.grad is not None
    assert (raw.logits.grad[0].abs().sum(dim=1) > 0).tolist() == [True, True, True, False]


def test_box_codes_are_offsets_over_the_prior() -> None:
    """Moved by a fifth of the prior's width: dx = 0.2, squared and halved below beta = 1."""
    raw = RawHeads(torch.zeros(1, 4, 4), torch.zeros(1, 4, 2))
    found = LOSS(raw, targets(objects([shifted(0.2)])))
    assert float(found["box"]) == pytest.approx(0.5 * 0.2**2, rel=1e-4)
    steep = RetinaNetLoss(SPEC, LossConfig(smooth_l1_beta=0.1))
    assert float(steep(raw, targets(objects([shifted(0.2)])))["box"]) == pytest.approx(0.2 - 0.05, rel=1e-4)


def test_an_image_without_objects() -> None:
    raw = RawHeads(torch.zeros(1, 4, 4), torch.zeros(1, 4, 2))
    found = LOSS(raw, targets(objects([])))
    assert float(found["class"]) == pytest.approx(8 * 0.75 * 0.25 * math.log(2), rel=1e-6)
    assert float(found["box"]) == 0
