"""Rules about the suppression stage: the arrays that it reads and gives, its labels, and what confidences may be."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from edgedet.export.coreml_confidence import Facts, confidence_facts
from edgedet.export.coreml_library import FeatureTypes_pb2
from edgedet.export.coreml_names import COLUMNS_MULTIPLE
from edgedet.export.coreml_rule import Outcome, outcome, rule
from edgedet.export.coreml_view import ModelView
from edgedet.export.findings import Status

COLUMNS_RULE = "vision-columns-80"

_ARRAY = FeatureTypes_pb2.ArrayFeatureType
_READABLE = (_ARRAY.FLOAT32, _ARRAY.DOUBLE)
_STATUS: dict[bool | None, Status] = {True: "pass", False: "fail", None: "not applicable"}
Arrays = Callable[[ModelView], tuple[Any | None, Any | None]]


@rule(
    "vision-features-described",
    "the features that the suppression stage names are arrays of the stages' descriptions",
    "Describe the raw arrays as outputs of the detector, and the results as outputs of the last stage.",
)
def _features_described(view: ModelView) -> Outcome:
    arrays = zip(
        ("raw confidences", "raw coordinates", "confidences", "coordinates"),
        (*view.raw_arrays(), *view.result_arrays()),
        strict=True,
    )
    missing = [role for role, array in arrays if array is None]
    problem = f"the NonMaximumSuppression model names features that no description has: {', '.join(missing)}"
    return outcome(problem if missing else "", "all four arrays are described")


def _type_name(kind: int) -> str:
    try:
        return str(_ARRAY.ArrayDataType.Name(kind)).lower()
    except ValueError:  # a number that this version of the format does not know
        return f"type {kind}"


def _types(view: ModelView, arrays: Arrays) -> Outcome:
    kinds = [array.dataType for array in arrays(view) if array is not None]
    if not kinds:
        return Outcome("not applicable", "the arrays are not described")
    names = [_type_name(kind) for kind in kinds]
    problem = "" if all(kind in _READABLE for kind in kinds) else f"they are {', '.join(names)}, not float32"
    return outcome(problem, f"they are {', '.join(names)}")


_raw_types = rule(
    "vision-raw-types",
    "raw confidences and coordinates are float32 or double",
    "Declare the detector's outputs as float32; the NonMaximumSuppression model does not read float16.",
)(partial(_types, arrays=ModelView.raw_arrays))

_result_types = rule(
    "vision-result-types",
    "confidence and coordinates are float32 or double",
    "Declare the results of the NonMaximumSuppression model as float32.",
)(partial(_types, arrays=ModelView.result_arrays))


@rule(
    "vision-raw-shapes",
    "raw confidences are [N, classes] and raw coordinates [N, 4]",
    "Give the detector outputs of fixed shapes [N, classes] and [N, 4], without a batch dimension.",
)
def _raw_shapes(view: ModelView) -> Outcome:
    confidence, coordinates = view.raw_arrays()
    if confidence is None or coordinates is None:
        return Outcome("not applicable", "the arrays are not described")
    shapes = [list(confidence.shape), list(coordinates.shape)]
    good = [len(s) for s in shapes] == [2, 2] and shapes[0][0] == shapes[1][0] and shapes[1][1] == 4
    return outcome("" if good else f"they are {shapes}, not [N, C] and [N, 4]", f"they are {shapes}")


@rule(
    "vision-result-shapes",
    "confidence has a range of rows and one column a class, coordinates the same rows and 4 columns",
    "Give both results a shapeRange of two sizes, [0..limit, classes] and [0..limit, 4], and no fixed shape.",
)
def _result_shapes(view: ModelView) -> Outcome:
    confidence, coordinates = view.result_arrays()
    if confidence is None or coordinates is None:
        return Outcome("not applicable", "the results are not described")
    ranges = [list(array.shapeRange.sizeRanges) for array in (confidence, coordinates)]
    if any(array.shape for array in (confidence, coordinates)) or [len(r) for r in ranges] != [2, 2]:
        return Outcome("fail", "the results must have a range of two sizes, and no fixed shape")
    (conf_rows, conf_columns), (box_rows, box_columns) = ranges
    columns = view.columns()
    if conf_rows != box_rows:
        return Outcome("fail", "confidence and coordinates may have different numbers of rows")
    if columns is not None and not conf_columns.lowerBound == conf_columns.upperBound == columns:
        return Outcome("fail", f"confidence does not have the {columns} columns of the raw confidences")
    if not box_columns.lowerBound == box_columns.upperBound == 4:
        return Outcome("fail", "coordinates does not have 4 columns")
    limit = conf_rows.upperBound
    return Outcome("pass", f"{'any number of' if limit < 0 else f'up to {limit}'} rows")


@rule(
    "vision-pick-top",
    "suppression is pickTop: a box has its best label only",
    "Set pickTop, and perClass to true unless boxes of different classes shall suppress each other.",
)
def _pick_top(view: ModelView) -> Outcome:
    if view.nms.WhichOneof("SuppressionMethod") != "pickTop":
        return Outcome("fail", "the suppression method is not pickTop")
    return Outcome("pass", "within each class" if view.nms.pickTop.perClass else "across all classes")


@rule(
    "vision-labels",
    "there is one label, and no label twice, for each column of confidences",
    "Give stringClassLabels exactly one entry for each column.",
)
def _labels(view: ModelView) -> Outcome:
    labels, columns = view.labels(), view.columns()
    if not labels or len(set(labels)) != len(labels):
        return Outcome("fail", "the labels are missing or not unique")
    if columns is not None and len(labels) != columns:
        return Outcome("fail", f"there are {len(labels)} labels for {columns} columns of confidences")
    return Outcome("pass", f"{len(labels)} labels")


@rule(
    COLUMNS_RULE,
    f"an ML program gives a multiple of {COLUMNS_MULTIPLE} columns of confidences",
    "Pad the confidences with columns of zeros and the labels with reserved names (edgedet does so by default).",
)
def _columns(view: ModelView) -> Outcome:
    columns = view.columns()
    if columns is None or "mlProgram" not in {stage.WhichOneof("Type") for stage in view.stages}:
        return Outcome("not applicable", "the hazard is known for ML programs with a declared number of columns only")
    problem = f"{columns} columns: some systems return wrong boxes then (coremltools issue 2445)"
    return outcome(problem if columns % COLUMNS_MULTIPLE else "", f"{columns} columns")


@rule(
    "vision-confidence-range",
    "each raw confidence lies in 0..1",
    "End the detector with a sigmoid or a softmax, not with raw scores.",
)
def _confidence_range(view: ModelView) -> Outcome:
    facts = _facts(view)
    return Outcome(_STATUS[facts.unit], facts.reason)


@rule(
    "vision-confidence-sum",
    "the confidences of a box sum to 1 at most: Vision takes the sum for the confidence that any object is there",
    "Keep each box's best score and set the others to zero, as edgedet does, or use a softmax.",
)
def _confidence_sum(view: ModelView) -> Outcome:
    facts = _facts(view)
    if facts.unit is False:
        return Outcome("not applicable", "the confidences are not in 0..1 to begin with")
    return Outcome(_STATUS[facts.sums], facts.reason)


def _facts(view: ModelView) -> Facts:
    name = view.nms.confidenceInputFeatureName
    stage = view.producer(name)
    if stage is None:
        return Facts(reason="no stage gives the raw confidences")
    return confidence_facts(stage, name, view.weights_dir)


@rule(
    "vision-thresholds",
    "the thresholds inside the file lie in 0..1",
    "Set iouThreshold to about 0.5 and confidenceThreshold to a small number above 0.",
)
def _thresholds(view: ModelView) -> Outcome:
    iou, confidence = view.nms.iouThreshold, view.nms.confidenceThreshold
    text = f"IoU {iou:g}, confidence {confidence:g}"
    good = 0 < iou <= 1 and 0 <= confidence < 1
    return outcome("" if good else f"{text}: out of range", text)


SUPPRESSION_RULES = (
    _features_described,
    _raw_types,
    _raw_shapes,
    _result_types,
    _result_shapes,
    _pick_top,
    _labels,
    _columns,
    _confidence_range,
    _confidence_sum,
    _thresholds,
)
