"""Calibration images: chosen by seed, on record by content, and every kind of bad ones told in a line."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgedet.data.synth import write_synthetic
from edgedet.errors import DataError
from edgedet.export.calibrate import CalibrationRecord, calibration_of_arrays, read_calibration
from edgedet.preprocess import UInt8Image, to_network_pixels
from edgedet.spec import InputSpec

SIZE = InputSpec(height=48, width=64)


def noise(seed: int, *shape: int) -> UInt8Image:
    return np.random.default_rng(seed).integers(0, 256, shape or (40, 50, 3), np.uint8)


def folder_of(root: Path, images: list[UInt8Image], suffix: str = ".png") -> Path:
    root.mkdir(exist_ok=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(root / f"{index:03}{suffix}")
    return root


def test_pixels_are_those_that_the_network_gets(tmp_path: Path) -> None:
    images = [noise(seed) for seed in range(9)]
    found = read_calibration(folder_of(tmp_path / "plain", images), SIZE, seed=3)

    order = np.random.default_rng(3).permutation(9)
    assert len(found) == found.record.images == 9
    for one, again, index in zip(found.pixels(), found.pixels(), order, strict=True):
        expected = to_network_pixels(images[index], SIZE).permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(one, expected)
        np.testing.assert_array_equal(again, expected)


def test_the_record_is_over_the_contents_in_order(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "plain", [noise(seed) for seed in range(60)])
    found = read_calibration(folder, SIZE, "entropy", count=10, seed=7)

    digest = hashlib.sha256()
    for index in np.random.default_rng(7).permutation(60)[:10]:
        digest.update(hashlib.sha256((folder / f"{index:03}.png").read_bytes()).digest())
    assert found.record == CalibrationRecord(10, digest.hexdigest(), "entropy", 7)
    assert read_calibration(folder, SIZE, count=10, seed=7).record.image_list_sha256 == digest.hexdigest()
    assert read_calibration(folder, SIZE, count=10, seed=8).record.image_list_sha256 != digest.hexdigest()


def test_the_training_split_is_preferred_and_the_test_split_warned_of(tmp_path: Path) -> None:
    data = write_synthetic(tmp_path / "data", train=10, val=9, test=8)
    assert len(read_calibration(data, SIZE)) == 10
    assert len(read_calibration(data, SIZE, split="val")) == 9
    tested = read_calibration(data, SIZE, split="test")
    assert len(tested) == 8
    assert any("test split" in line for line in tested.warnings)
    with pytest.raises(DataError, match="no split 'night'"):
        read_calibration(data, SIZE, split="night")


@pytest.mark.parametrize(("count", "words"), [(0, "holds neither a data set nor pictures"), (7, "7 images")])
def test_too_few_images_are_refused(tmp_path: Path, count: int, words: str) -> None:
    folder = folder_of(tmp_path / "few", [noise(seed) for seed in range(count)])
    with pytest.raises(DataError, match=words) as caught:
        read_calibration(folder, SIZE)
    assert "\n" not in str(caught.value)


def test_few_images_are_warned_of_with_what_it_may_cost() -> None:
    (warning,) = calibration_of_arrays([noise(seed) for seed in range(49)], SIZE).warnings
    assert "49 images only" in warning
    assert "cost accuracy" in warning
    assert calibration_of_arrays([noise(seed) for seed in range(50)], SIZE).warnings == ()


def test_images_of_one_flat_colour_are_left_out_and_counted() -> None:
    flat = np.full((40, 50, 3), (10, 20, 30), np.uint8)
    found = calibration_of_arrays([flat, *(noise(seed) for seed in range(8)), flat], SIZE)
    assert len(found) == 8
    assert any("2 calibration images of one flat colour" in line for line in found.warnings)
    with pytest.raises(DataError, match="7 images that show something"):
        calibration_of_arrays([flat, *(noise(seed) for seed in range(7))], SIZE)
    with pytest.raises(DataError, match="no images that show something"):
        calibration_of_arrays([flat] * 20, SIZE)


@pytest.mark.parametrize(
    ("mode", "image"),
    [
        ("L", noise(0, 40, 50)),
        ("I;16", noise(0, 40, 50).astype(np.uint16) * 257),
        ("RGBA", noise(0, 40, 50, 4)),
    ],
)
def test_other_colours_are_converted_and_told(tmp_path: Path, mode: str, image: Any) -> None:
    folder = folder_of(tmp_path / "mixed", [*(noise(seed) for seed in range(9)), image])
    found = read_calibration(folder, SIZE)
    assert len(found) == 10
    assert any(f"stored as {mode} were converted" in line for line in found.warnings)
    assert all(pixels.shape == (48, 64, 3) and pixels.dtype == np.uint8 for pixels in found.pixels())


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.full((40, 50, 3), np.nan, np.float32), "image 2 holds NaN"),
        (np.full((40, 50, 3), np.inf, np.float32), "image 2 holds NaN or infinity"),
        (np.zeros((40, 50, 3), np.float32), "image 2 is of type float32"),
        (np.zeros((40, 50), np.uint8), r"image 2 has shape \(40, 50\)"),
        (np.zeros((40, 50, 4), np.uint8), r"image 2 has shape \(40, 50, 4\)"),
        (np.zeros((40, 50, 3), np.uint16), "image 2 is of type uint16"),
        (np.zeros((0, 50, 3), np.uint8), "image 2 has no pixels"),
    ],
)
def test_arrays_that_are_no_images_are_refused(image: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        calibration_of_arrays([noise(0), noise(1), image, *(noise(seed) for seed in range(9))], SIZE)


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "plain", [noise(seed) for seed in range(9)])
    (folder / "broken.png").write_bytes((folder / "000.png").read_bytes()[:-200])
    with pytest.raises(DataError, match=r"broken\.png"):
        read_calibration(folder, SIZE)


def test_no_such_data_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such data set"):
        read_calibration(tmp_path / "absent", SIZE)
    folder = folder_of(tmp_path / "plain", [noise(seed) for seed in range(9)])
    with pytest.raises(DataError, match="without splits"):
        read_calibration(folder, SIZE, split="train")
