"""The hazards of 8-bit .tflite files, whoever made them, as the flatbuffer shows them; nothing is run.

What XNNPACK takes: edgedet.export.tflite_delegate. Values of 16 bits have 256 times the steps: joining and outliers do
them no harm, and no delegate takes them, so rules speak of 8 bits only.
"""

from __future__ import annotations

import math

import numpy as np

from edgedet.export import int8_hazards as hazards
from edgedet.export.contracts import InapplicableError, RuleError, apply_rules
from edgedet.export.findings import Finding
from edgedet.export.inspect_tflite import Operator, TfliteFile
from edgedet.export.tflite_delegate import INT8_OPERATORS, MOST_JOINED, RATIOS
from edgedet.export.tflite_integer_view import BOUNDED, CHANNEL_AXES, JOINS, IntegerGraph, Layer

_EXPONENTIAL = ("SOFTMAX", "LOG_SOFTMAX", "EXP")


def _joined_ranges(graph: IntegerGraph) -> str:
    found = [(op, graph.rounded(op)) for op in graph.operators if op.name in JOINS]
    joins = [(op, result) for op, result in found if result is not None and graph.is_8_bit(result)]
    for operator, result in joins:
        sources = [graph.source(tensor) for tensor in graph.values(operator)]
        known = [width for width in (*(source.width for source in sources), graph.width(result)) if width]
        if len(known) > 1 and hazards.are_unlike(known):
            raise RuleError(hazards.joined(graph.name(result)[:80], max(known), min(known)))
        makers = [source.maker for source in sources if source.maker is not None and source.maker.outputs]
        bounded = [graph.name(maker.outputs[0]) for maker in makers if maker.name in BOUNDED]
        layers = [graph.name(maker.outputs[0]) for maker in makers if maker.name in CHANNEL_AXES]
        if bounded and layers and (graph.width(result) or 0.0) <= 1:
            raise RuleError(hazards.joined_kinds(graph.name(result), bounded[0], layers[0]))
    return f"{len(joins)} joins in 8 bits, all of like ranges"


def _outliers(graph: IntegerGraph) -> str:
    _ = graph.operators
    widths: dict[int, float] = {}
    for layer in graph.layers:
        result = graph.rounded(layer.operator)
        width = graph.width(result) if result is not None else None
        widths[layer.weights] = max(width or 0.0, widths.get(layer.weights, 0.0))
    for weights, width in widths.items():
        ratio = hazards.outlier_ratio(np.asarray(graph.file.tensors[weights].scales, np.float32), width)
        if ratio is not None:
            raise RuleError(hazards.outlying(graph.name(weights), ratio, width))
    return "no layer's output hides small channels behind a large one, as far as the scales tell"


def _softmax(graph: IntegerGraph) -> str:
    found = [op.name for op in graph.operators if op.name in _EXPONENTIAL and any(map(graph.is_8_bit, op.outputs))]
    if found:
        raise RuleError(hazards.counted("exponentials in 8 bits", found))
    return "softmax and exp are computed in float"


def _batch_norm(graph: IntegerGraph) -> str:
    found = [graph.name(op.outputs[0]) for op in graph.operators if op.name == "MUL" and _is_batch_norm(graph, op)]
    if found:
        raise RuleError(hazards.counted("batch norms, as MUL and ADD, beside 8-bit layers", found))
    return "batch norms are folded"


def _is_batch_norm(graph: IntegerGraph, multiply: Operator) -> bool:
    """A factor and then a summand for each channel of a layer's output: converters write what they did not fold so."""
    values = graph.values(multiply)
    if len(values) != 1 or not multiply.outputs or not _has_channel_constant(graph, multiply):
        return False
    maker = graph.source(values[0]).maker
    readers = graph.readers.get(multiply.outputs[0], [])
    adds = len(readers) == 1 and readers[0].name in ("ADD", "SUB") and _has_channel_constant(graph, readers[0])
    return adds and maker is not None and maker.name in CHANNEL_AXES


def _has_channel_constant(graph: IntegerGraph, operator: Operator) -> bool:
    """A constant of (1, ..., C) for an output of (..., C)."""
    if len(operator.inputs) != 2:  # a hostile file may have a million
        return False
    output = graph.tensor(operator.outputs[0]) if operator.outputs else None
    channels = output.shape[-1] if output is not None and output.shape else 1
    shapes = [graph.file.tensors[tensor].shape for tensor in operator.inputs if graph.is_constant(tensor)]
    return channels > 1 and any(shape and shape[-1] == channels and set(shape[:-1]) <= {1} for shape in shapes)


