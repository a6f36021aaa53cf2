"""Writing QuantizeLinear and DequantizeLinear around operators, so that runtimes fuse them into integer ones.

Activations are uint8 with a zero point, weights int8, symmetric, with a scale for each output channel, biases int32:
what ONNX Runtime's kernels for x86 (VNNI) and Arm compute fastest (onnxruntime.ai, "Quantize ONNX models").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper

from edgedet.export.onnx_graph import OnnxGraph
from edgedet.quantization.rounding import Rounding, round_to_nearest

FloatArray = npt.NDArray[np.float32]
_LEAST_SCALE = 1e-10  # of a tensor that is zero everywhere
_BIAS_LIMIT = 2.0**30  # half of what int32 holds, so that sums of products still fit beside it


@dataclass(frozen=True)
class Scale:
    """real = scale * (integer - zero_point), of a uint8 tensor."""

    scale: np.float32
    zero_point: np.uint8

    @staticmethod
    def of_range(low: float, high: float) -> Scale:
        """256 steps from low to high; 0 must lie between them and is exact."""
        scale = np.float32(max((high - low) / 255, _LEAST_SCALE))
        return Scale(scale, np.uint8(np.clip(np.rint(-low / scale), 0, 255)))

    def times(self, factor: float) -> Scale:
        return Scale(np.float32(self.scale * np.float32(factor)), self.zero_point)


@dataclass(frozen=True)
class IntegerWeights:
    """(C, ...) int8 weights, and (C,) scales."""

    values: npt.NDArray[np.int8]
    scales: FloatArray


def scales_for_bias(bias: FloatArray, input_scale: float) -> FloatArray:
    """The least scales of weights with which a (C,) bias fits int32 in steps of input scale x weight scale."""
    return np.asarray(np.abs(bias) / (np.float32(input_scale) * np.float32(_BIAS_LIMIT)), np.float32)


def integer_weights(
    weights: FloatArray, least_scales: FloatArray | float = 0.0, rounding: Rounding = round_to_nearest
) -> IntegerWeights:
    """Round weights, symmetric, each output channel to its own scale.

    Args:
        weights: (C, ...).
        least_scales: (C,); channels of next to no weight get larger scales than they need.
        rounding: of weights in steps of their scales; to the nearest is what training for int8 does.
    """
    rows = weights.reshape(len(weights), -1)
    scales = np.maximum(np.maximum(np.abs(rows).max(1) / 127, _LEAST_SCALE), least_scales).astype(np.float32)
    return IntegerWeights(rounding(rows / scales[:, None]).reshape(weights.shape), scales)


class QdqWriter:
    """Adds nodes and constants to `graph`; the nodes come out in `nodes`, in the order they were added."""

    def __init__(self, graph: OnnxGraph) -> None:
        self.graph = graph
        self.nodes: list[NodeProto] = []

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{kind}_{output}", **attributes))
        return output

    def round(self, tensor: str, scale: Scale, name: str) -> str:
        """Float tensor to uint8; returns `name`."""
        return self.add("QuantizeLinear", [tensor, *self._constants(name, scale)], name)

    def real(self, integers: str, scale: Scale, name: str) -> str:
        """uint8 tensor to float; returns `name`."""
        return self.add("DequantizeLinear", [integers, *self._constants(f"{name}_of", scale)], name)

    def folded_weights(self, name: str, weights: IntegerWeights) -> str:
        """The float weights that integers stand for, computed once when the file is loaded.

        ONNX Runtime folds Cast and Mul of constants while loading. It never folds DequantizeLinear, whose output the
        blocked convolutions do not take: with it, SSDLite at 320 px was 3.6 x slower than the float file.
        """
        shape = (-1, *(1 for _ in weights.values.shape[1:]))
        integers = self.graph.constant(f"{name}_int8", weights.values)
        scales = self.graph.constant(f"{name}_scale", weights.scales.reshape(shape))
        floats = self.add("Cast", [integers], f"{name}_steps", to=TensorProto.FLOAT)
        return self.add("Mul", [floats, scales], f"{name}_real")

    def weights(self, name: str, weights: IntegerWeights) -> str:
        """The float weights that integers stand for, for an operator that is fused to an integer one."""
        zeros = np.zeros(len(weights.scales), np.int8)
        inputs = [
            self.graph.constant(f"{name}_int8", weights.values),
            self.graph.constant(f"{name}_scale", weights.scales),
            self.graph.constant(f"{name}_zero_point", zeros),
        ]
        return self.add("DequantizeLinear", inputs, f"{name}_real", axis=0)

    def bias(self, name: str, bias: FloatArray, scales: FloatArray) -> str:
        """The float bias that int32 in steps of `scales` stands for."""
        limit = 2**31 - 1
        values = np.clip(np.rint(bias.astype(np.float64) / scales), -limit, limit).astype(np.int32)
        inputs = [
            self.graph.constant(f"{name}_int32", values),
            self.graph.constant(f"{name}_scale", scales),
            self.graph.constant(f"{name}_zero_point", np.zeros(len(scales), np.int32)),
        ]
        return self.add("DequantizeLinear", inputs, f"{name}_real", axis=0)

    def _constants(self, name: str, scale: Scale) -> list[str]:
        return [
            self.graph.constant(f"{name}_scale", np.asarray(scale.scale, np.float32)),
            self.graph.constant(f"{name}_zero_point", np.asarray(scale.zero_point, np.uint8)),
        ]
