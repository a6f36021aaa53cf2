from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgedet.benchmarks.detections_file import read_detections, write_detections
from edgedet.data import Dataset
from edgedet.errors import EdgedetError
from edgedet.evaluation import EvalResult


def test_round_trip_is_exact(result: EvalResult, dataset: Dataset, tmp_path: Path) -> None:
    write_detections(tmp_path / "d.json", result)
    again = read_detections(tmp_path / "d.json", dataset)
    assert again.source == result.source
    assert again.wall_s == result.wall_s
    np.testing.assert_equal(again.metrics, result.metrics)
    for a, b in zip(again.detections, result.detections, strict=True):
        for name in ("boxes_xyxy_px", "scores", "class_ids"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
            assert getattr(a, name).dtype == getattr(b, name).dtype


def test_other_images_and_damage_are_refused(result: EvalResult, dataset: Dataset, tmp_path: Path) -> None:
    write_detections(tmp_path / "d.json", result)
    with pytest.raises(EdgedetError, match="made on other images"):
        read_detections(tmp_path / "d.json", replace(dataset, samples=dataset.samples[1:]))
    (tmp_path / "d.json").write_text('{"schema": 1}')
    with pytest.raises(EdgedetError, match="cannot be read"):
        read_detections(tmp_path / "d.json", dataset)
