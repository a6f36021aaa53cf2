"""Which operators of a converted graph belong to which layer of the network: found by the values of the weights.

The converter keeps weights to the bit and only turns their axes round; names and order are its own affair.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from torch import Tensor

from edgedet.errors import ExportError
from edgedet.export.layers import Layer
from edgedet.export.tflite_graph import Graph
from edgedet.export.tflite_integer_plan import WEIGHTED

_RELU6 = schema.ActivationFunctionType.RELU6
_ACTIVATIONS = ("LEAKY_RELU", "HARD_SWISH", "RELU", "RELU6", "LOGISTIC")


def operators_of_layers(graph: Graph, layers: Sequence[Layer]) -> dict[str, list[Any]]:
    """Layer name to its operators, in running order: several where levels share a head.

    Args:
        graph: as the converter wrote it.

    Raises:
        ExportError: a layer has no operator, so the converter changed its weights.
    """
    by_weights: dict[str, list[Any]] = {}
    for operator in graph.operators(*WEIGHTED):
        weights = graph.constant(int(operator.inputs[1]))
        if weights is not None:
            by_weights.setdefault(_digest(weights), []).append(operator)
    found = {layer.name: by_weights.get(_digest(_as_tflite(layer.weight, layer.is_depthwise)), []) for layer in layers}
    if missing := [name for name, operators in found.items() if not operators]:
        raise ExportError(
            f"no operator of the converted graph has the weights of layer {missing[0]}",
            "Export without mixed precision or ranges from training; report this network.",
        )
    return found


def activation_of(graph: Graph, operator: Any, is_own: bool) -> int | None:
    """The tensor behind a layer's activation function.

    Args:
        graph: as the converter wrote it.
        is_own: whether the function is more than a limit, so that it is an operator of its own in the network.

    Returns:
        The layer's own output where the function is fused or there is none; None where the converter has written it in
        a form that is not known here.
    """
    output = int(operator.outputs[0])
    readers = graph.consumers(output)
    alone = readers[0] if len(readers) == 1 else None
    if alone is not None and graph.operator_name(alone) in _ACTIVATIONS:
        return int(alone.outputs[0])
    if not is_own:
        return output
    return int(alone.outputs[0]) if alone is not None and _ends_hard_sigmoid(graph, operator, alone) else None


def _ends_hard_sigmoid(graph: Graph, operator: Any, reader: Any) -> bool:
    """relu6(x + 3) / 6: the layer's bias has the 3, its fused function is the RELU6, and a MUL follows."""
    if operator.builtinOptions.fusedActivationFunction != _RELU6 or graph.operator_name(reader) != "MUL":
        return False
    factor = graph.constant(int(reader.inputs[1]))
    return factor is not None and factor.size == 1


def _as_tflite(weight: Tensor, depthwise: bool) -> npt.NDArray[Any]:
    """torch's (out, in, height, width) as (out, height, width, in), a depthwise one as (1, height, width, out)."""
    value: npt.NDArray[Any] = weight.detach().cpu().numpy()
    if value.ndim != 4:
        return value
    return value.transpose(1, 2, 3, 0) if depthwise else value.transpose(0, 2, 3, 1)


def _digest(value: npt.NDArray[Any]) -> str:
    content = np.ascontiguousarray(value, np.float32)
    return hashlib.sha256(repr(content.shape).encode() + content.tobytes()).hexdigest()
