"""What a labelled data set is, whatever format it was read from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class GroundTruth:
    """The labelled objects of one image.

    Attributes:
        boxes_xyxy_px: (M, 4) float32, 0-based continuous corner coordinates in pixels of the image as it is shown
            (after EXIF rotation), inside it, of positive area.
        class_ids: (M,) int64, indices into Dataset.class_names.
        difficult: (M,) bool; VOC's flag: neither required nor counted by VOC metrics, not trained on.
        crowd: (M,) bool; COCO's iscrowd: a region that may swallow any number of detections, not trained on.
        area_px2: (M,) float32; COCO's segmentation area where given, else the box's area. For COCO's size ranges.
    """

    boxes_xyxy_px: npt.NDArray[np.float32]
    class_ids: npt.NDArray[np.int64]
    difficult: npt.NDArray[np.bool_]
    crowd: npt.NDArray[np.bool_]
    area_px2: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.class_ids)


@dataclass(frozen=True)
class Sample:
    """One image and its objects. Width and height are of the image as it is shown, in pixels."""

    image_path: Path
    width_px: int
    height_px: int
    objects: GroundTruth


@dataclass(frozen=True)
class Dataset:
    """One split of a data set.

    Attributes:
        root: the folder or YAML file the user named.
        kind: "voc", "coco", "yolo", "csv".
        split: "train", "val", "trainval", "test".
        class_names: labels; a class_id is an index into it. The same for every split of a data set.
        samples: in the data set's own order.
        left_out: one line per annotation that the reader could not use (a box of zero size, ...), naming its file.
    """

    root: Path
    kind: str
    split: str
    class_names: tuple[str, ...]
    samples: tuple[Sample, ...]
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)
