"""Which operators of a converted program belong to which layer, found by their weights.

Nothing rests on the names that the converter gives: a convolution is a layer's when it holds the layer's numbers,
rounded to half precision or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from edgedet.errors import ExportError
from edgedet.export.layers import Layer
from edgedet.export.mil_loader import Operation, Program

_WEIGHTED = ("conv", "linear")


@dataclass(frozen=True)
class LayerOperation:
    """An operator that computes a layer; a layer that several levels share has several.

    Attributes:
        layer: name of the layer.
        operation: convolution or fully connected operator.
        weight: name of its constant.
    """

    layer: str
    operation: Operation
    weight: str

    @property
    def output(self) -> str:
        return self.operation.outputs[0].name


def layer_operations(program: Program, layers: Sequence[Layer]) -> tuple[LayerOperation, ...]:
    """The operators of all layers, in order of execution.

    Equal layers (copies of each other, weights all zero) are told apart by the order in which they run.

    Args:
        program: converted from the network, with its weights.
        layers: of that network, in order of execution.

    Raises:
        ExportError: a layer whose weights no operator holds, which is a fault of the exporter.
    """
    remaining = {layer.name: _digests(layer.weight) for layer in layers}
    name_of: dict[str, str] = {}  # constant: layer
    found = []
    for operation in program.operations:
        weight = operation.inputs.get("weight")
        if operation.type not in _WEIGHTED or not isinstance(weight, str) or weight not in program.constants:
            continue
        if weight not in name_of:
            digest = _digest(program.constants[weight].numpy())
            name = next((name for name, digests in remaining.items() if digest in digests), None)
            if name is None:
                continue
            del remaining[name]
            name_of[weight] = name
        found.append(LayerOperation(name_of[weight], operation, weight))
    if remaining:
        raise ExportError(f"layer {min(remaining)} was not found in the converted program", "Please report this.")
    return tuple(found)


def _digests(weight: Tensor) -> tuple[tuple[tuple[int, ...], bytes], ...]:
    """Shape and numbers, as single and as half precision constants hold them."""
    values = weight.numpy().astype(np.float32)
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16).astype(np.float32)
    return _digest(values), _digest(halves)


def _digest(values: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    return values.shape, np.ascontiguousarray(values + 0.0).tobytes()  # adding zero: -0 and 0 are one number
