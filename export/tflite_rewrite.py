"""Operators that the converter writes and XNNPACK leaves to the interpreter, written in others that it takes.

Each such operator splits the graph: layouts are converted, threads wait, and an int8 graph falls back to slow kernels.
The rules of EXACT give the same numbers, bit for bit, so float files have them too. What XNNPACK takes was read in
xnnpack_delegate.cc (LiteRT 2.3) and tried; all replacements are operators that the GPU delegate takes as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgedet.export.tflite_graph import Graph

_MOST_CONCATENATED = 5  # inputs of a CONCATENATION that XNNPACK takes
_RELUS = (schema.ActivationFunctionType.RELU, schema.ActivationFunctionType.RELU6)

# An operator to True where the rule applied: it has then appended what stands in the operator's place.
Rule = Callable[[Graph, Any], bool]


def rewrite(graph: Graph, rules: Mapping[str, Rule]) -> None:
    """Go through the operators once, each replaced by what its name's rule says; then drop those without a reader."""
    operators = graph.main.operators
    kept: list[Any] = []
    for operator in list(operators):
        old = len(operators)
        rule = rules.get(graph.operator_name(operator))
        kept += operators[old:] if rule is not None and rule(graph, operator) else [operator]
        del operators[old:]
    graph.main.operators = kept
    graph.prune()


def rewrite_exactly(graph: Graph) -> dict[int, int]:
    """All rules that change no number; gives what `pool_before_leaky` gives."""
    rewrite(graph, EXACT)
    return pool_before_leaky(graph)


def _double_nearest(graph: Graph, operator: Any) -> bool:
    """RESIZE_NEAREST_NEIGHBOR to twice the size: every column doubled, then every row, by joining copies."""
    source, target = int(operator.inputs[0]), int(operator.outputs[0])
    batch, height, width, channels = graph.shape(source)
    if graph.shape(target) != (batch, 2 * height, 2 * width, channels):
        return False
    name = graph.name(target)
    pairs = graph.add_tensor(f"{name}_pairs", (batch, height, width, 2 * channels))
    columns = graph.add_tensor(f"{name}_columns", (batch, height, 2 * width, channels))
    rows = graph.add_tensor(f"{name}_rows", (batch, height, 4 * width, channels))
    _concatenate(graph, [source, source], pairs, 3)
    _reshape(graph, pairs, columns)
    _concatenate(graph, [columns, columns], rows, 2)
    _reshape(graph, rows, target)
    return True


def _few_at_a_time(graph: Graph, operator: Any) -> bool:
    """CONCATENATION of many: the last ones, which are the small levels of a detector, are joined first."""
    inputs, target = [int(tensor) for tensor in operator.inputs], int(operator.outputs[0])
    if len(inputs) <= _MOST_CONCATENATED:
        return False
    axis = operator.builtinOptions.axis
    while len(inputs) > _MOST_CONCATENATED:
        count = min(_MOST_CONCATENATED, len(inputs) - _MOST_CONCATENATED + 1)
        last = inputs[-count:]
        shape = list(graph.shape(last[0]))
        shape[axis] = sum(graph.shape(tensor)[axis] for tensor in last)
        joined = graph.add_tensor(f"{graph.name(target)}_{len(inputs) - count}", shape)
        _concatenate(graph, last, joined, axis)
        inputs = [*inputs[:-count], joined]
    _concatenate(graph, inputs, target, axis)
    return True


