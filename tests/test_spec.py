"""The spec: round trips, digests, and every fault said in the user's words."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedet.errors import ModelFileError
from edgedet.spec import CodingSpec, DetectorSpec, InputSpec, LevelSpec, NmsSpec
from tests.small_models import SPECS, small_spec

SPEC = SPECS["ssdlite_mobilenet_v2"]


@pytest.mark.parametrize("name", SPECS)
def test_json_round_trip(name: str) -> None:
    spec = SPECS[name]
    again = DetectorSpec.from_json(spec.to_json())
    assert again == spec
    assert again.digest() == spec.digest()
    assert spec.problems() == []


def test_digest_changes_with_every_field() -> None:
    changed = [
        replace(SPEC, name="other"),
        replace(SPEC, nms=replace(SPEC.nms, iou_max=0.6)),
        replace(SPEC, input=replace(SPEC.input, resize="letterbox")),
        replace(SPEC, class_names=("a", "b", "c")),
        replace(SPEC, network=replace(SPEC.network, width=0.5)),
        replace(SPEC, network=replace(SPEC.network, input_shift=(0.1, 0.0, -0.1))),
        replace(SPEC, network=replace(SPEC.network, head_width=0.5)),
        replace(SPEC, levels=SPEC.levels[:-1]),
        replace(SPEC, coding=replace(SPEC.coding, score="sigmoid")),
    ]
    assert len({SPEC.digest(), *(s.digest() for s in changed)}) == len(changed) + 1


def test_fields_that_came_later_are_left_out_where_they_say_nothing() -> None:
    """Digests and files of a detector that does not use them are those of the versions before."""
    first = {"name", "network", "input", "levels", "coding", "nms", "class_names", "schema"}
    assert set(SPEC.to_dict()) == first
    assert set(SPEC.to_dict()["network"]) == {"head", "backbone", "width", "reduced_tail", "layers"}
    assert set(SPEC.to_dict()["coding"]) == {"kind", "variances", "log_wh_max", "score"}
    shifted = replace(SPEC, network=replace(SPEC.network, input_shift=(0.1, 0.0, -0.1)))
    assert DetectorSpec.from_json(shifted.to_json()) == shifted


def test_counts() -> None:
    level = LevelSpec((16.0, 16.0), 6, 8, ((10.0, 10.0), (20.0, 30.0)))
    spec = small_spec("ssdlite_mobilenet_v2", levels=(level, level))
    assert level.num_priors == 6 * 8 * 2
    assert spec.num_priors == 192
    assert spec.num_classes == 3
    assert spec.num_logits == 4, "three classes and background"
    assert replace(spec, coding=CodingSpec("ssd", score="sigmoid")).num_logits == 3


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        (replace(SPEC, class_names=()), "class_names is empty"),
        (replace(SPEC, class_names=("cat", "cat")), "twice"),
        (replace(SPEC, class_names=("cat", " ")), "empty name"),
        (replace(SPEC, levels=()), "no priors"),
        (replace(SPEC, levels=(LevelSpec((16.0, 0.0), 1, 1, ((1.0, 1.0),)),)), "positive"),
        (replace(SPEC, levels=(LevelSpec((16.0, 16.0), 0, 1, ((1.0, 1.0),)),)), "must not be empty"),
        (replace(SPEC, nms=NmsSpec(score_min=0.0)), "score_min"),
        (replace(SPEC, nms=NmsSpec(score_min=float("nan"))), "score_min"),
        (replace(SPEC, nms=NmsSpec(iou_max=1.5)), "iou_max"),
        (replace(SPEC, nms=NmsSpec(max_detections=0)), "max_detections"),
        (replace(SPEC, nms=NmsSpec(pre_topk=10, max_detections=20)), "pre_topk"),
        (replace(SPEC, input=InputSpec(4, 320)), "sizes from 8"),
        (replace(SPEC, input=InputSpec(320, 320, std=0.0)), "std"),
        (replace(SPEC, input=InputSpec(320, 320, pad_value=300)), "pad_value"),
        (replace(SPEC, coding=CodingSpec("ssd", variances=(0.1, 0.1, -0.2, 0.2))), "variances"),
        (replace(SPEC, network=replace(SPEC.network, width=0.0)), "width"),
        (replace(SPEC, levels=(LevelSpec((16.0, 16.0), 1, 1, ((1.0, 1.0),), centre=1.5),)), "centre"),
        (replace(SPEC, levels=(LevelSpec((16.0, 16.0), 1, 1, ((1.0, 1.0),), scale_xy=1.1),)), "only the YOLO codings"),
        (
            replace(SPEC, coding=CodingSpec("yolo"), levels=(LevelSpec((9.0, 9.0), 1, 1, ((1.0, 1.0),), centre=0.0),)),
            "centre is 0.5",
        ),
        (replace(SPEC, schema=99), "schema"),
        (replace(SPEC, network=replace(SPEC.network, input_shift=(1.0,))), "input_shift"),
        (replace(SPEC, network=replace(SPEC.network, input_shift=(1.0, 2.0, float("inf")))), "input_shift"),
    ],
)
def test_problems_name_the_field(spec: DetectorSpec, word: str) -> None:
    assert any(word in problem for problem in spec.problems())


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "not readable"),
        ("[]", "not readable"),
        ('{"name": "x"}', "network"),
        (json.dumps({**SPEC.to_dict(), "colour": 1}), "colour"),
        (json.dumps({**SPEC.to_dict(), "class_names": []}), "inconsistent"),
    ],
)
def test_from_json_names_file_and_field(text: str, word: str) -> None:
    with pytest.raises(ModelFileError, match=word) as caught:
        DetectorSpec.from_json(text, source="model.onnx")
    assert "model.onnx" in str(caught.value)


@given(st.text(max_size=60))
def test_random_text_is_an_error_with_a_remedy_never_a_crash(text: str) -> None:
    with pytest.raises(ModelFileError):
        DetectorSpec.from_json(text)
