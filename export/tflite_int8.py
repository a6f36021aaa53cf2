"""A float graph to an integer one: weights and activations in 8 bits, or weights in 8 and activations in 16.

Weights are symmetric with a scale for each output channel, activations of 8 bits asymmetric with one scale, biases as
wide as sums (TensorFlow Lite 8-bit quantization specification). Decoding and suppression stay float.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgedet.export.tflite_graph import Graph
from edgedet.export.tflite_integer_plan import WEIGHTED, Plan
from edgedet.export.tflite_scales import Integers, constant_integers, weight_scales
from edgedet.quantization.rounding import round_keeping_sums, round_to_nearest

# The lowest version of each operator that has 8-bit and 16-bit integers (op_version.cc of TensorFlow Lite).
_VERSIONS: dict[str, tuple[int, int]] = {
    "ADD": (2, 4), "CONCATENATION": (2, 3), "CONV_2D": (3, 4), "DEPTHWISE_CONV_2D": (3, 5), "FULLY_CONNECTED": (4, 7),
    "LEAKY_RELU": (2, 2), "MAX_POOL_2D": (2, 3), "MEAN": (2, 3), "MUL": (2, 4), "PAD": (2, 2), "RESHAPE": (1, 1),
    "RESIZE_NEAREST_NEIGHBOR": (3, 4), "SLICE": (2, 4), "STRIDED_SLICE": (2, 4), "SUB": (2, 5), "TRANSPOSE": (2, 4),
    "QUANTIZE": (1, 2), "DEQUANTIZE": (2, 4),
}  # fmt: skip
_LARGEST_BIAS = 2.0**30
_FINEST_RATIO = 2.0**-28  # input scale x weight scale / output scale; XNNPACK takes 2 ** -32 and more


def make_integer(graph: Graph, plan: Plan, integers: Mapping[int, Integers]) -> None:
    """Write the plan's operators with integers, QUANTIZE and DEQUANTIZE where they meet float ones.

    Args:
        graph: float; it is changed. Float tensors keep their numbers and names, so that signature and decoder hold.
        plan: of this graph.
        integers: of every tensor of the plan.
    """
    _Writer(graph, integers).write({id(operator) for operator in plan.operators})
    graph.prune()


class _Writer:
    """Goes through the operators once; knows which tensors exist as integers and which as floats so far."""

    def __init__(self, graph: Graph, integers: Mapping[int, Integers]) -> None:
        self.graph = graph
        self.integers = integers
        self.as_integer: dict[int, int] = {}
        self.as_float = {int(tensor) for tensor in graph.main.inputs}
        self.constants: dict[tuple[Any, ...], int] = {}

    def write(self, chosen: set[int]) -> None:
        operators = self.graph.main.operators
        self.graph.main.operators = []
        for operator in operators:
            if id(operator) in chosen:
                self._integer(operator)
            else:
                self._float(operator)
        for tensor in self.graph.main.outputs:
            self._float_of(int(tensor))

    def _float(self, operator: Any) -> None:
        for tensor in operator.inputs:
            self._float_of(int(tensor))
        self.graph.main.operators.append(operator)
        self.as_float.update(int(tensor) for tensor in operator.outputs)

    def _float_of(self, tensor: int) -> None:
        if tensor in self.as_float or tensor not in self.as_integer:
            return
        made = self.graph.add_operator("DEQUANTIZE", (self.as_integer[tensor],), (tensor,), schema.DequantizeOptionsT())
        self._set_version(made, self.integers[tensor].bits)
        self.as_float.add(tensor)

    def _integer_of(self, tensor: int) -> int:
        if tensor not in self.as_integer:
            self.as_integer[tensor] = self._add(tensor)
            made = self.graph.add_operator("QUANTIZE", (tensor,), (self.as_integer[tensor],), schema.QuantizeOptionsT())
            self._set_version(made, self.integers[tensor].bits)
        return self.as_integer[tensor]

    def _add(self, tensor: int) -> int:
        """The integer counterpart of a tensor."""
        chosen = self.integers[tensor]
        name = f"{self.graph.name(tensor)}_{chosen.dtype}"
        made = self.graph.add_tensor(name, self.graph.shape(tensor), chosen.dtype)
        set_integers(self.graph, made, chosen)
        return made

    def _integer(self, operator: Any) -> None:
        name, operator = self.graph.operator_name(operator), copy.copy(operator)
        target = int(operator.outputs[0])
        bits = self.integers[target].bits
        if name in WEIGHTED:
            inputs = self._layer_inputs(operator, WEIGHTED[name])
        else:
            inputs = [self._input(int(tensor), bits) for tensor in operator.inputs]
        self.as_integer[target] = self._add(target)
        operator.inputs = np.asarray(inputs, np.int32)
        operator.outputs = np.asarray([self.as_integer[target]], np.int32)
        if hasattr(operator.builtinOptions, "potScaleInt16"):
            operator.builtinOptions.potScaleInt16 = False
        self._set_version(operator, bits)
        self.graph.main.operators.append(operator)

    def _input(self, tensor: int, bits: int) -> int:
        """An input that is no weight: a value, a float constant, or a shape."""
        value = self.graph.constant(tensor)
        if value is None:
            return self._integer_of(tensor)
        if value.dtype != np.float32:
            return tensor
        chosen = constant_integers(value, bits)
        return self._constant(tensor, (chosen,), chosen.of(value), np.asarray([chosen.scale]), chosen.zero_point)

    def _layer_inputs(self, operator: Any, axis: int) -> list[int]:
        source, weights = int(operator.inputs[0]), int(operator.inputs[1])
        value: Any = self.graph.constant(weights)
        source_scale, target = self.integers[source].scale, self.integers[int(operator.outputs[0])]
        scales = np.maximum(weight_scales(value, axis), target.scale / source_scale * _FINEST_RATIO)
        inputs = [self._integer_of(source)]
        bias: Any = self.graph.constant(int(operator.inputs[2])) if len(operator.inputs) > 2 else None
        if bias is not None:
            scales = np.maximum(scales, np.abs(bias) / (source_scale * _LARGEST_BIAS))
        scales = scales.astype(np.float32)
        along = scales.reshape([-1 if place == axis else 1 for place in range(value.ndim)])
        steps = value / along
        rounded = round_to_nearest(steps) if target.bits == 8 else round_keeping_sums(steps, axis)
        inputs.append(self._constant(weights, (scales.tobytes(),), rounded, scales, 0, axis))
        if bias is not None:
            wide = scales.astype(np.float64) * source_scale
            sums = np.rint(bias / wide).astype(np.int32 if target.bits == 8 else np.int64)
            name = int(operator.inputs[2])
            inputs.append(self._constant(name, (wide.tobytes(),), sums, wide.astype(np.float32), 0))
        return inputs

    def _constant(
        self, tensor: int, key: tuple[Any, ...], value: npt.NDArray[Any], scales: Any, zero: int, axis: int = 0
    ) -> int:
        """A constant's integers; those that several operators read in the same way are written once."""
        known = (tensor, str(value.dtype), *key)
        if known not in self.constants:
            name = f"{self.graph.name(tensor)}_{value.dtype}"
            made = self.graph.add_constant(name, value, str(value.dtype))
            set_scales(self.graph, made, scales, zero, axis)
            self.constants[known] = made
        return self.constants[known]

    def _set_version(self, operator: Any, bits: int) -> None:
        versions = _VERSIONS[self.graph.operator_name(operator)]
        self.graph.set_version(operator, versions[0 if bits == 8 else 1])


def set_integers(graph: Graph, tensor: int, integers: Integers) -> None:
    """Say how a tensor's integers are meant."""
    set_scales(graph, tensor, np.asarray([integers.scale]), integers.zero_point)


def set_scales(graph: Graph, tensor: int, scales: npt.NDArray[Any], zero_point: int, axis: int = 0) -> None:
    """The same with a scale for each index of one axis, where there are several."""
    quantization = schema.QuantizationParametersT()
    quantization.scale = scales.astype(np.float32)
    quantization.zeroPoint = np.full(len(scales), zero_point, np.int64)
    quantization.quantizedDimension = axis
    graph.main.tensors[tensor].quantization = quantization
