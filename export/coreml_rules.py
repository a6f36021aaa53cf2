"""What a package must look like for Core ML to load it and for Vision to take it for an object detector.

Sources: the validators of the Core ML format (coremltools, mlmodel/src/Validation: NonMaximumSuppressionValidator.cpp,
PipelineValidator.cpp), NonMaximumSuppression.proto, and what Create ML's own object detectors contain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from edgedet.export.coreml_library import FeatureTypes_pb2
from edgedet.export.coreml_names import CONFIDENCE, CONFIDENCE_THRESHOLD, COORDINATES, IMAGE, IOS_15, IOU_THRESHOLD

_METADATA = ("type", "classes", "confidence_threshold", "iou_threshold", "include_non_maximum_suppression")
_FLOAT32 = FeatureTypes_pb2.ArrayFeatureType.FLOAT32
_RGB = FeatureTypes_pb2.ImageFeatureType.RGB


def package_problems(model: Any) -> list[str]:
    """Every rule that a pipeline breaks, in words; empty for a sound one.

    Args:
        model: Model protobuf of a whole package.
    """
    if stages := _stage_problems(model):
        return stages  # the other rules speak about the two stages
    return [problem for rule in _RULES for problem in rule(model)]


def _by_name(features: Iterable[Any]) -> dict[str, Any]:
    return {feature.name: feature for feature in features}


def _stage_problems(model: Any) -> list[str]:
    if model.WhichOneof("Type") != "pipeline":
        return [f"the model is of type {model.WhichOneof('Type')}, not a pipeline"]
    kinds = [stage.WhichOneof("Type") for stage in model.pipeline.models]
    if kinds != ["mlProgram", "nonMaximumSuppression"]:
        return [f"the stages are {kinds}, not an ML program and a NonMaximumSuppression model"]
    return []


def _version_problems(model: Any) -> list[str]:
    needed = max(IOS_15, *(stage.specificationVersion for stage in model.pipeline.models))
    if model.specificationVersion < needed:
        return [f"specification version {model.specificationVersion} is below {needed}, which its parts need"]
    return []


def _input_problems(model: Any) -> list[str]:
    inputs = _by_name(model.description.input)
    found = []
    if set(inputs) != {IMAGE, IOU_THRESHOLD, CONFIDENCE_THRESHOLD}:
        found.append(f"the pipeline's inputs are {sorted(inputs)}")
    for name, feature in inputs.items():
        kind = feature.type.WhichOneof("Type")
        image = feature.type.imageType
        if name == IMAGE and (kind != "imageType" or image.colorSpace != _RGB or not image.width * image.height):
            found.append(f"{IMAGE} is not an RGB image of fixed size")
        if name != IMAGE and (kind != "doubleType" or not feature.type.isOptional):
            found.append(f"{name} is not an optional double")
    return found


def _connection_problems(model: Any) -> list[str]:
    """A stage's inputs come from the pipeline or an earlier stage, with the same type; so do the pipeline's outputs."""
    available = _by_name(model.description.input)
    found = []
    for stage in model.pipeline.models:
        found += _unconnected(stage.description.input, available, "input")
        available.update(_by_name(stage.description.output))
    found += _unconnected(model.description.output, available, "pipeline output")
    if set(_by_name(model.description.output)) != {CONFIDENCE, COORDINATES}:
        found.append(f"the pipeline's outputs are {sorted(_by_name(model.description.output))}")
    return found


def _unconnected(features: Iterable[Any], available: dict[str, Any], role: str) -> list[str]:
    found = []
    for feature in features:
        if feature.name not in available:
            found.append(f"{role} {feature.name} is given by no stage before it")
        elif feature.type != available[feature.name].type:
            found.append(f"{role} {feature.name} has another type than the value of that name before it")
    return found


def _array_problems(model: Any) -> list[str]:
    """Raw matrices of fixed shape, results of limited rows; all float32 (the format takes no float16)."""
    detector, suppression = model.pipeline.models
    nms = suppression.nonMaximumSuppression
    raw, kept = _by_name(detector.description.output), _by_name(suppression.description.output)
    names = (nms.confidenceInputFeatureName, nms.coordinatesInputFeatureName)
    results = (nms.confidenceOutputFeatureName, nms.coordinatesOutputFeatureName)
    if not set(names) <= set(raw) or not set(results) <= set(kept):
        return ["the NonMaximumSuppression model names features that its description lacks"]
    arrays = [feature.type.multiArrayType for feature in (*map(raw.get, names), *map(kept.get, results)) if feature]
    found = []
    if any(array.dataType != _FLOAT32 for array in arrays):
        found.append("confidences and coordinates are not float32")
    shapes = [list(array.shape) for array in arrays[:2]]
    columns = len(nms.stringClassLabels.vector)
    if [len(shape) for shape in shapes] != [2, 2] or shapes[0][0] != shapes[1][0] or shapes[1][1] != 4:
        found.append(f"the raw matrices have shapes {shapes}, not [N, C] and [N, 4]")
    elif shapes[0][1] != columns:
        found.append(f"there are {columns} labels for {shapes[0][1]} columns of confidences")
    return found + _result_shape_problems(arrays[2], arrays[3], columns)


def _result_shape_problems(confidence: Any, coordinates: Any, columns: int) -> list[str]:
    ranges = [array.shapeRange.sizeRanges for array in (confidence, coordinates)]
    if any(array.shape for array in (confidence, coordinates)) or [len(r) for r in ranges] != [2, 2]:
        return ["the results must have a range of two sizes, and no fixed shape"]
    (conf_rows, conf_columns), (box_rows, box_columns) = ranges
    found = []
    if conf_rows != box_rows:
        found.append("confidence and coordinates may have different numbers of rows")
    if not conf_columns.lowerBound == conf_columns.upperBound == columns:
        found.append(f"confidence does not have one column for each of {columns} labels")
    if not box_columns.lowerBound == box_columns.upperBound == 4:
        found.append("coordinates does not have 4 columns")
    return found


def _suppression_problems(model: Any) -> list[str]:
    nms = model.pipeline.models[1].nonMaximumSuppression
    labels = list(nms.stringClassLabels.vector)
    found = []
    if nms.WhichOneof("SuppressionMethod") != "pickTop":
        found.append("the suppression method is not pickTop")
    if not labels or len(set(labels)) != len(labels):
        found.append("the labels are missing or not unique")
    if not 0 <= nms.iouThreshold <= 1 or nms.confidenceThreshold < 0:
        found.append(f"thresholds IoU {nms.iouThreshold} and confidence {nms.confidenceThreshold} are out of range")
    return found


def _metadata_problems(model: Any) -> list[str]:
    missing = [key for key in _METADATA if key not in model.description.metadata.userDefined]
    return [f"metadata lacks {', '.join(missing)}"] if missing else []


_RULES: tuple[Callable[[Any], list[str]], ...] = (
    _version_problems,
    _input_problems,
    _connection_problems,
    _array_problems,
    _suppression_problems,
    _metadata_problems,
)
