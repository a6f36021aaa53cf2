"""Images of which only the class is known, mixed into batches."""

from __future__ import annotations

from itertools import chain

import pytest
import torch

from edgedet.training.image_labels import MixedImages, MixedOrder
from edgedet.training.sampler import BatchOrder, SampleKey
from edgedet.training.targets import PADDING, image_labels_of, pad_objects
from tests.training.helpers import objects


def split(order: MixedOrder) -> list[tuple[list[int], list[SampleKey]]]:
    """Of each batch the images with boxes, and the keys of those with labels, counted from 0."""
    boxed = order.num_images
    return [
        (
            [key.image for key in batch if key.image < boxed],
            [key._replace(image=key.image - boxed) for key in batch if key.image >= boxed],
        )
        for batch in order
    ]


def test_every_batch_has_its_share() -> None:
    order = MixedOrder(30, 7, 0.25, 0, 8, seed=0)
    batches = split(order)
    assert (len(order), order.steps, order.batch_size) == (5, 5, 8)
    assert len(batches) == 5
    assert all(len(boxed) == 6 and len(labelled) == 2 for boxed, labelled in batches)
    assert sorted(chain(*(boxed for boxed, _ in batches))) == [*range(30)]


def test_boxes_come_first_for_so_many_epochs() -> None:
    order = MixedOrder(30, 7, 0.25, 2, 8, seed=0)
    order.epoch = 1
    assert [(len(boxed), len(labelled)) for boxed, labelled in split(order)] == [(6, 0)] * 5
    order.epoch = 2
    assert [(len(boxed), len(labelled)) for boxed, labelled in split(order)] == [(6, 2)] * 5


@pytest.mark.parametrize(("share", "labelled"), [(0.01, 1), (0.99, 3), (0.5, 2)])
def test_at_least_one_of_each_kind(share: float, labelled: int) -> None:
    order = MixedOrder(12, 12, share, 0, 4, seed=0)
    assert all((len(a), len(b)) == (4 - labelled, labelled) for a, b in split(order))


def test_labelled_images_go_on_from_pass_to_pass_and_repeat_for_a_resumed_run() -> None:
    """3 labelled images, one a batch, 10 batches: each comes every third batch, with other random numbers each time."""
    order = MixedOrder(20, 3, 0.3, 0, 3, seed=4)
    order.epoch = 2
    keys = [key for _, labelled in split(order) for key in labelled]
    assert len(keys) == 10
    assert [sorted(key.image for key in keys[i : i + 3]) for i in (0, 3, 6)] == [[0, 1, 2]] * 3
    assert len(set(keys)) == 10
    again = MixedOrder(20, 3, 0.3, 0, 3, seed=4)
    again.epoch = 2
    assert split(again) == split(order)
    again.epoch = 3
    assert not set(keys) & {key for _, labelled in split(again) for key in labelled}


def test_processes_share_both_kinds() -> None:
    alone = MixedOrder(24, 8, 0.25, 0, 8, seed=0)
    shares = [MixedOrder(24, 8, 0.25, 0, 4, seed=0, rank=rank, world_size=2) for rank in range(2)]
    joined = [
        (sorted(a[0] + b[0]), sorted(a[1] + b[1])) for a, b in zip(*(split(share) for share in shares), strict=True)
    ]
    assert joined == [(sorted(boxed), sorted(labelled)) for boxed, labelled in split(alone)]
    assert len(shares[0]) == len(BatchOrder(24, 3, seed=0, world_size=2))


class _Plain:
    """Stands for TrainingImages: each image is its key."""

    def __init__(self, count: int) -> None:
        self.objects = [objects([[0, 0, 1, 1]], [index]) for index in range(count)]

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, key: SampleKey) -> tuple[object, object]:
        return key, self.objects[key.image]


def test_indices_run_over_both_and_labels_are_no_objects() -> None:
    images = MixedImages(_Plain(3), _Plain(2))  # type: ignore[arg-type]
    assert len(images) == 5
    assert images[SampleKey(7, 2)][0] == SampleKey(7, 2)
    key, second = images[SampleKey(9, 4, (64, 96))]
    assert key == SampleKey(9, 1, (64, 96))
    batch = pad_objects([images.boxed.objects[1], second, objects([])])
    assert batch.trained_on.tolist() == [[True], [False], [False]]
    assert not batch.left_alone.any()
    assert batch.image_labels.tolist() == [[PADDING], [1], [PADDING]]
    assert torch.equal(image_labels_of(image_labels_of(torch.arange(5))), torch.arange(5))


class _Cutting(_Plain):
    """Augmentation that leaves nothing of any box."""

    def __getitem__(self, key: SampleKey) -> tuple[object, object]:
        return key, self.objects[key.image].select(torch.zeros(1, dtype=torch.bool))


def test_a_label_that_augmentation_cut_away_stays() -> None:
    _, found = MixedImages(_Plain(1), _Cutting(2))[SampleKey(0, 2)]  # type: ignore[arg-type]
    assert pad_objects([found]).image_labels.tolist() == [[1]]
    assert found.boxes_xyxy.tolist() == [[0, 0, 1, 1]]
