"""Suppression by itself, fed with a chosen number of candidates."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from edgedet.benchmarks.nms_curve import (
    COUNTS,
    CurvePoint,
    NmsCurve,
    curve_svg,
    nms_curve,
    read_curves,
    with_candidates,
)
from edgedet.benchmarks.report import write_report
from edgedet.data.synth import write_synthetic
from edgedet.errors import DataError, NotRunError
from tests.benchmarks.report_cases import entry, timed
from tests.exported_files import Export


def test_the_best_boxes_become_the_candidates() -> None:
    scores = np.array([[[0.1, 0.2], [0.01, 0.0], [0.0, 0.04], [0.3, 0.0]]], np.float32)
    found = with_candidates(scores, 3, 0.05)
    np.testing.assert_allclose(found[0, 3], [0.95, 0.0])
    np.testing.assert_allclose(found[0, 0], [0.0, 0.505])
    np.testing.assert_allclose(found[0, 2], [0.0, 0.06], atol=1e-6)
    assert not found[0, 1].any()
    assert not with_candidates(scores, 0, 0.05).any()
    assert (with_candidates(scores, 4, 0.99).max(axis=2) == np.float32(0.95)).all()


@pytest.mark.parametrize("format_name", ["onnx", "tflite"])
def test_a_files_own_suppression_is_timed(exported: Export, format_name: str, tmp_path: Path) -> None:
    path = exported("ssdlite_mobilenet_v3_small", format_name, "fp32").artifact.path
    images = sorted(write_synthetic(tmp_path / "shapes", train=1, val=1, test=2, size_px=96).rglob("*.jpg"))
    curve = nms_curve(path, images, rounds=6)
    numbers = [point.candidates for point in curve.points]
    assert numbers[:2] == [0, 10]
    assert numbers[-1] not in COUNTS  # all priors
    assert curve.points[0].detections == 0
    assert 0 < curve.points[1].detections <= 10
    assert all(point.p50_ms > 0 for point in curve.points)


def test_other_files_are_not_timed(model_pt: Path) -> None:
    with pytest.raises(NotRunError, match="suppression is timed in"):
        nms_curve(model_pt, [])


def test_curves_enter_the_report_by_the_files_digest(tmp_path: Path) -> None:
    points = (CurvePoint(0, 0.1, None, 0.0), CurvePoint(100, 0.4, (0.35, 0.5), 20.0))
    files = [entry("a.onnx", 0.5, timed("a.onnx", 5.0)), entry("b.onnx", 0.5, timed("b.onnx", 6.0))]
    mine = NmsCurve("elsewhere/a.onnx", files[0].sha256, "onnxruntime", 1, 1000, points)
    other = NmsCurve("x.onnx", "0" * 64, "onnxruntime", 2, 1000, points)
    saved = tmp_path / "curves.json"
    saved.write_text(json.dumps({"schema": 1, "curves": [asdict(mine), asdict(other)]}))
    assert read_curves(saved) == [mine, other]
    page = write_report(tmp_path / "r.html", files, "t", curves=read_curves(saved)).read_text()
    assert "What suppression costs" in page
    assert "1 thread<small>" in page
    assert "2 threads<small>" not in page
    assert "What suppression costs" not in write_report(tmp_path / "s.html", files, "t").read_text()
    assert curve_svg([mine], ["#000000"]).startswith("<")
    saved.write_text("{}")
    with pytest.raises(DataError, match="holds no curves"):
        read_curves(saved)
