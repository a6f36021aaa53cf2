"""Where an integer program of Core ML holds 8-bit activations, decided on the float program before it is changed.

An integer operator reads 8-bit inputs: each convolution and fully connected layer that shall be integer, and each
pooling or addition that only integer layers feed; these are the patterns that coremltools quantizes too
(coremltools.optimize.coreml.linear_quantize_activations, 9.0). The last layers' outputs, box codes and logits, stay in
float, and so does all that decodes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgedet.export.coreml_layers import LayerOperation
from edgedet.export.mil_loader import Operation, Program

_FOLLOWERS = ("add", "avg_pool", "max_pool")
# Operators that an activation function is made of: what they give is still the layer's output.
_ELEMENTWISE = {"add", "clip", "leaky_relu", "maximum", "minimum", "mul", "real_div", "relu", "relu6", "sigmoid"} | {
    "sigmoid_hard", "silu", "softplus", "sub", "tanh", "thresholded_relu",
}  # fmt: skip


@dataclass(frozen=True)
class Places:
    """What becomes integer.

    Attributes:
        reads: variable to the operators (named by their first output) that shall read it as 8-bit integers.
        layer_of: variable of `reads` to the layer whose output, after its activation function, it is; absent where it
            is the image, or joins several layers.
    """

    reads: dict[str, tuple[str, ...]]
    layer_of: dict[str, str]


def places_of(program: Program, operations: Sequence[LayerOperation], float_layers: Sequence[str]) -> Places:
    """Find the places.

    Args:
        program: in half precision up to the heads' outputs, and in single precision behind them.
        operations: of all layers.
        float_layers: names of layers to keep in float.
    """
    layer_of_result = {found.output: found.layer for found in operations}
    half = {out.name for operation in program.operations for out in operation.outputs if out.dtype == "fp16"}
    integer: set[str] = set()  # variables that only integer layers have made
    sources: dict[str, frozenset[str]] = {}  # variable: the layers whose outputs it is made of, by activation functions
    reads: dict[str, list[str]] = {}
    for operation in program.operations:
        result = operation.outputs[0].name
        inputs = [name for name in _computed(operation, program) if name in half]
        layer = layer_of_result.get(result)
        if layer is not None:
            wanted = layer not in float_layers
            sources[result] = frozenset((layer,))
        else:
            wanted = bool(inputs) and all(name in integer for name in inputs)
            known = operation.type in _ELEMENTWISE and all(sources.get(name) for name in inputs)
            sources[result] = frozenset().union(*(sources[name] for name in inputs)) if known else frozenset()
        if wanted and result in half:
            integer.update(out.name for out in operation.outputs)
            if layer is not None or _follows(operation, inputs):
                for name in inputs:
                    reads.setdefault(name, []).append(result)
    return Places(
        {name: tuple(readers) for name, readers in reads.items()},
        {name: next(iter(sources[name])) for name in reads if len(sources.get(name, ())) == 1},
    )


def _follows(operation: Operation, inputs: Sequence[str]) -> bool:
    """A pooling, or an addition of two computed values: one with a constant is part of an activation function."""
    return operation.type in _FOLLOWERS and (operation.type != "add" or len(inputs) == 2)


def _computed(operation: Operation, program: Program) -> list[str]:
    names = [name for value in operation.inputs.values() for name in ([value] if isinstance(value, str) else value)]
    return [name for name in names if name not in program.constants]
