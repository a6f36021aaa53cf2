"""The end of a detector's graph: from deltas and class scores to the four outputs, with NMS inside the file.

TFLite_Detection_PostProcess (tensorflow/lite/kernels/detection_postprocess.cc) decodes (y, x, h, w) deltas relative to
anchors, keeps score >= threshold and suppresses IoU > threshold, as `edgedet.nms` does. What it does not know is put
before it, with builtin operators:

- pre_topk: the best `pre_topk` candidates are gathered, best first; TOPK_V2 and the operator's stable sort both leave
  ties in prior order. Left out where there are no more candidates than that.
- labels_per_box "best": every score but the prior's best is set to zero (ARG_MAX takes the lower class on ties).
  Left out for class-agnostic suppression, where the operator itself uses only the best class.
- labels_per_box "all" with candidates to cut, or without regard to class: each (prior, class) pair becomes a row of its
  own that has only this class's score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

from edgedet.export.tflite_graph import Graph
from edgedet.spec import NmsSpec

OPERATOR = "TFLite_Detection_PostProcess"
ANCHORS = "anchors"
OUTPUTS = tuple(OPERATOR + suffix for suffix in ("", ":1", ":2", ":3"))  # names as TensorFlow's own exporter gives them
SIGNATURE_OUTPUTS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
_SWAP_XY = (1, 0, 3, 2)


@dataclass(frozen=True)
class _Rows:
    """What suppression works on: tensors of deltas (1, R, 4), scores (1, R, C) and anchors_yxhw (R, 4), R rows."""

    deltas: int
    scores: int
    anchors: int


def add_postprocess(
    graph: Graph, deltas: int, scores: int, priors_cxcywh: npt.NDArray[np.float32], nms: NmsSpec
) -> tuple[int, ...]:
    """Append everything from deltas and scores to the four outputs.

    Args:
        graph: it is changed.
        deltas: tensor (1, N, 4) float32, `Decoder.deltas`: (dx, dy, dw, dh).
        scores: tensor (1, N, C) float32, `Decoder.scores`.
        priors_cxcywh: (N, 4) in 0..1 of the network input.
        nms: thresholds.

    Returns:
        The output tensors: boxes (1, D, 4) as (ymin, xmin, ymax, xmax) in 0..1, classes (1, D), scores (1, D) and
        count (1,), all float32; rows from count on hold no detection.
    """
    num_priors, num_classes = graph.shape(scores)[1:]
    anchors = graph.add_constant(ANCHORS, priors_cxcywh[:, _SWAP_XY], "float32")
    rows = _Rows(deltas, scores, anchors)
    if nms.labels_per_box == "all" and (nms.class_agnostic or num_priors * num_classes > nms.pre_topk):
        rows = _best_pairs(graph, rows, min(nms.pre_topk, num_priors * num_classes))
    elif nms.labels_per_box == "best":
        if num_priors > nms.pre_topk:
            rows = _best_priors(graph, rows, nms.pre_topk)
        if not nms.class_agnostic and num_classes > 1:
            rows = _only_best_class(graph, rows)
    swapped = _gather(graph, rows.deltas, graph.add_constant("yxhw", _SWAP_XY, "int32"), axis=2, name="deltas_yxhw")
    return _add_operator(graph, _Rows(swapped, rows.scores, rows.anchors), num_classes, nms)


def nms_options(num_classes: int, nms: NmsSpec) -> bytes:
    """The operator's flexbuffer. Scales are 1: the variances are in the deltas already."""
    builder = flexbuffers.Builder()
    with builder.Map():
        builder.Int("max_detections", nms.max_detections)
        builder.Int("max_classes_per_detection", 1)
        builder.Int("detections_per_class", nms.max_detections)
        builder.Bool("use_regular_nms", not nms.class_agnostic)
        builder.Float("nms_score_threshold", float(np.float32(nms.score_min)))
        builder.Float("nms_iou_threshold", _float32_below(nms.iou_max))
        builder.Int("num_classes", num_classes)
        for scale in ("y_scale", "x_scale", "h_scale", "w_scale"):
            builder.Float(scale, 1.0)
    return bytes(builder.Finish())


def _float32_below(value: float) -> float:
    """The largest float32 that is not above: a float32 IoU exceeds it exactly when it exceeds the value itself."""
    rounded = np.float32(value)
    return float(rounded if float(rounded) <= value else np.nextafter(rounded, np.float32(0)))


def _add_operator(graph: Graph, rows: _Rows, num_classes: int, nms: NmsSpec) -> tuple[int, ...]:
    count = nms.max_detections
    shapes = ((1, count, 4), (1, count), (1, count), (1,))
    outputs = tuple(graph.add_tensor(name, shape) for name, shape in zip(OUTPUTS, shapes, strict=True))
    options = nms_options(num_classes, nms)
    graph.add_custom_operator(OPERATOR, (rows.deltas, rows.scores, rows.anchors), outputs, options)
    return outputs


