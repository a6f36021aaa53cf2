"""Labelled photographs: `read_dataset` for Pascal VOC, COCO JSON, YOLO txt and CSV, `load_image` for pictures."""

from edgedet.data.image import IMAGE_SUFFIXES, image_size, load_image
from edgedet.data.read import available_splits, read_dataset
from edgedet.data.types import Dataset, GroundTruth, Sample

__all__ = [
    "IMAGE_SUFFIXES",
    "Dataset",
    "GroundTruth",
    "Sample",
    "available_splits",
    "image_size",
    "load_image",
    "read_dataset",
]
