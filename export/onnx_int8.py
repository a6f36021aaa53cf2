"""Integer ONNX files: 8-bit weights and activations, or 8-bit weights alone; decoding and suppression stay in float.

The traced float graph is changed in memory, before suppression is joined to it. Nothing here depends on the names that
torch's exporter gives: layers are found by the values of their weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import NodeProto, helper

from edgedet.export.calibrate import CalibrationSet
from edgedet.export.deployable import Deployable
from edgedet.export.layers import layers_of
from edgedet.export.onnx_float_layers import narrow_behind, pool_first
from edgedet.export.onnx_graph import OnnxGraph
from edgedet.export.onnx_integer_plan import IntegerPlan, layer_names, plan_integers
from edgedet.export.onnx_integer_writer import IntegerWriter
from edgedet.export.onnx_qdq import QdqWriter, Scale, integer_weights
from edgedet.export.onnx_ranges import Range, measure_ranges
from edgedet.quantization import BEFORE_ACTIVATION
from edgedet.quantization.rounding import round_keeping_sums

_BOUNDED = {"Sigmoid": (0.0, 1.0), "HardSigmoid": (0.0, 1.0)}
_BEHIND_FLOATS = ("Relu", "Clip", "LeakyRelu", "HardSwish", "MaxPool")
_ACTIVATIONS = ("LeakyRelu", "Sigmoid", "HardSigmoid", "Mul")  # Mul: the second half of a HardSwish


def make_integer(
    model: onnx.ModelProto,
    deployable: Deployable,
    float_layers: Sequence[str],
    calibration: CalibrationSet,
    image: str,
    heads: tuple[str, ...],
) -> None:
    """Let layers, and what lies between them, compute in 8 bits, in place.

    Args:
        model: float, from `image` (1, 3, H, W) of values 0..255.
        float_layers: names of layers that stay as they are.
        heads: names of the raw heads; what depends on them stays in float.
    """
    graph = OnnxGraph(model.graph)
    named = _named_layers(graph, deployable, heads)
    kept = [node for node in graph.nodes if set(named.get(id(node), ())) & set(float_layers)]
    kept += [narrow for node in kept if (narrow := narrow_behind(graph, node)) is not None]
    for node in kept:
        pool_first(graph, node)
    floats = {id(node): named[id(node)] for node in kept}
    integer = {key: names for key, names in named.items() if key not in floats}
    _prepare(graph, heads, integer)
    graph.store()
    plan = plan_integers(graph, heads, integer)
    learned = _learned_ranges(graph, plan, integer, deployable.activation_ranges)
    learned |= _learned_by_floats(graph, plan, floats, deployable.activation_ranges)
    bounded = {node.output[0]: _BOUNDED[node.op_type] for node in plan.nodes if node.op_type in _BOUNDED}
    ranges = bounded | learned
    ranges |= measure_ranges(model, image, [t for t in plan.scaled() if t not in ranges], calibration)
    scales = {tensor: Scale.of_range(*ranges[plan.scale_of[tensor]]) for tensor in plan.scale_of}
    IntegerWriter(graph, plan, scales).write()
    graph.nodes = graph.before(value.name for value in model.graph.output)
    graph.store()


def store_weights_as_int8(
    model: onnx.ModelProto, deployable: Deployable, float_layers: Sequence[str], heads: tuple[str, ...]
) -> None:
    """Store the weights of layers as int8 with a scale for each output channel, in place; they compute in float."""
    graph = OnnxGraph(model.graph)
    named = _named_layers(graph, deployable, heads)
    writer = QdqWriter(graph)
    real: dict[str, str] = {}
    for node in graph.nodes:
        if id(node) in named and not set(named[id(node)]) & set(float_layers):
            weights = node.input[1]
            if weights not in real:
                real[weights] = writer.folded_weights(
                    weights, integer_weights(graph.constants[weights], rounding=round_keeping_sums)
                )
            node.input[1] = real[weights]
        writer.nodes.append(node)
    graph.nodes = writer.nodes
    graph.store()


def _named_layers(graph: OnnxGraph, deployable: Deployable, heads: tuple[str, ...]) -> dict[int, tuple[str, ...]]:
    """id of each node with weights to the names of its layer."""
    found = layer_names(graph, graph.before(heads), layers_of(deployable))
    return {key: names for key, names in found.items() if names}


def _prepare(graph: OnnxGraph, heads: tuple[str, ...], integer: dict[int, tuple[str, ...]]) -> None:
    """Say the same with operators that have an integer kernel, in place."""
    nodes: list[NodeProto] = []
    inside = {id(node) for node in graph.before(heads)}
    for node in graph.nodes:
        if node.op_type == "HardSwish" and id(graph.maker(node.input[0])) in integer:
            gate = f"{node.output[0]}_gate"
            nodes.append(helper.make_node("HardSigmoid", [node.input[0]], [gate], alpha=1 / 6, beta=0.5))
            nodes.append(helper.make_node("Mul", [node.input[0], gate], [node.output[0]]))
        elif node.op_type == "ReduceMean" and id(node) in inside and _is_global_average(graph, node):
            nodes.append(helper.make_node("GlobalAveragePool", [node.input[0]], [node.output[0]]))
        else:
            nodes.append(node)
    graph.nodes = nodes
    graph.refresh()


def _is_global_average(graph: OnnxGraph, node: NodeProto) -> bool:
    """Over height and width, which stay as dimensions of size 1."""
    keeps = all(a.i == 1 for a in node.attribute if a.name == "keepdims")
    axes = graph.constants.get(node.input[1]) if len(node.input) > 1 else None
    return keeps and axes is not None and sorted(int(a) % 4 for a in np.ravel(axes)) == [2, 3]


def _learned_ranges(
    graph: OnnxGraph, plan: IntegerPlan, integer: dict[int, tuple[str, ...]], learned: dict[str, tuple[float, float]]
) -> dict[str, Range]:
    """The ranges that training with fake quantization gave, by tensor."""
    found: dict[str, Range] = {}
    for node, output in zip(plan.nodes, plan.outputs, strict=True):
        if id(node) not in integer:
            continue
        after = _after_activation(graph, output)
        for name in integer[id(node)]:
            if before := learned.get(name + BEFORE_ACTIVATION):
                found[output] = before
            if name in learned and not (before and after == output):  # else its activation has a form not known here
                found[after] = learned[name]
    holds_zero = {tensor: (min(low, 0.0), max(high, 0.0)) for tensor, (low, high) in found.items()}
    assert all(math.isfinite(end) for ends in holds_zero.values() for end in ends)
    return {tensor: ends for tensor, ends in holds_zero.items() if plan.scale_of.get(tensor) == tensor}


def _learned_by_floats(
    graph: OnnxGraph, plan: IntegerPlan, floats: dict[int, tuple[str, ...]], learned: dict[str, tuple[float, float]]
) -> dict[str, Range]:
    """The range of what float layers hand on to 8-bit ones, as training gave it for the layer that makes it."""
    found: dict[str, Range] = {}
    for node in graph.nodes:
        for name in set(floats.get(id(node), ())) & set(learned):
            tensor = str(node.output[0])
            while len(readers := graph.readers(tensor)) == 1 and readers[0].op_type in _BEHIND_FLOATS:
                tensor = str(readers[0].output[0])
            if plan.scale_of.get(tensor) == tensor:
                found[tensor] = (min(learned[name][0], 0.0), max(learned[name][1], 0.0))
    return found


def _after_activation(graph: OnnxGraph, tensor: str) -> str:
    """The tensor behind the activation that is all that reads a layer's output, or the output itself."""
    readers = graph.readers(tensor)
    if not readers or readers[-1].op_type not in _ACTIVATIONS:
        return tensor
    is_activation = len(readers) == 1 and len(graph.data_inputs(readers[0])) == 1
    is_hard_swish = [node.op_type for node in readers] == ["HardSigmoid", "Mul"] and (
        set(readers[1].input) == {tensor, readers[0].output[0]}
    )
    return str(readers[-1].output[0]) if is_activation or is_hard_swish else tensor