def _best_priors(graph: Graph, rows: _Rows, count: int) -> _Rows:
    """The `count` rows with the best scores."""
    num_priors = graph.shape(rows.scores)[1]
    best = graph.add_tensor("best_scores", (num_priors,))
    axes = graph.add_constant("batch_and_class_axes", (0, 2), "int32")
    options = schema.ReducerOptionsT()
    options.keepDims = False
    graph.add_operator("REDUCE_MAX", (rows.scores, axes), (best,), options)
    _, chosen = _top_k(graph, best, count)
    return _Rows(
        _gather(graph, rows.deltas, chosen, axis=1, name="best_deltas"),
        _gather(graph, rows.scores, chosen, axis=1, name="best_rows"),
        _gather(graph, rows.anchors, chosen, axis=0, name="best_anchors"),
    )


def _only_best_class(graph: Graph, rows: _Rows) -> _Rows:
    """The same rows with every score but the best set to zero."""
    shape = graph.shape(rows.scores)
    best_class = graph.add_tensor("best_class", shape[:2], "int32")
    options = schema.ArgMaxOptionsT()
    options.outputType = schema.TensorType.INT32
    graph.add_operator("ARG_MAX", (rows.scores, graph.add_constant("class_axis", 2, "int32")), (best_class,), options)
    scores = _multiply(graph, rows.scores, _one_hot(graph, best_class, shape[2]), "best_class_scores")
    return _Rows(rows.deltas, scores, rows.anchors)


def _best_pairs(graph: Graph, rows: _Rows, count: int) -> _Rows:
    """The `count` best (prior, class) pairs, each as a row with the score of its class only."""
    num_priors, num_classes = graph.shape(rows.scores)[1:]
    flat = _reshape(graph, rows.scores, (num_priors * num_classes,), "pair_scores")
    values, pairs = _top_k(graph, flat, count)
    divisor = graph.add_constant("num_classes", num_classes, "int32")
    priors = _binary(graph, "FLOOR_DIV", pairs, divisor, "pair_priors")
    classes = _binary(graph, "FLOOR_MOD", pairs, divisor, "pair_classes")
    one_hot = _one_hot(graph, _reshape(graph, classes, (1, count), "pair_classes_row"), num_classes)
    scores = _multiply(graph, one_hot, _reshape(graph, values, (1, count, 1), "pair_values"), "best_pair_scores")
    return _Rows(
        _gather(graph, rows.deltas, priors, axis=1, name="best_deltas"),
        scores,
        _gather(graph, rows.anchors, priors, axis=0, name="best_anchors"),
    )


def _top_k(graph: Graph, values: int, count: int) -> tuple[int, int]:
    """The `count` largest of a vector, best first, and where they stand; equal ones in order."""
    outputs = graph.add_tensor("top_values", (count,)), graph.add_tensor("top_indices", (count,), "int32")
    k = graph.add_constant("pre_topk", count, "int32")
    graph.add_operator("TOPK_V2", (values, k), outputs, schema.TopKV2OptionsT())
    return outputs


def _gather(graph: Graph, tensor: int, indices: int, axis: int, name: str) -> int:
    shape = list(graph.shape(tensor))
    shape[axis] = graph.shape(indices)[0]
    output = graph.add_tensor(name, shape)
    options = schema.GatherOptionsT()
    options.axis = axis
    graph.add_operator("GATHER", (tensor, indices), (output,), options)
    return output


def _one_hot(graph: Graph, classes: int, num_classes: int) -> int:
    """(1, R) int32 to (1, R, C) float32."""
    output = graph.add_tensor("class_one_hot", (*graph.shape(classes), num_classes))
    depth = graph.add_constant("one_hot_depth", num_classes, "int32")
    on, off = graph.add_constant("one", 1.0, "float32"), graph.add_constant("zero", 0.0, "float32")
    options = schema.OneHotOptionsT()
    options.axis = -1
    graph.add_operator("ONE_HOT", (classes, depth, on, off), (output,), options)
    return output


def _multiply(graph: Graph, a: int, b: int, name: str) -> int:
    output = graph.add_tensor(name, np.broadcast_shapes(graph.shape(a), graph.shape(b)))
    graph.add_operator("MUL", (a, b), (output,), schema.MulOptionsT())
    return output


def _binary(graph: Graph, operator: str, a: int, b: int, name: str) -> int:
    """An int32 operator without options of its own."""
    output = graph.add_tensor(name, graph.shape(a), "int32")
    graph.add_operator(operator, (a, b), (output,))
    return output


def _reshape(graph: Graph, tensor: int, shape: tuple[int, ...], name: str) -> int:
    output = graph.add_tensor(name, shape, graph.dtype(tensor))
    options = schema.ReshapeOptionsT()
    options.newShape = np.asarray(shape, np.int32)
    graph.add_operator("RESHAPE", (tensor, graph.add_constant(f"{name}_shape", shape, "int32")), (output,), options)
    return output
