"""Which operators of a float graph become integer ones, and which tensors then share a scale."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from edgedet.export.tflite_graph import Graph

# Layers, with the axis of their weights that the output's channels lie on.
WEIGHTED = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
# The output has a scale of its own.
RESCALING = ("ADD", "SUB", "MUL", "LEAKY_RELU", "MEAN")
# Values are only moved: output and inputs must have one scale.
MOVING = (
    "RESHAPE", "MAX_POOL_2D", "PAD", "SLICE", "STRIDED_SLICE", "TRANSPOSE", "CONCATENATION", "RESIZE_NEAREST_NEIGHBOR",
)  # fmt: skip

_NARROW = 16  # channels


@dataclass(frozen=True)
class Plan:
    """What becomes of a graph.

    Attributes:
        operators: those that become integer ones, in running order.
        groups: the tensors that they read and write, in lists of those that share a scale.
    """

    operators: tuple[Any, ...]
    groups: tuple[tuple[int, ...], ...]

    def tensors(self) -> tuple[int, ...]:
        return tuple(tensor for group in self.groups for tensor in group)


def make_plan(graph: Graph, heads: Iterable[int], floats: Collection[int]) -> Plan:
    """Everything up to the heads, where it can be had, but what only moves values for float readers.

    So each level's box codes have a scale of their own, and so have its logits: they are joined as floats. And a PAD
    stays beside its convolution, into which XNNPACK draws it.

    Args:
        graph: float.
        heads: box codes and logits.
        floats: `id` of layers that stay float.
    """
    chosen = _supported(graph, _before(graph, heads), floats)
    for operator in reversed(chosen.copy()):
        if graph.operator_name(operator) in MOVING and not _feeds(graph, operator, chosen):
            chosen.remove(operator)
    return Plan(tuple(chosen), _groups(graph, chosen))


def narrow_behind(graph: Graph, floats: Collection[int]) -> list[Any]:
    """The 1x1 layers of few output channels that alone read a depthwise float layer: float is faster there too.

    MobileNetV3's third layer gives 16 channels, where XNNPACK's int8 kernels compute up to 64: 0.62 ms in 8 bits, 0.17
    ms in float (Xeon with AMX); and the sum behind it needs one QUANTIZE, not two.
    """
    found = []
    for operator in graph.operators("DEPTHWISE_CONV_2D"):
        readers = graph.consumers(int(operator.outputs[0])) if id(operator) in floats else []
        if len(readers) == 1 and _is_narrow(graph, readers[0]):
            found += readers
    return found


def _is_narrow(graph: Graph, operator: Any) -> bool:
    if graph.operator_name(operator) != "CONV_2D":
        return False
    outputs, height, width, _ = graph.shape(int(operator.inputs[1]))
    return outputs <= _NARROW and (height, width) == (1, 1)


def activations(graph: Graph, operator: Any) -> list[int]:
    """The inputs that are no constants."""
    return [int(tensor) for tensor in operator.inputs if tensor >= 0 and graph.constant(int(tensor)) is None]


def _before(graph: Graph, tensors: Iterable[int]) -> list[Any]:
    """The operators that these tensors need, in running order."""
    needed, found = set(tensors), []
    for operator in reversed(graph.main.operators):
        if not needed.isdisjoint(int(tensor) for tensor in operator.outputs):
            found.append(operator)
            needed.update(int(tensor) for tensor in operator.inputs)
    return found[::-1]


def _supported(graph: Graph, operators: list[Any], floats: Collection[int]) -> list[Any]:
    """Layers, and what else has an integer form and reads integers or the image."""
    integer = {int(tensor) for tensor in graph.main.inputs}
    chosen = []
    for operator in operators:
        name = graph.operator_name(operator)
        reads = not integer.isdisjoint(activations(graph, operator))
        known = reads and name in (*RESCALING, *MOVING)
        if (name in WEIGHTED and id(operator) not in floats) or known:
            chosen.append(operator)
            integer.update(int(tensor) for tensor in operator.outputs)
    return chosen


def _feeds(graph: Graph, operator: Any, chosen: list[Any]) -> bool:
    """Whether an integer operator reads what this one gives."""
    outputs = {int(tensor) for tensor in operator.outputs}
    return any(not outputs.isdisjoint(activations(graph, reader)) for reader in chosen)


def _groups(graph: Graph, chosen: list[Any]) -> tuple[tuple[int, ...], ...]:
    parent: dict[int, int] = {}

    def root(tensor: int) -> int:
        while parent.setdefault(tensor, tensor) != tensor:
            tensor = parent[tensor]
        return tensor

    for operator in chosen:
        tensors = [*activations(graph, operator), *(int(tensor) for tensor in operator.outputs)]
        roots = [root(tensor) for tensor in tensors]
        if graph.operator_name(operator) in MOVING:
            for other in roots[1:]:
                parent[root(other)] = root(roots[0])
    members: dict[int, list[int]] = {}
    for tensor in parent:
        members.setdefault(root(tensor), []).append(tensor)
    return tuple(tuple(group) for group in members.values())
