"""Calibration: the photographs on which the ranges of activations are measured, checked and on record.

Whatever is wrong with them is said here, in one line, before anything is converted: an int8 file is as good as the
pictures its ranges were measured on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedet.errors import DataError
from edgedet.export.precisions import CALIBRATION_METHODS, DEFAULT_IMAGES
from edgedet.preprocess import UInt8Image, to_network_pixels
from edgedet.progress import track
from edgedet.spec import InputSpec

FEWEST_IMAGES = 8  # below: refused
ENOUGH_IMAGES = 50  # below: a warning
_SPLITS = ("train", "trainval", "val", "test")  # the first that there is


@dataclass(frozen=True)
class CalibrationRecord:
    """How a file was calibrated; it stands in the file's card and in its export.json.

    Attributes:
        images: how many were used.
        image_list_sha256: digest over the SHA-256 of each image's content, in the order they were used.
        method: one of CALIBRATION_METHODS.
        seed: that chose the images.
    """

    images: int
    image_list_sha256: str
    method: str
    seed: int


@dataclass(frozen=True)
class CalibrationSet:
    """Images for calibration, as the network sees them before normalisation.

    Attributes:
        record: what goes into the file.
        network_pixels: each (height, width, 3) uint8 RGB of the network's size; held in memory.
        warnings: a line for each thing about the images that may cost accuracy.
    """

    record: CalibrationRecord
    network_pixels: tuple[UInt8Image, ...]
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.network_pixels)

    def pixels(self) -> Iterator[UInt8Image]:
        """(height, width, 3) uint8 network pixels, in the order of the record; may be called again."""
        return iter(self.network_pixels)


CalibrationReader = Callable[[InputSpec, str], CalibrationSet]  # network input, method -> images: see export_model


def read_calibration(
    data: Path,
    input_spec: InputSpec,
    method: str = CALIBRATION_METHODS[0],
    *,
    count: int = DEFAULT_IMAGES,
    seed: int = 0,
    split: str | None = None,
) -> CalibrationSet:
    """Choose images of a data set, or of a plain folder of pictures, and bring them to the network's size.

    Pictures of any size and colour are brought to RGB as evaluation and `edgedet predict` do it (edgedet.data.image).

    Args:
        data: a data set as `read_dataset` takes it, or a folder of pictures without labels.
        input_spec: what the network takes.
        method: goes into the record; the exporters act on it.
        count: how many at most.
        seed: of the choice; the same seed and data give the same images in the same order.
        split: of a data set; None takes the first there is of train, trainval, val, test.

    Raises:
        DataError: no such data, fewer than FEWEST_IMAGES that can be used, an image that cannot be read.
    """
    from edgedet.data import load_image
    from edgedet.data.image import stored_mode

    paths, warnings = _paths(data, split)
    _refuse_few(len(paths), f"{data}: ", "images")
    order = np.random.default_rng(seed).permutation(len(paths))[:count]
    chosen = [paths[i] for i in order]
    modes = {mode for mode in map(stored_mode, chosen) if mode not in ("RGB", "P")}
    if modes:
        warnings.append(f"calibration images stored as {', '.join(sorted(modes))} were converted to 8-bit RGB")
    images = ((path.read_bytes(), load_image(path)) for path in track(chosen, "Reading calibration images"))
    return _checked(images, input_spec, method, seed, warnings, f"{data}: ")


def calibration_of_arrays(
    images: Sequence[npt.NDArray[Any]], input_spec: InputSpec, method: str = CALIBRATION_METHODS[0], *, seed: int = 0
) -> CalibrationSet:
    """Calibration images that are in memory already, all of them, in their order.

    Args:
        images: each (H, W, 3) uint8 RGB of any size.

    Raises:
        DataError: fewer than FEWEST_IMAGES that can be used; an array that is no such image, or holds NaN.
    """
    for index, image in enumerate(images):
        if fault := _array_fault(image):
            raise DataError(f"calibration image {index} {fault}", "Give (height, width, 3) uint8 RGB arrays.")
    pairs = ((repr(image.shape).encode() + image.tobytes(), image) for image in images)
    return _checked(pairs, input_spec, method, seed, [], "")


def _array_fault(image: npt.NDArray[Any]) -> str:
    if np.issubdtype(image.dtype, np.floating) and not np.isfinite(image).all():
        return "holds NaN or infinity"
    if image.ndim != 3 or image.shape[2] != 3:
        return f"has shape {image.shape}"
    if image.size == 0:
        return "has no pixels"
    return "" if image.dtype == np.uint8 else f"is of type {image.dtype}"


def _paths(data: Path, split: str | None) -> tuple[list[Path], list[str]]:
    """All pictures that may be chosen, in an order that the data set itself defines; warnings."""
    from edgedet.data import IMAGE_SUFFIXES, available_splits, read_dataset
    from edgedet.data.read import READERS

    labelled = not data.is_dir() or any(reader.recognises(data) for reader in READERS.values())
    if not labelled:
        found = sorted(p for p in data.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        if not found:
            raise DataError(f"{data}: holds neither a data set nor pictures", "Give one of the two.")
        if split is not None:
            raise DataError(f"{data}: is a folder of pictures without splits", "Leave --calibration-split out.")
        return found, []
    if split is None:
        existing = available_splits(data)
        split = next((name for name in _SPLITS if name in existing), _SPLITS[0])
    samples = read_dataset(data, split).samples
    flattered = "calibrated on the test split: accuracy measured there flatters the file"
    return [sample.image_path for sample in samples], [flattered] if split == "test" else []


def _checked(
    images: Iterable[tuple[bytes, UInt8Image]],
    input_spec: InputSpec,
    method: str,
    seed: int,
    warnings: list[str],
    where: str,
) -> CalibrationSet:
    """Images and the bytes they are known by to a set, without those that show nothing."""
    digest, pixels, flat = hashlib.sha256(), [], 0
    for content, image in images:
        if (image == image[0, 0]).all():
            flat += 1
            continue
        digest.update(hashlib.sha256(content).digest())
        pixels.append(np.ascontiguousarray(to_network_pixels(image, input_spec).permute(1, 2, 0).numpy()))
    if flat:
        warnings = [*warnings, f"{flat} calibration images of one flat colour were left out: they excite no layer"]
    _refuse_few(len(pixels), where, "images that show something" if flat else "images")
    if len(pixels) < ENOUGH_IMAGES:
        warnings = [*warnings, few_images(len(pixels))]
    record = CalibrationRecord(len(pixels), digest.hexdigest(), method, seed)
    return CalibrationSet(record, tuple(pixels), tuple(warnings))


def few_images(count: int) -> str:
    """The warning about a small calibration set."""
    return (
        f"calibrated on {count} images only: ranges that they do not reach are cut off, which may cost accuracy on "
        f"other photographs; give {ENOUGH_IMAGES} or more, better {DEFAULT_IMAGES}"
    )


def _refuse_few(count: int, where: str, what: str) -> None:
    if count < FEWEST_IMAGES:
        raise DataError(
            f"{where}{count or 'no'} {what} to calibrate on, at least {FEWEST_IMAGES} are needed",
            f"Give {DEFAULT_IMAGES} photographs like those the detector will see.",
        )
