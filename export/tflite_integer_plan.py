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

_FEW_CHANNELS = 4
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


def stem(graph: Graph) -> list[Any]:
    """The first layer, a depthwise one and a narrow one behind it: these are faster in float than in 8 bits.

    XNNPACK's integer kernels fill up three channels to a whole register for each place of the filter: the first layer
    of MobileNetV2 at 320 px took 0.81 ms in 8 bits and 0.34 ms in float (Xeon with AMX), that of Tiny-YOLOv3 a fifth
    of the whole network. In float the image needs no integers either. MobileNetV3's second layer reads channels whose
    ranges differ a hundredfold; float has no scale that they would share. Its third one gives 16 channels, where int8
    kernels compute up to 64: 0.62 ms in 8 bits, 0.17 ms in float; and the sum behind it needs one QUANTIZE, not two.
    """
    first, *others = graph.operators(*WEIGHTED)
    if graph.shape(int(first.inputs[0]))[-1] > _FEW_CHANNELS:
        return []
    found = [first]
    if others and graph.operator_name(others[0]) == "DEPTHWISE_CONV_2D":
        found += others[:1]
        narrow = [op for op in others[1:2] if graph.shape(int(op.outputs[0]))[-1] <= _NARROW]
        found += [op for op in narrow if int(op.inputs[0]) == int(others[0].outputs[0])]
    return found


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
