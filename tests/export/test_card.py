"""The card inside each file: complete, canonical, and refused when it is absent, damaged or changed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor

from edgedet.errors import ModelFileError, NotRunError
from edgedet.export.calibrate import CalibrationRecord
from edgedet.export.card import CardRunner, FileCard
from edgedet.runner import UnitDetections
from edgedet.spec import digest_of
from tests.small_models import SPECS

CARD = FileCard(SPECS["yolov3_tiny"], "fp16", "ab" * 32, "0.1.0")


@pytest.mark.parametrize("name", SPECS)
def test_a_card_goes_through_json(name: str) -> None:
    card = FileCard(SPECS[name], "fp32", "cd" * 32, "0.1.0")
    assert FileCard.from_json(card.to_json(), "file") == card
    assert FileCard.from_json(card.to_json(), "file").to_json() == card.to_json()


def test_how_a_file_was_calibrated_goes_through_json_and_changes_nothing_where_it_was_not() -> None:
    calibrated = replace(CARD, calibration=CalibrationRecord(200, "ef" * 32, "percentile", 7))
    assert FileCard.from_json(calibrated.to_json(), "file") == calibrated
    assert json.loads(calibrated.to_json())["calibration"] == {
        "images": 200,
        "image_list_sha256": "ef" * 32,
        "method": "percentile",
        "seed": 7,
    }
    assert set(json.loads(CARD.to_json())) == {"spec", "spec_digest", "precision", "weights_sha256", "edgedet_version"}


@pytest.mark.parametrize("text", [None, ""])
def test_no_card_means_a_foreign_file(text: str | None) -> None:
    with pytest.raises(ModelFileError, match=r"x\.onnx: carries no edgedet spec"):
        FileCard.from_json(text, "x.onnx")


def _changed(**changes: object) -> str:
    return json.dumps(json.loads(CARD.to_json()) | changes)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "null",
        "7",
        "{}",
        _changed(spec=None),
        _changed(spec={"name": "x"}),
        _changed(spec_digest="0" * 16),
        _changed(calibration={"images": 3}),
    ],
)
def test_damaged_and_changed_cards_are_refused(text: str) -> None:
    with pytest.raises(ModelFileError, match=r"x\.onnx: ") as caught:
        FileCard.from_json(text, "x.onnx")
    assert "\n" not in str(caught.value)


def test_a_changed_threshold_is_noticed() -> None:
    value = json.loads(CARD.to_json())
    value["spec"]["nms"]["score_min"] = 0.5
    with pytest.raises(ModelFileError, match="changed after export"):
        FileCard.from_json(json.dumps(value), "x.onnx")


def test_a_file_from_before_a_field_existed_is_not_a_changed_one() -> None:
    value = json.loads(CARD.to_json())
    for level in value["spec"]["levels"]:
        del level["scale_xy"]  # as a version without it wrote the file
    value["spec_digest"] = digest_of(value["spec"])
    assert FileCard.from_json(json.dumps(value), "x.onnx") == CARD


class _Runner(CardRunner):
    def infer(self, network_pixels: Tensor) -> UnitDetections:
        raise AssertionError("not called")


def test_a_runner_has_the_spec_and_precision_of_its_card() -> None:
    runner = _Runner(Path("x.onnx"), CARD, "onnx", "some runtime")
    assert (runner.spec, runner.precision, runner.card) == (CARD.spec, "fp16", CARD)
    with pytest.raises(NotRunError, match="some runtime cannot run a part"):
        runner.before_nms()
