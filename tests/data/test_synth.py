"""The synthetic set: the same from the same seed, boxes exact, objects learnable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedet.data import load_image, read_dataset
from edgedet.data.check import check
from edgedet.data.synth import _MASKS, CLASS_NAMES, make_picture, write_synthetic
from edgedet.errors import DataError


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("synth") / "set", 60, 10, 20)


def test_splits_classes_and_sizes(synthetic: Path) -> None:
    datasets = {split: read_dataset(synthetic, split) for split in ("train", "val", "test", "trainval")}
    assert {split: len(d) for split, d in datasets.items()} == {"train": 60, "val": 10, "test": 20, "trainval": 70}
    objects = [s.objects for s in datasets["trainval"].samples]
    assert datasets["train"].class_names == CLASS_NAMES == tuple(sorted(CLASS_NAMES))
    assert all((s.width_px, s.height_px) == (160, 160) for s in datasets["train"].samples)
    sides = np.concatenate([o.boxes_xyxy_px[:, 2:] - o.boxes_xyxy_px[:, :2] for o in objects])
    assert sides.max(axis=1).min() >= 27
    assert sides.min() >= 18
    counts = np.bincount(np.concatenate([o.class_ids for o in objects]))
    assert counts.min() > 0.2 * counts.sum()
    assert 1 <= sum(len(o) == 0 for o in objects) <= 10
    assert all(d.left_out == () for d in datasets.values())


def test_it_has_no_faults_but_empty_pictures(synthetic: Path) -> None:
    assert {found.kind for found in check(synthetic)} <= {"no_objects"}


def test_same_seed_same_bytes_whatever_the_counts(synthetic: Path, tmp_path: Path) -> None:
    again = write_synthetic(tmp_path / "again", 3, 0, 2)
    other = write_synthetic(tmp_path / "other", 3, 0, 2, seed=1)
    for name in ("JPEGImages/train_00002.jpg", "JPEGImages/test_00001.jpg", "Annotations/train_00000.xml"):
        assert (again / name).read_bytes() == (synthetic / name).read_bytes()
        assert (again / name).read_bytes() != (other / name).read_bytes()
    assert not (again / "ImageSets" / "Main" / "val.txt").exists()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), class_id=st.integers(0, 2))
def test_boxes_fit_the_shapes(seed: int, class_id: int) -> None:
    """The pixels a shape touches fill its box to within a pixel, and none lies outside."""
    mask, (x1, y1, x2, y2) = _MASKS[class_id](np.random.default_rng(seed), 96, (20.3, 30.7, 60.1, 70.5))
    rows, columns = np.nonzero(mask > 0.5)
    assert abs(columns.min() - x1) <= 1.5
    assert abs(columns.max() + 1 - x2) <= 1.5
    assert abs(rows.min() - y1) <= 1.5
    assert abs(rows.max() + 1 - y2) <= 1.5
    assert 20 <= x1 < x2 <= 61
    assert 30 <= y1 < y2 <= 71


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_objects_stand_out_and_overlap_little(seed: int) -> None:
    image, shapes = make_picture(96, (seed,))
    assert image.shape == (96, 96, 3)
    assert len(shapes) <= 4
    for k, shape in enumerate(shapes):
        x1, y1, x2, y2 = shape.xyxy_px
        assert 0 <= x1 < x2 <= 96
        assert 0 <= y1 < y2 <= 96
        for other in shapes[:k]:
            width = min(x2, other.xyxy_px[2]) - max(x1, other.xyxy_px[0])
            height = min(y2, other.xyxy_px[3]) - max(y1, other.xyxy_px[1])
            assert max(width, 0) * max(height, 0) <= 0.25 * (x2 - x1) * (y2 - y1)


def test_pictures_are_colour_and_readable(synthetic: Path) -> None:
    image = load_image(read_dataset(synthetic, "test").samples[0].image_path)
    assert image.std() > 5


def test_refusals(synthetic: Path, tmp_path: Path) -> None:
    before = sorted(synthetic.rglob("*"))
    with pytest.raises(DataError, match="not an empty folder"):
        write_synthetic(synthetic, 1, 1, 1)
    assert sorted(synthetic.rglob("*")) == before
    with pytest.raises(DataError, match="counts"):
        write_synthetic(tmp_path / "a", 0, 0, 0)
    with pytest.raises(DataError, match="--size-px is 10"):
        write_synthetic(tmp_path / "a", 1, 1, 1, size_px=10)
    assert not (tmp_path / "a").exists()
