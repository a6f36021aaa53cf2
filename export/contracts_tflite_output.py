"""Rules about a .tflite's outputs and their metadata, which the Task Library and MediaPipe share.

Sources: object_detector.cc (tensorflow_lite_support/cc/task/vision), detection_postprocessing_graph.cc
(mediapipe/tasks/cc/components/processors), score_calibration.cc and label_map_item.cc (tensorflow_lite_support/cc/
task/core).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgedet.export.contracts import InapplicableError, Rule, RuleError
from edgedet.export.contracts_postprocess import emitted_classes, postprocess, traced_roles
from edgedet.export.contracts_tflite_input import process_units, tensor_metadata
from edgedet.export.inspect_tflite import Tensor, TfliteFile, label_lines

ROLES = {
    4: ("location", "category", "score", "number of detections"),
    2: ("location", "score"),
}
_RANKS = {"location": 3, "category": 2, "score": 2, "number of detections": 1}
_LABELS = {4: ("category", "TENSOR_VALUE_LABELS"), 2: ("score", "TENSOR_AXIS_LABELS")}
_YXYX = [1, 0, 3, 2]  # where left, top, right and bottom stand in the operator's (ymin, xmin, ymax, xmax)


def need_outputs(file: TfliteFile, *counts: int) -> int:
    """The number of outputs, when the rule speaks about files with so many."""
    if len(file.outputs) not in counts:
        raise InapplicableError(f"the graph has {len(file.outputs)} outputs")
    return len(file.outputs)


def roles(file: TfliteFile) -> dict[str, int]:
    """Position among the outputs of each role, as the libraries find it: by the metadata's names, or by order."""
    count = need_outputs(file, 2, 4)
    described = tensor_metadata(file, "output")
    if len(described) != count:
        raise InapplicableError("the metadata do not describe each output")
    names = [tensor.get("name") for tensor in described]
    wanted = ROLES[count]
    if set(wanted) <= set(names):
        return {role: names.index(role) for role in wanted}
    return {role: place for place, role in enumerate(wanted)}


def tensor_of(file: TfliteFile, role: str) -> Tensor:
    return file.tensors[file.outputs[roles(file)[role]]]


def metadata_of(file: TfliteFile, role: str) -> dict[str, Any]:
    return tensor_metadata(file, "output")[roles(file)[role]]


def _output_count(*counts: int) -> Callable[[TfliteFile], str]:
    def check(file: TfliteFile) -> str:
        if len(file.outputs) not in counts:
            wanted = " or ".join(str(count) for count in counts)
            raise RuleError(f"the graph has {len(file.outputs)} outputs, not {wanted}")
        return f"the graph has {len(file.outputs)} outputs"

    return check


def _output_types(*allowed: str) -> Callable[[TfliteFile], str]:
    def check(file: TfliteFile) -> str:
        need_outputs(file, 2, 4)
        found = sorted({file.tensors[index].dtype for index in file.outputs})
        if len(found) != 1 or found[0] not in allowed:
            raise RuleError(f"the outputs are {', '.join(found)}, not all {' or all '.join(allowed)}")
        return f"all outputs are {found[0]}"

    return check


def _output_metadata(file: TfliteFile) -> str:
    count, described = need_outputs(file, 2, 4), len(tensor_metadata(file, "output"))
    if described != count:
        raise RuleError(f"the metadata describe {described} outputs, the graph has {count}")
    return f"the metadata describe {count} outputs"


def _output_names(file: TfliteFile) -> str:
    wanted = ROLES[need_outputs(file, 2, 4)]
    roles(file)
    names = [tensor.get("name") for tensor in tensor_metadata(file, "output")]
    if set(wanted) <= set(names):
        return "the metadata name every output as the library does"
    if None in names:
        raise RuleError(f"an output has no name in the metadata, {', '.join(wanted)} are expected")
    return f"other names ({', '.join(str(name)[:30] for name in names)}): the library goes by order"


