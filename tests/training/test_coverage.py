"""How well priors cover boxes, on cases counted by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgedet.data import load_image
from edgedet.data.types import Dataset, GroundTruth, Sample
from edgedet.spec import CodingKind, CodingSpec, DetectorSpec, InputSpec, LevelSpec, NetworkSpec, NmsSpec
from edgedet.training.coverage import coverage
from edgedet.training.coverage_plot import write_coverage

_FINE = LevelSpec((20.0, 20.0), 5, 5, ((20.0, 20.0),))  # centres at 10, 30, .. 90
_COARSE = LevelSpec((100.0, 100.0), 1, 1, ((100.0, 50.0), (50.0, 100.0)))  # centre at 50


def _spec(kind: CodingKind) -> DetectorSpec:
    score = "softmax_bg0" if kind == "ssd" else "obj_times_cls"
    variances = (0.1, 0.1, 0.2, 0.2) if kind == "ssd" else (1.0, 1.0, 1.0, 1.0)
    coding = CodingSpec(kind, variances, score=score)  # type: ignore[arg-type]
    network = NetworkSpec("ssdlite", "mobilenet_v2")
    return DetectorSpec("x", network, InputSpec(100, 100), (_FINE, _COARSE), coding, NmsSpec(), ("a",))


def _dataset(*boxes: tuple[float, float, float, float], difficult: int = 0) -> Dataset:
    """Pictures of 200x100 px, stretched to 100x100: x is halved."""
    array = np.array(boxes, np.float32).reshape(-1, 4)
    flags = np.arange(len(array)) >= len(array) - difficult
    truth = GroundTruth(array, np.zeros(len(array), np.int64), flags, np.zeros(len(array), bool), array[:, 0])
    return Dataset(Path("x"), "voc", "train", ("a",), (Sample(Path("x.jpg"), 200, 100, truth),))


_BOXES = (
    (0.0, 0.0, 40.0, 20.0),  # the first fine prior
    (20.0, 10.0, 60.0, 30.0),  # 20x20 px half a cell off in both directions: 100 of 700 px2
    (0.0, 25.0, 200.0, 75.0),  # the flat coarse prior
)


def test_where_boxes_are_counts_for_ssd() -> None:
    found = coverage(_dataset(*_BOXES), _spec("ssd"), 0.5)
    assert found.measure == "iou"
    assert found.best_iou == pytest.approx([1, 100 / 700, 1])
    assert found.best_level.tolist() == [0, 0, 1]
    assert found.unreached == pytest.approx(1 / 3)
    assert [(level.best, level.reached) for level in found.levels] == [(2, 1), (1, 1)]


def test_only_shapes_count_for_yolo() -> None:
    found = coverage(_dataset(*_BOXES), _spec("yolo"), 0.5)
    assert found.measure == "shape_iou"
    assert found.best_iou == pytest.approx([1, 1, 1])
    assert found.unreached == 0


def test_objects_that_are_not_trained_on_do_not_count() -> None:
    assert len(coverage(_dataset(*_BOXES, difficult=2), _spec("ssd"), 0.5).best_iou) == 1


def test_letterbox_moves_boxes() -> None:
    """The picture lies in rows 25 to 75 at half its size, so its upper left 80x40 px cover the prior at (50, 50)."""
    spec = _spec("ssd")
    spec = replace(spec, input=replace(spec.input, resize="letterbox"), levels=(_COARSE,))
    assert coverage(_dataset((0, 0, 200, 100)), spec, 0.5).best_iou == pytest.approx([1])


@pytest.mark.parametrize("boxes", [_BOXES, ()])
def test_picture_and_json(tmp_path: Path, boxes: tuple[tuple[float, float, float, float], ...]) -> None:
    found = coverage(_dataset(*boxes), _spec("ssd"), 0.5)
    plain = found.to_json()
    assert plain["objects"] == sum(plain["histogram"]["objects"]) == len(boxes)
    assert len(plain["histogram"]["edges"]) == len(plain["histogram"]["objects"]) + 1
    write_coverage(found, tmp_path / "x.png", "title")
    assert np.ptp(load_image(tmp_path / "x.png")) > 0
