from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedet.boxes import cxcywh_to_xyxy, iou_matrix, xyxy_to_cxcywh
from edgedet.training.assignment import covered_share
from edgedet.training.assignment_ssd import assign
from tests.training.helpers import objects, targets

# Top left quarter, bottom right quarter, everything, the middle.
PRIORS = xyxy_to_cxcywh(torch.tensor([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0, 1, 1], [0.25, 0.25, 0.75, 0.75]]))


def test_best_prior_then_threshold() -> None:
    # IoU with the priors: 0.8, 0, 0.2, 0.0909. Only the first reaches 0.5, and it is the best anyway.
    found = assign(targets(objects([[0, 0, 0.5, 0.4]])), PRIORS, 0.5)
    assert found.object.tolist() == [[0, -1, -1, -1]]
    # From a threshold of 0.15 on the third is positive too.
    assert assign(targets(objects([[0, 0, 0.5, 0.4]])), PRIORS, 0.15).object.tolist() == [[0, -1, 0, -1]]


def test_two_objects_never_share_their_best_prior() -> None:
    # Both want prior 0 (IoU 0.8 and 1.0); the better one gets it and the other its second best, prior 2 (IoU 0.2).
    found = assign(targets(objects([[0, 0, 0.5, 0.4], [0, 0, 0.5, 0.5]])), PRIORS, 0.5)
    assert found.object.tolist() == [[1, -1, 0, -1]]


def test_an_object_below_the_threshold_still_gets_its_best_prior() -> None:
    found = assign(targets(objects([[0.6, 0.6, 0.7, 0.7]])), PRIORS, 0.5)
    assert found.object.tolist() == [[-1, 0, -1, -1]]  # IoU 0.04 with prior 1, 0.04 < 0.01 / 0.25 of the middle


def test_crowd_and_difficult_are_neither_matched_nor_background() -> None:
    image = objects([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], ignored=[False, True])
    found = assign(targets(image), PRIORS, 0.5)
    assert found.object.tolist() == [[0, -1, -1, -1]]
    # Prior 1 lies wholly in the ignored object; a quarter of priors 2 and 3 does.
    assert found.left_alone.tolist() == [[False, True, False, False]]


def test_a_prior_that_found_an_object_is_not_left_alone() -> None:
    image = objects([[0.5, 0.5, 1, 1], [0.4, 0.4, 1, 1]], ignored=[False, True])
    found = assign(targets(image), PRIORS, 0.5)
    assert found.object[0, 1] == 0
    assert not found.left_alone[0, 1]


def test_images_of_a_batch_do_not_mix() -> None:
    first, second = objects([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]]), objects([[0.25, 0.25, 0.75, 0.75]])
    empty = objects([])
    together = assign(targets(first, empty, second), PRIORS, 0.5)
    for row, image in enumerate((first, empty, second)):
        assert together.object[row].tolist() == assign(targets(image), PRIORS, 0.5).object[0].tolist()
    assert together.object.tolist() == [[0, 1, -1, -1], [-1, -1, -1, -1], [-1, -1, -1, 0]]


def test_share_of_a_prior_in_a_crowd() -> None:
    a, b = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 0, 9, 9], [5, 5, 6, 6]])
    assert covered_share(a, b).tolist() == [[0.5, 0.0]]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_every_object_gets_exactly_one_best_prior(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    centres, sides = torch.rand(60, 2, generator=generator), torch.rand(60, 2, generator=generator) * 0.5 + 0.05
    priors = torch.cat((centres, sides), dim=1)
    low = torch.rand(count, 2, generator=generator) * 0.6
    boxes = torch.cat((low, low + 0.1 + torch.rand(count, 2, generator=generator) * 0.3), dim=1)
    found = assign(targets(objects(boxes.tolist())), priors, 0.5).object[0]
    iou = iou_matrix(boxes, cxcywh_to_xyxy(priors))
    reachable = (iou > 0).any(dim=1)
    if int((iou > 0).any(dim=0).sum()) >= count:  # enough priors for everybody
        assert {i for i in range(count) if reachable[i]} >= set(found[found >= 0].tolist())
    for prior, index in enumerate(found.tolist()):
        if index < 0:
            assert iou[:, prior].max() < 0.5
        else:
            assert iou[index, prior] > 0