def _output_shapes(file: TfliteFile) -> str:
    need_outputs(file, 4)
    boxes = set()
    for role in ROLES[4]:
        tensor = tensor_of(file, role)
        if not tensor.shape:  # set by TFLite_Detection_PostProcess when the file is loaded
            if postprocess(file) is None:
                raise RuleError(f"output {role} has no shape")
            continue
        shape = list(tensor.shape)
        if len(shape) != _RANKS[role] or shape[0] != 1 or (role == "location" and shape[2] != 4):
            raise RuleError(f"output {role} has shape {shape}")
        boxes.update(shape[1:2])
    if len(boxes) > 1:
        raise RuleError(f"the outputs have different numbers of rows: {sorted(boxes)}")
    return "the shapes are [1, D, 4], [1, D], [1, D] and [1]"


def _output_roles(file: TfliteFile) -> str:
    need_outputs(file, 4)
    if postprocess(file) is None:
        raise InapplicableError("there is no TFLite_Detection_PostProcess")
    traced = traced_roles(file)
    for place, role in enumerate(ROLES[4]):
        sources = traced[file.outputs[roles(file)[role]]]
        if sources != {place}:
            found = ", ".join(ROLES[4][source] for source in sorted(sources)) or "none of its outputs"
            raise RuleError(f"what is taken for {role} comes from the operator's {found}")
    return "each output comes from the operator's output of that role"


def _location_content(file: TfliteFile) -> str:
    content = metadata_of(file, "location").get("content", {})
    if content.get("content_properties_type") != "BoundingBoxProperties" or "content_properties" not in content:
        raise RuleError(f"location's content is {content.get('content_properties_type', 'not stated')}")
    boxes = content["content_properties"]
    if boxes.get("type") != "BOUNDARIES" or boxes.get("coordinate_type", "RATIO") != "RATIO":
        raise RuleError(
            f"location's boxes are {boxes.get('type', 'UNKNOWN')} in {boxes.get('coordinate_type', 'RATIO')}, "
            "not BOUNDARIES in RATIO"
        )
    if len(boxes.get("index", _YXYX)) != 4:
        raise RuleError(f"location's index has {len(boxes['index'])} numbers, not 4")
    return "location's boxes are BOUNDARIES in RATIO"


def _location_order(file: TfliteFile) -> str:
    need_outputs(file, 4)
    if postprocess(file) is None:
        raise InapplicableError("there is no TFLite_Detection_PostProcess")
    boxes = metadata_of(file, "location").get("content", {}).get("content_properties")
    if not isinstance(boxes, dict) or len(boxes.get("index", _YXYX)) != 4:
        raise InapplicableError("location has no sound BoundingBoxProperties")
    index = boxes.get("index", [0, 1, 2, 3])
    if index != _YXYX:
        raise RuleError(f"index is {index}, and the operator gives (ymin, xmin, ymax, xmax)")
    return f"index is {index}, as the operator gives (ymin, xmin, ymax, xmax)"


def _associated(file: TfliteFile, role: str, type: str) -> str | None:
    for entry in metadata_of(file, role).get("associated_files", []):
        if entry.get("type") == type and entry.get("name"):
            return str(entry["name"])
    return None


def _label_name(file: TfliteFile) -> tuple[str, str, str | None]:
    role, type = _LABELS[need_outputs(file, 2, 4)]
    return role, type, _associated(file, role, type)


def _labels(*counts: int) -> Callable[[TfliteFile], str]:
    def check(file: TfliteFile) -> str:
        need_outputs(file, *counts)
        role, type, name = _label_name(file)
        if name is None:
            raise RuleError(f"output {role} has no associated file of type {type}: detections would have no names")
        return f"labels of output {role} are in {name!r}"

    return check


def _packed(file: TfliteFile, name: str) -> bytes:
    packed = file.files.get(name)
    if packed is None:
        raise RuleError(f"{name!r} is not among the appended files")
    if packed.data is None:
        raise RuleError(f"{name!r}: {packed.problem}")
    return packed.data


