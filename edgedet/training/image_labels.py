"""Mixing images of which only the class is known into the batches (YOLO9000 paper, section 4).

What such an image teaches goes to the one prior that is surest of the label. In a network that finds no objects yet
this can be any prior, and it stays so: one prior comes to say "red" for every image and another "blue". So boxes should
come first (`training.image_label_after`), or some boxes have the labels that images have. Anchors that are nearly equal
can share out labels in the same way, and should differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from edgedet.training.images import TrainingImages
from edgedet.training.sampler import BatchOrder, SampleKey
from edgedet.training.targets import Objects, image_labels_of


class MixedImages(TorchDataset[tuple[Tensor, Objects]]):
    """Images with boxes, then those with labels only: the index of a SampleKey runs over both.

    Args:
        boxed: images with objects.
        labelled: images with one object, the whole image; its class becomes the image's label. It is changed.
    """

    def __init__(self, boxed: TrainingImages, labelled: TrainingImages) -> None:
        self.boxed, self.labelled = boxed, labelled
        labelled.objects = [
            replace(objects, class_ids=image_labels_of(objects.class_ids)) for objects in labelled.objects
        ]

    def __len__(self) -> int:
        return len(self.boxed) + len(self.labelled)

    def __getitem__(self, key: SampleKey) -> tuple[Tensor, Objects]:
        beyond = key.image - len(self.boxed)
        if beyond < 0:
            return self.boxed[key]
        pixels, objects = self.labelled[key._replace(image=beyond)]
        if not len(objects.class_ids):  # cut away as if it were an object; without it the image would be background
            whole = self.labelled.objects[beyond]
            objects = replace(whole, boxes_xyxy=torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand_as(whole.boxes_xyxy))
        return pixels, objects


class MixedOrder(BatchOrder):
    """Batches with a fixed number of images with boxes and of images with labels only.

    An epoch is one of the images with boxes. The others go on in permutations of their own, as often as needed.

    Args:
        num_boxed, num_labelled: images of both kinds.
        batch_size: per process, of both together.
        share: of labelled images in a batch; at least one of each kind is in every batch.
        after: epochs whose batches have the images with boxes alone.
    """

    def __init__(
        self, num_boxed: int, num_labelled: int, share: float, after: int, batch_size: int, seed: int, rank: int = 0,
        world_size: int = 1, accumulate: int = 1,
    ) -> None:  # fmt: skip
        labelled = min(batch_size - 1, max(1, round(batch_size * share)))
        self.boxed = BatchOrder(num_boxed, batch_size - labelled, seed, rank, world_size, accumulate)
        self.labelled = BatchOrder(num_labelled, labelled, seed + 1, rank, world_size)
        super().__init__(num_boxed, batch_size, seed, rank, world_size, accumulate)
        self.batch_size = self.boxed.batch_size + self.labelled.batch_size
        self.after = after

    @property
    def steps(self) -> int:
        return self.boxed.steps

    def __iter__(self) -> Iterator[list[SampleKey]]:
        self.boxed.epoch = self.epoch
        if self.epoch < self.after:
            yield from self.boxed
            return
        for boxed, labelled in zip(self.boxed, self._labelled(), strict=False):
            yield boxed + [SampleKey(key.epoch, self.num_images + key.image) for key in labelled]

    def _labelled(self) -> Iterator[list[SampleKey]]:
        """Without end, from a place that depends on the epoch only, so that a resumed run sees the same."""
        passes = -(-len(self.boxed) // len(self.labelled))
        for number in count(self.epoch * passes):
            self.labelled.epoch = number
            yield from self.labelled
