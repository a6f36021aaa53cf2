"""Numbers of a small set by hand, and pictures of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgedet.data import load_image, read_dataset
from edgedet.data.plots import write_plots
from edgedet.data.statistics import box_table, statistics
from tests.data.makers import DISC, voc


def _small(tmp_path: Path) -> Path:
    boxes = {"a": [("disc", 1, 1, 10, 20), ("square", 1, 1, 40, 30)], "b": [("disc", 1, 1, 20, 10)], "c": []}
    return voc(tmp_path, {"train": boxes, "test": {"d": [DISC]}})


def test_numbers_by_hand(tmp_path: Path) -> None:
    numbers = statistics(read_dataset(_small(tmp_path), "train"))
    assert (numbers.images, numbers.objects, numbers.empty_images) == (3, 3, 1)
    assert [(c.name, c.objects, c.images) for c in numbers.classes] == [("disc", 2, 2), ("square", 1, 1)]
    assert [c.share for c in numbers.classes] == [pytest.approx(2 / 3), pytest.approx(1 / 3)]
    assert numbers.cooccurrence == ((2, 1), (1, 1))
    entropy = -(2 / 3 * np.log2(2 / 3) + 1 / 3 * np.log2(1 / 3))  # two equal classes would have 1 bit
    assert numbers.class_balance == pytest.approx(entropy)
    assert (numbers.image_aspect.min, numbers.image_aspect.max) == (pytest.approx(4 / 3), pytest.approx(4 / 3))
    assert (numbers.small, numbers.medium, numbers.large) == (2, 1, 0)  # 200, 200 and 1200 px2
    assert numbers.objects_per_image.mean == 1
    assert (numbers.objects_per_image.min, numbers.objects_per_image.max) == (0, 2)
    assert numbers.box_width_px is not None
    assert numbers.box_width_px.p50 == 20  # of 10, 20, 40
    assert numbers.box_aspect is not None
    assert numbers.box_aspect.p50 == pytest.approx(40 / 30)  # of 0.5, 1.33, 2
    assert numbers.box_area_share is not None
    assert numbers.box_area_share.max == 1
    assert numbers.image_width_px.p50 == 40
    json.dumps(numbers.to_json(), allow_nan=False)


def test_table_has_a_row_an_object(tmp_path: Path) -> None:
    table = box_table(read_dataset(_small(tmp_path), "train"))
    assert table.wh_px.tolist() == [[10, 20], [40, 30], [20, 10]]
    assert table.image_ids.tolist() == [0, 0, 1]
    assert table.class_ids.tolist() == [0, 1, 0]
    assert table.image_wh_px.tolist() == [[40, 30]] * 3


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_objects_and_pictures_of_it(tmp_path: Path, split: str) -> None:
    root = voc(tmp_path, {"train": {"a": [DISC]}, "val": {"e": [], "f": []}})
    dataset = read_dataset(root, split)
    numbers = statistics(dataset)
    assert (numbers.box_aspect is None) == (split == "val")
    paths = write_plots(dataset, tmp_path / "out")
    assert [path.name for path in paths] == [f"{split}_{name}.png" for name in ("distributions", "classes", "samples")]
    assert sorted((tmp_path / "out").iterdir()) == sorted(paths)
    assert all(np.ptp(load_image(path)) > 0 for path in paths)


def test_balance_of_one_class_and_of_equal_classes(tmp_path: Path) -> None:
    equal = read_dataset(voc(tmp_path / "a", {"train": {"a": [DISC, ("square", 1, 1, 9, 9)]}}), "train")
    assert statistics(equal).class_balance == pytest.approx(1)
    alone = read_dataset(voc(tmp_path / "b", {"train": {"a": [DISC, DISC]}}), "train")
    assert statistics(alone).class_balance is None


def test_pictures_of_many_classes(tmp_path: Path) -> None:
    boxes = [(f"a class with a very long name {k}", 1.0, 1.0, 5.0 + k / 2, 9.0) for k in range(50)]
    dataset = read_dataset(voc(tmp_path / "set", {"train": {"a": boxes}}), "train")
    classes = next(path for path in write_plots(dataset, tmp_path / "out") if "classes" in path.name)
    assert np.ptp(load_image(classes)) > 0