def _label_file(file: TfliteFile) -> str:
    name = _label_name(file)[2]
    if name is None:
        raise InapplicableError("the metadata name no label file")
    data = _packed(file, name)
    if not data:
        raise RuleError(f"{name!r} is empty")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RuleError(f"{name!r} is not UTF-8") from error
    return f"{name!r} is appended, with {len(label_lines(data))} labels"


def labels_of(file: TfliteFile) -> tuple[str, ...]:
    """The labels that the library would use.

    Raises:
        InapplicableError: it would find none.
    """
    name = _label_name(file)[2]
    packed = file.files.get(name) if name is not None else None
    if packed is None or not packed.data:
        raise InapplicableError("there are no labels")
    return label_lines(packed.data)


def _label_count(file: TfliteFile) -> str:
    need_outputs(file, 4)
    count, classes = len(labels_of(file)), emitted_classes(file, file.outputs[roles(file)["category"]])
    if count < classes:
        raise RuleError(f"there are {count} labels, and class indices up to {classes - 1} may come out")
    return f"there are {count} labels for {classes} classes"


def _score_calibration(file: TfliteFile) -> str:
    need_outputs(file, 4)
    if not process_units(metadata_of(file, "score"), "ScoreCalibrationOptions"):
        raise InapplicableError("scores are not calibrated")
    name = _associated(file, "score", "TENSOR_AXIS_SCORE_CALIBRATION")
    if name is None:
        raise RuleError("ScoreCalibrationOptions without a file of type TENSOR_AXIS_SCORE_CALIBRATION")
    lines = _packed(file, name).decode("utf-8", "replace").split("\n")
    for number, line in enumerate(lines, start=1):
        if line and not _is_sigmoid(line):
            raise RuleError(f"{name!r}, line {number}: not 3 or 4 numbers with a scale that is not negative")
    labels = len(labels_of(file))
    if len(lines) != labels:
        raise RuleError(f"{name!r} has {len(lines)} lines (a last line break counts as one more) for {labels} labels")
    return f"{name!r} calibrates {labels} labels"


def _is_sigmoid(line: str) -> bool:
    parts = line.split(",")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        return False
    return len(values) in (3, 4) and values[0] >= 0 and bool(np.isfinite(values).all())


def output_rules(counts: tuple[int, ...], types: tuple[str, ...]) -> tuple[Rule, ...]:
    """For a library that takes layouts with so many outputs, and outputs of these types."""
    return (
        Rule("output-count", _output_count(*counts), "Export with the outputs of TFLite_Detection_PostProcess."),
        Rule("output-types", _output_types(*types), "Dequantize what leaves the graph."),
        *_EVERY_LAYOUT,
        Rule("labels", _labels(*counts), _ASSOCIATE),
        *_LABEL_CONTENT,
    )


_EVERY_LAYOUT = (
    Rule("output-metadata", _output_metadata, "Give the metadata one TensorMetadata for each output."),
    Rule("output-names", _output_names, "Name the outputs location, category, score, number of detections."),
    Rule("output-shapes", _output_shapes, "Let the outputs be those of TFLite_Detection_PostProcess."),
    Rule("output-roles", _output_roles, "Put the metadata's names in the order of the graph's outputs."),
    Rule(
        "location-content",
        _location_content,
        "Describe location by BoundingBoxProperties: BOUNDARIES, RATIO, index of 4.",
    ),
    Rule("location-order", _location_order, "Set index to [1, 0, 3, 2]."),
)
_ASSOCIATE = (
    "Associate a label file: TENSOR_VALUE_LABELS of category, or TENSOR_AXIS_LABELS of score where 2 outputs are."
)
_LABEL_CONTENT = (
    Rule("label-file", _label_file, "Append the label file, UTF-8, one label a line."),
    Rule("label-count", _label_count, "Give one label for each class; an index without label fails the run."),
    Rule(
        "score-calibration",
        _score_calibration,
        "Append a file with a line `scale,slope,offset[,min score]` per label.",
    ),
)
