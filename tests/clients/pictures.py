"""Pictures that clients see, as PNG files, so that every decoder gives the same pixels.

"As taken": photographs of several sizes and shapes. A client resizes them with its own kernel. "Magnified": the same
photographs after edgedet's own resize, each pixel repeated in both directions. Whatever kernel a client shrinks them
with, interpolating or averaging, it gets back exactly the network's pixels, so its resize is out of the way; and boxes
that a client rounds to whole pixels of the image are rounded to a fraction of a pixel of the network.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from edgedet.data import load_image, read_dataset
from edgedet.errors import NotRunError
from edgedet.export.calibrate import CalibrationSet, read_calibration
from edgedet.export.pictures import generated_pictures
from edgedet.preprocess import UInt8Image, to_network_pixels
from edgedet.spec import InputSpec

MAGNIFIED_PX = 1024  # at least, on the longer side
_PHOTOGRAPHS = (
    "bccd/JPEGImages/BloodImage_00001.jpg",  # landscape, 640 x 480
    "demo_photos/kite_and_cold.jpg",  # large, 1352 x 900
    "demo_photos/cats_and_dogs.jpg",  # wide, 1200 x 600
    "demo_photos/parrot.jpg",  # portrait, 512 x 929
    "coco_mini/val2017/000000011813.jpg",  # portrait, 333 x 500
    "demo_photos/owl.jpg",
)
_TINY_HW = (57, 43)


@dataclass(frozen=True)
class Pictures:
    """PNG files of one network input size, and what is in them."""

    as_taken: dict[Path, UInt8Image]
    magnified: dict[Path, UInt8Image]

    def paths(self) -> list[Path]:
        return [*self.as_taken, *self.magnified]

    def images(self) -> list[UInt8Image]:
        """In the order of `paths`."""
        return [*self.as_taken.values(), *self.magnified.values()]


def photographs(shared_data: Path | None) -> list[UInt8Image]:
    """Real ones from the folder of shared data, the last one cut to a tiny picture; generated ones without it."""
    if shared_data is None:
        return generated_pictures()
    pictures = [load_image(shared_data / "data" / name) for name in _PHOTOGRAPHS]
    height, width = _TINY_HW
    return [*pictures[:-1], np.ascontiguousarray(pictures[-1][100 : 100 + height, 200 : 200 + width])]


def shared_photographs() -> list[UInt8Image]:
    """Those of the folder that EDGEDET_DATA names."""
    return photographs(_shared())


def trained_calibration(input_spec: InputSpec, method: str) -> CalibrationSet:
    """Images that trained networks have seen, to measure ranges of activations on: a `CalibrationReader`.

    Raises:
        NotRunError: EDGEDET_DATA names no folder.
    """
    return read_calibration(_bccd(), input_spec, method, split="trainval")


def trained_photographs() -> list[UInt8Image]:
    """Of the data set that trained networks are from: every sixth of the test split of BCCD, 12 of 640 x 480.

    Raises:
        NotRunError: EDGEDET_DATA names no folder.
    """
    samples = read_dataset(_bccd(), "test").samples
    return [load_image(sample.image_path) for sample in samples[::6]]


def _bccd() -> Path:
    folder = _shared()
    if folder is None:
        raise NotRunError("trained networks need photographs", "Let EDGEDET_DATA name the folder of shared data.")
    return folder / "data" / "bccd"


def _shared() -> Path | None:
    value = os.environ.get("EDGEDET_DATA", "")
    return Path(value) if value else None


def write_pictures(pictures: list[UInt8Image], spec: InputSpec, folder: Path) -> Pictures:
    """Write both sets for a network that stretches."""
    folder.mkdir(parents=True, exist_ok=True)
    return Pictures(
        {_write(picture, folder / f"taken{i}.png"): picture for i, picture in enumerate(pictures)},
        {_write(big, folder / f"magnified{i}.png"): big for i, big in enumerate(_magnify(p, spec) for p in pictures)},
    )


def _magnify(picture: UInt8Image, spec: InputSpec) -> UInt8Image:
    pixels = to_network_pixels(picture, spec).permute(1, 2, 0).numpy()
    factor = -(-MAGNIFIED_PX // max(spec.height, spec.width))
    return np.ascontiguousarray(pixels.repeat(factor, axis=0).repeat(factor, axis=1))


def _write(picture: UInt8Image, path: Path) -> Path:
    Image.fromarray(picture).save(path, compress_level=1)
    return path
