"""Each rule of a sound package: a package that breaks it is found out, and said what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgedet.export.coreml_library import FeatureTypes_pb2, Model_pb2
from edgedet.export.coreml_package import read_package
from edgedet.export.coreml_rules import package_problems
from tests.export.coreml_packages import exported, yolo

_DOUBLE = FeatureTypes_pb2.ArrayFeatureType.DOUBLE
_FLOAT16 = FeatureTypes_pb2.ArrayFeatureType.FLOAT16
_BGR = FeatureTypes_pb2.ImageFeatureType.BGR


def _model() -> Any:
    model = Model_pb2.Model()
    model.CopyFrom(read_package(exported(yolo())).model)
    return model


def test_an_export_is_sound() -> None:
    assert package_problems(_model()) == []


def _nms(model: Any) -> Any:
    return model.pipeline.models[1].nonMaximumSuppression


def _array(model: Any, stage: int, index: int) -> Any:
    return model.pipeline.models[stage].description.output[index].type.multiArrayType


def _raw_float16(model: Any) -> None:
    """Both ends of the connection changed alike, so that only the type itself is wrong."""
    _array(model, 0, 0).dataType = _FLOAT16
    model.pipeline.models[1].description.input[0].type.multiArrayType.dataType = _FLOAT16


def _other_rows(model: Any) -> None:
    for array in (_array(model, 0, 1), model.pipeline.models[1].description.input[1].type.multiArrayType):
        array.shape[0] += 1


BREAKS: list[tuple[str, Callable[[Any], Any], str]] = [
    ("not a pipeline", lambda m: m.neuralNetwork.SetInParent(), "not a pipeline"),
    ("stage missing", lambda m: m.pipeline.models.pop(), "the stages are"),
    ("stages swapped", lambda m: m.pipeline.models.reverse(), "the stages are"),
    ("version below ML programs", lambda m: setattr(m, "specificationVersion", 5), "specification version 5"),
    ("version below its parts", lambda m: setattr(m.pipeline.models[0], "specificationVersion", 7), "below 7"),
    ("threshold input missing", lambda m: m.description.input.pop(), "inputs are"),
    ("image is BGR", lambda m: setattr(m.description.input[0].type.imageType, "colorSpace", _BGR), "RGB image"),
    ("image without size", lambda m: setattr(m.description.input[0].type.imageType, "width", 0), "RGB image"),
    ("threshold required", lambda m: setattr(m.description.input[1].type, "isOptional", False), "optional double"),
    ("threshold an integer", lambda m: m.description.input[1].type.int64Type.SetInParent(), "optional double"),
    ("outputs renamed", lambda m: setattr(m.description.output[0], "name", "scores"), "given by no stage"),
    ("output missing", lambda m: m.description.output.pop(), "outputs are"),
    ("raw renamed", lambda m: setattr(m.pipeline.models[0].description.output[0], "name", "c"), "given by no stage"),
    ("connection of two types", lambda m: setattr(_array(m, 0, 0), "dataType", _DOUBLE), "another type"),
    ("float16", _raw_float16, "not float32"),
    ("double results", lambda m: setattr(_array(m, 1, 1), "dataType", _DOUBLE), "not float32"),
    ("feature not described", lambda m: setattr(_nms(m), "confidenceInputFeatureName", "c"), "description lacks"),
    ("rows differ", _other_rows, "raw matrices have shapes"),
    ("label missing", lambda m: _nms(m).stringClassLabels.vector.pop(), "79 labels for 80 columns"),
    ("fixed shape and range", lambda m: _array(m, 1, 0).shape.extend((100, 80)), "no fixed shape"),
    ("no range", lambda m: _array(m, 1, 0).ClearField("shapeRange"), "range of two sizes"),
    (
        "row ranges differ",
        lambda m: setattr(_array(m, 1, 0).shapeRange.sizeRanges[0], "upperBound", 5),
        "different numbers of rows",
    ),
    (
        "columns differ",
        lambda m: setattr(_array(m, 1, 0).shapeRange.sizeRanges[1], "upperBound", 81),
        "one column for each of 80",
    ),
    ("not four numbers", lambda m: setattr(_array(m, 1, 1).shapeRange.sizeRanges[1], "lowerBound", 3), "4 columns"),
    ("no method", lambda m: _nms(m).ClearField("pickTop"), "not pickTop"),
    ("label twice", lambda m: _nms(m).stringClassLabels.vector.__setitem__(0, "square"), "not unique"),
    ("IoU above 1", lambda m: setattr(_nms(m), "iouThreshold", 1.5), "out of range"),
    ("negative threshold", lambda m: setattr(_nms(m), "confidenceThreshold", -0.1), "out of range"),
    ("metadata", lambda m: m.description.metadata.userDefined.pop("classes"), "metadata lacks classes"),
]


@pytest.mark.parametrize(("change", "message"), [row[1:] for row in BREAKS], ids=[row[0] for row in BREAKS])
def test_broken_rule_is_named(change: Callable[[Any], Any], message: str) -> None:
    model = _model()
    change(model)
    assert any(message in problem for problem in package_problems(model)), package_problems(model)
