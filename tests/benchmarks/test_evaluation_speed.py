"""The synthetic evaluation: what it is made of, and that its numbers arrive."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import typer
from typer.testing import CliRunner

from edgedet.benchmarks.evaluation_speed import main, measure, synthetic


def test_synthetic_set() -> None:
    dataset, found = synthetic(images=30, detections=20, classes=4)
    again, _ = synthetic(images=30, detections=20, classes=4)
    assert (len(dataset), [len(one) for one in found]) == (30, [20] * 30)
    for sample, same in zip(dataset.samples, again.samples, strict=True):
        boxes = sample.objects.boxes_xyxy_px
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= [640, 480]).all()
        assert (boxes == same.objects.boxes_xyxy_px).all()
    assert all((np.diff(one.scores) <= 0).all() for one in found)
    assert {int(k) for one in found for k in one.class_ids} == {0, 1, 2, 3}


def test_measure() -> None:
    result = measure(images=30, detections=20, classes=4)
    assert result["seconds"] > 0
    assert result["peak_memory_bytes"] >= result["peak_memory_before_bytes"] > 0
    assert 0 < result["coco_ap"] < 1  # near objects are found, random ones are false alarms


def test_command(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    file = tmp_path / "speed.json"
    words = ["--images", "10", "--detections", "5", "--classes", "2", "--json", str(file)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "10 images x 5 detections, 2 classes" in result.stdout
    content = json.loads(file.read_text())
    assert (content["schema"], content["images"]) == (1, 10)
    assert "environment" in content
