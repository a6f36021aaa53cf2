"""IntegerWriter: a float ONNX graph and a plan, written as a graph whose integer operators runtimes fuse."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, helper

from edgedet.export.onnx_graph import OnnxGraph
from edgedet.export.onnx_integer_plan import CLIPPING, LAYERS, MOVES, IntegerPlan
from edgedet.export.onnx_qdq import FloatArray, IntegerWeights, QdqWriter, Scale, integer_weights, scales_for_bias

_FLOAT, _INTEGER, _ROUNDED = "_float", "_uint8", "_rounded"


class IntegerWriter:
    """Writes the plan into the graph.

    Args:
        scales: of every 8-bit tensor of the plan.
    """

    def __init__(self, graph: OnnxGraph, plan: IntegerPlan, scales: dict[str, Scale]) -> None:
        self.graph, self.plan = graph, plan
        self.scales = dict(scales)
        self.out = QdqWriter(graph)
        self.outputs = dict(zip(map(id, plan.nodes), plan.outputs, strict=True))
        self._weights: dict[str, tuple[IntegerWeights, str]] = {}

    def write(self) -> None:
        """Replace the graph's nodes."""
        absorbed = {id(node) for node in self.plan.absorbed}
        for node in self.graph.nodes:
            if id(node) in absorbed:
                continue
            if id(node) in self.outputs:
                self._write_integer(node, self.outputs[id(node)])
            else:
                self.out.nodes.append(node)
            for tensor in node.output:
                if tensor in self.plan.taken:
                    self.out.round(self._kept_float(tensor), self.scales[tensor], tensor + _INTEGER)
                    self.out.real(tensor + _INTEGER, self.scales[tensor], tensor + _ROUNDED)
        self.graph.nodes = self.out.nodes
        self.graph.refresh()

    def _kept_float(self, tensor: str) -> str:
        """A tensor that does not change, behind an operator that no runtime looks through.

        Where a convolution with float weights lies between dequantized and quantized tensors, ONNX Runtime rounds its
        weights while loading, with one scale for all channels (weight_bias_quantization.cc). It looks through Relu and
        Clip, but not through Max.
        """
        layer = self._maker_through(tensor, CLIPPING)
        if layer is None or layer.op_type not in LAYERS:
            return tensor
        if id(self._maker_through(layer.input[0], (*CLIPPING, *MOVES))) not in self.outputs:
            return tensor
        lowest = self.graph.constant("lowest_float", np.asarray(np.finfo(np.float32).min, np.float32))
        return self.out.add("Max", [tensor, lowest], f"{tensor}_kept_float")

    def _maker_through(self, tensor: str, kinds: tuple[str, ...]) -> NodeProto | None:
        """What makes a tensor, looked at through operators of these kinds."""
        maker = self.graph.maker(tensor)
        while maker is not None and maker.op_type in kinds:
            maker = self.graph.maker(maker.input[0])
        return maker

    def _write_integer(self, node: NodeProto, output: str) -> None:
        """The node between the tensors it reads and a rounding of what it gives; `output` keeps its name as float."""
        inputs = [self._read(name) for name in node.input]
        if node.op_type in LAYERS:
            inputs = self._layer_inputs(node, inputs[0])
        copy = NodeProto.FromString(node.SerializeToString())
        del copy.input[:], copy.output[:]
        copy.input.extend(inputs)
        copy.output.append(output + _FLOAT)
        if node.op_type == "HardSigmoid":
            self._write_hard_sigmoid(node, output)
        else:
            self.out.nodes.append(copy)
        self.out.round(output + _FLOAT, self.scales[output], output + _INTEGER)
        self.out.real(output + _INTEGER, self.scales[output], output)

    def _read(self, tensor: str) -> str:
        """The name under which an integer node reads a tensor."""
        return tensor + _ROUNDED if tensor in self.plan.taken else tensor

    def _write_hard_sigmoid(self, node: NodeProto, output: str) -> None:
        """clip(alpha * x + beta, 0, 1) as an addition: the input is read by a smaller scale, and rounding clips."""
        settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        tensor = node.input[0]
        smaller = self.scales[tensor].times(settings.get("alpha", 0.2))
        self.out.real(tensor + _INTEGER, smaller, f"{output}_slope")
        beta = settings.get("beta", 0.5)
        constant = Scale(np.float32(beta / 255), np.uint8(0))
        steps = self.graph.constant(f"{output}_beta_uint8", np.full((1, 1, 1, 1), 255, np.uint8))
        self.out.real(steps, constant, f"{output}_beta")
        self.out.add("Add", [f"{output}_slope", f"{output}_beta"], output + _FLOAT)

    def _layer_inputs(self, node: NodeProto, data: str) -> list[str]:
        """Input, weights and bias of a layer, as integers read as floats."""
        name, scale = node.output[0], self.scales[node.input[0]].scale
        weights, real = self._layer_weights(node.input[1])
        bias = self._bias(node)
        if bias is None:
            return [data, real]
        return [data, real, self.out.bias(f"{name}_bias", bias, np.asarray(scale * weights.scales, np.float32))]

    def _bias(self, node: NodeProto) -> FloatArray | None:
        return self.graph.constants[node.input[2]] if len(node.input) > 2 and node.input[2] else None

    def _layer_weights(self, name: str) -> tuple[IntegerWeights, str]:
        """Once, also where several layers share the weights."""
        if name not in self._weights:
            users = [n for n in self.graph.readers(name) if id(n) in self.outputs]
            least = np.zeros(len(self.graph.constants[name]), np.float32)
            for user in users:
                if (bias := self._bias(user)) is not None:
                    least = np.maximum(least, scales_for_bias(bias, float(self.scales[user.input[0]].scale)))
            weights = integer_weights(self.graph.constants[name], least)
            self._weights[name] = weights, self.out.weights(name, weights)
        return self._weights[name]