def _per_channel(graph: IntegerGraph) -> str:
    """Fully connected layers aside: TensorFlow Lite's specification has one scale for them."""
    _ = graph.operators
    layers = [layer for layer in graph.layers if layer.operator.name != "FULLY_CONNECTED"]
    if not layers:
        raise InapplicableError("no convolution has 8-bit weights")
    found = [graph.name(layer.weights) for layer in layers if _has_one_scale(graph, layer)]
    if found:
        raise RuleError(hazards.counted(f"of {len(layers)} convolutions have one scale for all channels", found))
    return f"{len(layers)} convolutions, each with a scale for each channel"


def _has_one_scale(graph: IntegerGraph, layer: Layer) -> bool:
    weights, axis = graph.file.tensors[layer.weights], CHANNEL_AXES[layer.operator.name]
    shape = weights.shape or ()
    return len(weights.scales) == 1 and len(shape) > axis and shape[axis] > 1


def _unfused(graph: IntegerGraph) -> str:
    found = [reason for op in graph.operators if (reason := _left_out(graph, op))]
    mixed = [layer for layer in graph.layers if layer.direct and graph.file.tensors[layer.data].dtype == "float32"]
    found += [f"{layer.operator.name} of floats with 8-bit weights" for layer in mixed if _is_left_out(graph, layer)]
    if found:
        raise RuleError(hazards.counted("operators on 8-bit tensors that XNNPACK leaves to the interpreter", found))
    return "XNNPACK takes every operator on 8-bit tensors"


def _left_out(graph: IntegerGraph, operator: Operator) -> str:
    """The operator and why XNNPACK does not take it; empty when it does, and for exponentials: they have a rule."""
    name = operator.name
    if not graph.computes_8_bit(operator) or name in _EXPONENTIAL:
        return ""
    if name not in INT8_OPERATORS:
        return name
    if name == "CONCATENATION" and len(operator.inputs) > MOST_JOINED:
        return f"{name} of {len(operator.inputs)} tensors"
    if name == "CONCATENATION" and len({graph.width(tensor) for tensor in (*operator.inputs, *operator.outputs)}) > 1:
        return f"{name} of unlike scales"
    strides = graph.file.constant(operator.inputs[3]) if name == "STRIDED_SLICE" and len(operator.inputs) > 3 else None
    if strides is not None and bool(np.any(strides != 1)):
        return f"{name} with a step"
    low, high = RATIOS.get(name, (0.0, math.inf))
    odd = [ratio for ratio in _ratios(graph, operator) if not low <= ratio < high]
    return f"{name} whose scales of input and output are in a ratio of {odd[0]:.3g}" if odd else ""


def _ratios(graph: IntegerGraph, operator: Operator) -> list[float]:
    """Scales of the inputs, or their product, to that of the output."""
    target = graph.scale(operator.outputs[0])
    inputs = [scale for tensor in operator.inputs if (scale := graph.scale(tensor))]
    if target is None or operator.name not in RATIOS:
        return []
    if operator.name == "MUL":
        return [math.prod(inputs) / target]
    if operator.name not in CHANNEL_AXES:
        return [scale / target for scale in inputs]
    layer = graph.layer_of.get(id(operator))
    source = graph.scale(layer.data) if layer is not None else None
    if layer is None or source is None:
        return []
    return [source * scale / target for scale in graph.finest_and_coarsest[layer.weights]]


def _is_left_out(graph: IntegerGraph, layer: Layer) -> bool:
    """Of layers that round their input while they run."""
    return layer.operator.name == "DEPTHWISE_CONV_2D" or graph.file.tensors[layer.weights].dtype == "uint8"


RULES = hazards.rules(
    {
        hazards.JOINED_RANGES: _joined_ranges,
        hazards.OUTLIERS: _outliers,
        hazards.SOFTMAX: _softmax,
        hazards.BATCH_NORM: _batch_norm,
        hazards.PER_CHANNEL: _per_channel,
        hazards.UNFUSED: _unfused,
    }
)


def findings(file: TfliteFile) -> list[Finding]:
    """One finding for each rule; none applies to a file without integers that have a scale."""
    return apply_rules(RULES, IntegerGraph(file))