def _pool_same(graph: Graph, operator: Any) -> bool:
    """MAX_POOL_2D of a map whose last row and column were repeated: "same" padding leaves outside cells out."""
    options = operator.builtinOptions
    size, stride = (options.filterHeight, options.filterWidth), (options.strideH, options.strideW)
    if options.padding != schema.Padding.VALID:
        return False
    source = _without_repeats(graph, int(operator.inputs[0]))
    before, after = graph.shape(source)[1:3], graph.shape(int(operator.inputs[0]))[1:3]
    if before == after:
        return False
    for old, new, window, step in zip(before, after, size, stride, strict=True):
        padding = (-(-old // step) - 1) * step + window - old
        # "same" puts the smaller half before the map, and there nothing may be added.
        if max(padding, 0) // 2 != 0 or new - old not in (0, 1) or (new > old) > max(padding, 0):
            return False
        if -(-old // step) != (new - window) // step + 1:
            return False
    options.padding = schema.Padding.SAME
    operator.inputs = np.asarray([source], np.int32)
    graph.main.operators.append(operator)
    return True


def _without_repeats(graph: Graph, tensor: int) -> int:
    """What a map was before CONCATENATIONs with a SLICE of its own last row or column."""
    for _ in range(2):
        join = graph.producer(tensor)
        if join is None or graph.operator_name(join) != "CONCATENATION" or len(join.inputs) != 2:
            return tensor
        whole, part = (int(one) for one in join.inputs)
        cut = graph.producer(part)
        if cut is None or graph.operator_name(cut) != "SLICE" or int(cut.inputs[0]) != whole:
            return tensor
        axis = join.builtinOptions.axis
        begin = graph.constant(int(cut.inputs[1]))
        sides = graph.shape(whole)
        expected = [0] * len(sides)
        expected[axis] = sides[axis] - 1
        wanted = tuple(1 if place == axis else side for place, side in enumerate(sides))
        if begin is None or begin.tolist() != expected or graph.shape(part) != wanted:
            return tensor
        tensor = whole
    return tensor


def _pad_with_zero(graph: Graph, operator: Any) -> bool:
    """PADV2 with the lowest number, before a MAX_POOL_2D of values that a ReLU gave: zero is as low as they get."""
    source, paddings, value = (int(tensor) for tensor in operator.inputs)
    producer, low = graph.producer(source), graph.constant(value)
    if producer is None or low is None or float(low) > 0:
        return False
    if getattr(producer.builtinOptions, "fusedActivationFunction", None) not in _RELUS:
        return False
    readers = graph.consumers(int(operator.outputs[0]))
    if any(graph.operator_name(reader) != "MAX_POOL_2D" for reader in readers):
        return False
    graph.add_operator("PAD", (source, paddings), (int(operator.outputs[0]),), schema.PadOptionsT())
    return True


def _cut_by_limits(graph: Graph, operator: Any) -> bool:
    """RELU_0_TO_1 as MAXIMUM and MINIMUM."""
    source, target = int(operator.inputs[0]), int(operator.outputs[0])
    above = graph.add_tensor(f"{graph.name(target)}_above", graph.shape(source))
    for name, value, limit, output in (("MAXIMUM", source, 0.0, above), ("MINIMUM", above, 1.0, target)):
        constant = graph.add_constant(f"{graph.name(target)}_{name.lower()}", limit, "float32")
        graph.add_operator(name, (value, constant), (output,), schema.MaximumMinimumOptionsT())
    return True


EXACT: dict[str, Rule] = {
    "RESIZE_NEAREST_NEIGHBOR": _double_nearest,
    "CONCATENATION": _few_at_a_time,
    "MAX_POOL_2D": _pool_same,
    "PADV2": _pad_with_zero,
    "RELU_0_TO_1": _cut_by_limits,
}


def pool_before_leaky(graph: Graph) -> dict[int, int]:
    """LEAKY_RELU, MAX_POOL_2D to MAX_POOL_2D, LEAKY_RELU: the same values, for both rise, on a quarter of the map.

    Returns:
        The tensor that the LEAKY_RELU gave, to the one that it gives now.
    """
    moved = {}
    for pool in graph.operators("MAX_POOL_2D"):
        leaky = graph.producer(int(pool.inputs[0]))
        if leaky is None or graph.operator_name(leaky) != "LEAKY_RELU":
            continue
        middle, target = int(leaky.outputs[0]), int(pool.outputs[0])
        if len(graph.consumers(middle)) != 1 or leaky.builtinOptions.alpha < 0:
            continue
        pooled = graph.add_tensor(f"{graph.name(target)}_pooled", graph.shape(target))
        pool.inputs, pool.outputs = leaky.inputs, np.asarray([pooled], np.int32)
        leaky.inputs, leaky.outputs = pool.outputs, np.asarray([target], np.int32)
        places = [graph.main.operators.index(one) for one in (leaky, pool)]
        graph.main.operators[places[0]], graph.main.operators[places[1]] = pool, leaky
        moved[middle] = target
    return moved


def _concatenate(graph: Graph, inputs: list[int], output: int, axis: int) -> None:
    options = schema.ConcatenationOptionsT()
    options.axis = axis
    graph.add_operator("CONCATENATION", inputs, (output,), options)


def _reshape(graph: Graph, tensor: int, output: int) -> None:
    shape = graph.shape(output)
    options = schema.ReshapeOptionsT()
    options.newShape = np.asarray(shape, np.int32)
    constant = graph.add_constant(f"{graph.name(output)}_shape", shape, "int32")
    graph.add_operator("RESHAPE", (tensor, constant), (output,), options)
