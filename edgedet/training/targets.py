"""What the losses learn from: the objects of a batch, padded to one length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

PADDING = -1
_FIRST_IMAGE_LABEL = -2


def image_labels_of(class_ids: Tensor) -> Tensor:
    """Class ids of objects to those of labels that say what an image shows, but not where; and back.

    They are numbers below PADDING, so that they go through augmentation and padding as objects do, with the whole
    image for a box, and no assignment takes them for objects.
    """
    return _FIRST_IMAGE_LABEL - class_ids


@dataclass(frozen=True)
class Objects:
    """Objects of one image.

    Attributes:
        boxes_xyxy: (M, 4) float32; the unit is the holder's (pixels before augmentation, 0..1 of the input after).
        class_ids: (M,) int64.
        ignored: (M,) bool; crowd or difficult: neither an object to find nor background.
    """

    boxes_xyxy: Tensor
    class_ids: Tensor
    ignored: Tensor

    def select(self, kept: Tensor) -> Objects:
        """The objects of a mask or of indices."""
        return Objects(self.boxes_xyxy[kept], self.class_ids[kept], self.ignored[kept])


class Targets(NamedTuple):
    """Objects of a batch; M is the largest number in one image.

    boxes_xyxy_unit (B, M, 4) in 0..1 of the network input; class_ids (B, M), PADDING where there is no object, below it
    what `image_labels_of` gives; ignored (B, M) bool.
    """

    boxes_xyxy_unit: Tensor
    class_ids: Tensor
    ignored: Tensor

    @property
    def trained_on(self) -> Tensor:
        """(B, M) bool: an object that the detector shall find."""
        return (self.class_ids > PADDING) & ~self.ignored

    @property
    def left_alone(self) -> Tensor:
        """(B, M) bool: an object that is neither required nor wrong to find."""
        return (self.class_ids > PADDING) & self.ignored

    @property
    def image_labels(self) -> Tensor:
        """(B, M) class that the image shows somewhere, PADDING where the entry is no such label."""
        return torch.where(self.class_ids < PADDING, image_labels_of(self.class_ids), PADDING)

    def of_images(self, kept: Tensor) -> Targets:
        """The rows of a (B,) mask."""
        return Targets(*(column[kept] for column in self))

    def to(self, device: torch.device) -> Targets:
        return Targets(*(column.to(device, non_blocking=True) for column in self))


def pad_objects(images: Sequence[Objects]) -> Targets:
    """Put the objects of several images, boxes in 0..1, into one batch."""
    most = max((len(objects.class_ids) for objects in images), default=0)
    boxes = torch.zeros(len(images), most, 4)
    class_ids = torch.full((len(images), most), PADDING, dtype=torch.int64)
    ignored = torch.zeros(len(images), most, dtype=torch.bool)
    for row, objects in enumerate(images):
        count = len(objects.class_ids)
        boxes[row, :count] = objects.boxes_xyxy
        class_ids[row, :count] = objects.class_ids
        ignored[row, :count] = objects.ignored
    return Targets(boxes, class_ids, ignored)
