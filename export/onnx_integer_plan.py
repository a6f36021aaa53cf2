"""Which operators of a float ONNX graph compute in 8 bits, and which tensors are 8-bit for that.

ONNX Runtime fuses "dequantize, operator, quantize" into an integer operator for the kinds listed here
(onnxruntime/core/optimizer/qdq_transformer/selectors_actions/qdq_selector_action_transformer.cc); around any other, the
two conversions would only cost time. What comes after the last layer, decoding above all, stays in float.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from onnx import NodeProto

from edgedet.export.layers import Layer
from edgedet.export.onnx_graph import OnnxGraph

LAYERS = ("Conv", "Gemm")
_ARITHMETIC = (
    *("Add", "Mul", "Concat", "LeakyRelu", "Sigmoid", "HardSigmoid", "AveragePool", "GlobalAveragePool"),
    *("Relu", "Clip"),
)
MOVES = ("MaxPool", "Reshape", "Transpose", "Slice", "Resize", "Squeeze", "Unsqueeze", "Flatten")  # same scale behind
CLIPPING = ("Relu", "Clip")
FUSED = (*LAYERS, *_ARITHMETIC, *MOVES, "MatMul", "ReduceMean", "Where", "Split", "Gather", "Expand", "Tile")


@dataclass
class IntegerPlan:
    """What the writer needs to know.

    Attributes:
        nodes: that compute in 8 bits, in order; outputs: the 8-bit tensor that each of them makes.
        absorbed: Relu or Clip whose work the rounding of the tensor does, with the node before it.
        taken: float tensors that such a node reads, and that are rounded for it.
        scale_of: 8-bit tensor to the one whose scale it has: itself, or what a MOVES node got it from.
    """

    nodes: list[NodeProto] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    absorbed: list[NodeProto] = field(default_factory=list)
    taken: dict[str, None] = field(default_factory=dict)
    scale_of: dict[str, str] = field(default_factory=dict)

    def scaled(self) -> list[str]:
        """Tensors that have a range of their own."""
        return list(dict.fromkeys(self.scale_of.values()))


def layer_names(graph: OnnxGraph, nodes: Iterable[NodeProto], layers: Iterable[Layer]) -> dict[int, tuple[str, ...]]:
    """id of each node with weights to the names of the layers with just these weights."""
    by_value: dict[tuple[tuple[int, ...], bytes], tuple[str, ...]] = {}
    for layer in layers:
        key = tuple(layer.weight.shape), layer.weight.numpy().tobytes()
        by_value[key] = (*by_value.get(key, ()), layer.name)
    return {
        id(node): by_value.get((weight.shape, weight.tobytes()), ())
        for node in nodes
        if node.op_type in LAYERS and (weight := graph.constants.get(node.input[1])) is not None
    }


def plan_integers(graph: OnnxGraph, ends: Collection[str], names: dict[int, tuple[str, ...]]) -> IntegerPlan:
    """Choose operators and tensors.

    Args:
        ends: the raw heads: nothing behind them is touched.
        names: id of each node that is to be an integer layer.
    """
    inside = graph.before(ends)
    needed = _before_layers(graph, inside, names)
    plan, absorbed = IntegerPlan(), set[int]()
    for node in inside:
        if id(node) in absorbed:
            continue
        if id(node) in names or (id(node) in needed and _is_joined(graph, node, plan)):
            clip = _absorbable(graph, node)
            if clip is not None:
                absorbed.add(id(clip))
                plan.absorbed.append(clip)
            _add(graph, plan, node, (clip or node).output[0])
    return plan


def _before_layers(graph: OnnxGraph, inside: list[NodeProto], names: Collection[int]) -> set[int]:
    """Nodes whose output reaches an integer layer."""
    found, live = set[int](), set[str]()
    for node in reversed(inside):
        if id(node) in names or any(name in live for name in node.output):
            found.add(id(node))
            live.update(node.input)
    return found


def _is_joined(graph: OnnxGraph, node: NodeProto, plan: IntegerPlan) -> bool:
    """Whether an operator between layers gets 8-bit tensors only, and can compute with them."""
    inputs = graph.data_inputs(node)
    if node.op_type in MOVES:
        return node.input[0] in plan.outputs and len(inputs) == 1
    several = len(node.input) if node.op_type in ("Add", "Mul", "Concat") else 1
    return node.op_type in _ARITHMETIC and len(inputs) == several and all(name in plan.outputs for name in inputs)


def _absorbable(graph: OnnxGraph, node: NodeProto) -> NodeProto | None:
    """A Relu or Clip from 0 on that is all that reads the node: a range that starts at 0 does the same."""
    readers = graph.readers(node.output[0])
    if node.op_type in (*MOVES, *CLIPPING) or len(readers) != 1 or readers[0].op_type not in CLIPPING:
        return None
    clip = readers[0]
    if clip.op_type == "Relu":
        return clip
    low = graph.constants.get(clip.input[1]) if len(clip.input) > 1 else None
    return clip if low is not None and float(low) == 0 else None


def _add(graph: OnnxGraph, plan: IntegerPlan, node: NodeProto, output: str) -> None:
    plan.nodes.append(node)
    for name in graph.data_inputs(node):
        if name not in plan.outputs:
            plan.taken[name] = None
            plan.scale_of.setdefault(name, name)
    plan.outputs.append(output)
    plan.scale_of[output] = plan.scale_of[node.input[0]] if node.op_type in MOVES else output
