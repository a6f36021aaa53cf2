from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from edgedet.config import AugmentConfig
from edgedet.data import read_dataset
from edgedet.spec import InputSpec
from edgedet.training.augment import Augment
from edgedet.training.images import TrainingImages, collate, end_quietly
from edgedet.training.sampler import BatchOrder, SampleKey
from edgedet.training.targets import PADDING
from tests.training.helpers import objects, targets, tiny_data


def indices(order: BatchOrder) -> list[list[int]]:
    return [[key.image for key in batch] for batch in order]


def test_each_image_at_most_once_in_an_epoch() -> None:
    order = BatchOrder(10, 3, seed=0)
    batches = indices(order)
    assert len(order) == len(batches) == 3
    assert all(len(batch) == 3 for batch in batches)
    assert len({i for batch in batches for i in batch}) == 9


def test_order_depends_on_seed_and_epoch_only() -> None:
    first, again = BatchOrder(50, 4, seed=1), BatchOrder(50, 4, seed=1)
    first.epoch = again.epoch = 3
    assert indices(first) == indices(again)
    again.epoch = 4
    assert indices(first) != indices(again)
    other = BatchOrder(50, 4, seed=2)
    other.epoch = 3
    assert indices(first) != indices(other)


def test_processes_share_one_permutation() -> None:
    alone = BatchOrder(20, 6, seed=0)
    shares = [BatchOrder(20, 3, seed=0, rank=rank, world_size=2) for rank in range(2)]
    joined = [a + b for a, b in zip(*(indices(share) for share in shares), strict=True)]
    assert joined == indices(alone)


@pytest.mark.parametrize("images", [1, 3, 5])
def test_fewer_images_than_one_batch(images: int) -> None:
    shares = [BatchOrder(images, 8, seed=0, rank=rank, world_size=2) for rank in range(2)]
    batches = [indices(share) for share in shares]
    assert [len(b) for b in batches] == [1, 1]
    assert len(batches[0][0]) == len(batches[1][0])
    assert {i for b in batches for i in b[0]} == set(range(images))


def test_pixels_do_not_depend_on_workers_or_cache(tmp_path: Path) -> None:
    dataset = read_dataset(tiny_data(tmp_path), "train")
    augment = Augment(AugmentConfig(), InputSpec(64, 64))
    keys = [[SampleKey(2, i) for i in range(6)], [SampleKey(2, i) for i in range(6, 12)]]
    results = []
    for workers, cache_mb in ((0, 100), (0, 0), (2, 100)):
        images = TrainingImages(dataset, augment, 5, cache_mb)
        assert len(images.cache) == (len(dataset) if cache_mb else 0)
        loader = DataLoader(images, batch_sampler=keys, num_workers=workers, collate_fn=collate)  # type: ignore[arg-type]
        results.append([(pixels.clone(), found.boxes_xyxy_unit.clone()) for pixels, found in loader])
    for other in results[1:]:
        for (pixels, boxes), (other_pixels, other_boxes) in zip(results[0], other, strict=True):
            assert torch.equal(pixels, other_pixels)
            assert torch.equal(boxes, other_boxes)


def test_augmentation_changes_from_epoch_to_epoch_and_leaves_the_generator_alone(tmp_path: Path) -> None:
    images = TrainingImages(
        read_dataset(tiny_data(tmp_path), "train"), Augment(AugmentConfig(), InputSpec(64, 64)), 0, 10
    )
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    first, second = images[SampleKey(0, 1)][0], images[SampleKey(1, 1)][0]
    assert torch.equal(torch.rand(3), expected)
    assert not torch.equal(first, second)


def test_padding() -> None:
    found = targets(
        objects([[0, 0, 1, 1]], [3]), objects([]), objects([[0, 0, 1, 1], [0, 0, 0.5, 1]], [1, 2], [True, False])
    )
    assert found.class_ids.tolist() == [[3, PADDING], [PADDING, PADDING], [1, 2]]
    assert found.trained_on.tolist() == [[True, False], [False, False], [False, True]]
    assert found.left_alone.tolist() == [[False, False], [False, False], [True, False]]


def test_accumulated_batches_are_the_images_of_one_large_batch() -> None:
    alone = BatchOrder(26, 12, seed=0)
    shares = [BatchOrder(26, 3, seed=0, rank=rank, world_size=2, accumulate=2) for rank in range(2)]
    assert (alone.steps, shares[0].steps, len(shares[0])) == (2, 2, 4)
    batches = [indices(share) for share in shares]
    for step, together in enumerate(indices(alone)):
        parts = [image for k in (2 * step, 2 * step + 1) for rank in range(2) for image in batches[rank][k]]
        assert parts == together
    few = BatchOrder(5, 4, seed=0, accumulate=3)  # batches shrink, and one image is used twice
    assert (few.steps, few.batch_size, [len(b) for b in indices(few)]) == (1, 2, [2, 2, 2])


def test_a_loader_left_alone_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its run stopped taking is no fault; anything else is printed as ever."""
    printed: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, value, trace: printed.append(kind))
    end_quietly(0)
    for error in (ConnectionResetError(), BrokenPipeError(), EOFError(), ValueError()):
        sys.excepthook(type(error), error, None)
    assert printed == [ValueError]
