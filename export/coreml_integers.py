"""Integers in an ML program: 8-bit weights with a scale a channel, quantize and dequantize around activations.

A device that computes in integers takes `dequantize -> convolution -> activation function -> quantize` as one integer
operation; any other computes each operator in half precision from the rounded values. coremltools' own passes would do
the same work, but divide by a scale of zero where all weights of a channel are zero, and round weights in half
precision; these round once, from single precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedet.export.coreml_library import ct, only_errors
from edgedet.quantization.rounding import Rounding, round_to_nearest

with only_errors():
    from coremltools.converters import mil
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.converters.mil.mil.passes.helper import block_context_manager

mb = mil.Builder

_WEIGHT_MAX = 127
_STEPS = 255
_LEAST_HALF = np.float16(2.0**-14)  # the smallest number that keeps all 11 bits


@dataclass(frozen=True)
class Affine:
    """value = scale * (integer - zero_point); the scale is one that half precision has."""

    scale: np.float16
    zero_point: np.int8


def affine_of(low: float, high: float) -> Affine:
    """Scale and zero point of a range for integers of -128..127. It is widened to hold 0, which pads convolutions."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(np.float16((high - low) / _STEPS), _LEAST_HALF)
    zero_point = np.clip(np.round(-128 - low / float(scale)), -128, 127)
    return Affine(scale, np.int8(zero_point))


def quantized_weight(
    weight: npt.NDArray[Any], rounding: Rounding = round_to_nearest
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float16]]:
    """(C, ...) weights to integers of -127..127, and (C,) scales: weight = scale * integer, as near as can be."""
    values = weight.astype(np.float32)
    exact = np.abs(values).reshape(len(values), -1).max(axis=1) / _WEIGHT_MAX
    scale = exact.astype(np.float16)
    scale = np.where(scale < exact, np.nextafter(scale, np.float16(np.inf)), scale)  # the largest must not be cut off
    scale = np.where(exact == 0, np.float16(1), scale)
    return rounding(values / scale.astype(np.float32).reshape(-1, *[1] * (values.ndim - 1))), scale


class _OverEachBlock(AbstractGraphPass):  # type: ignore[misc]
    """A pass of coremltools that edits the block of each function; inside, the builder knows the target's operators."""

    def apply(self, prog: Any) -> None:
        edit = block_context_manager(self.edit)
        for function in prog.functions.values():
            edit(function)

    def edit(self, block: Any) -> None:
        raise NotImplementedError


class IntegerWeights(_OverEachBlock):
    """Stores constants as 8-bit integers.

    Args:
        weights: name of a constant to its (C, ...) weights in single precision, C output channels.
        rounding: of weights in steps of their scales.
    """

    def __init__(self, weights: Mapping[str, npt.NDArray[Any]], rounding: Rounding) -> None:
        self.weights, self.rounding = weights, rounding

    def edit(self, block: Any) -> None:
        for op in list(block.operations):
            if op.op_type == "const" and op.outputs[0].name in self.weights:
                new = _dense_of(*quantized_weight(self.weights[op.outputs[0].name], self.rounding), before=op)
                block.replace_uses_of_var_after_op(
                    anchor_op=op, old_var=op.outputs[0], new_var=new, no_check_var_types=True
                )
                block.remove_ops([op])


def _dense_of(integers: npt.NDArray[np.int8], scale: npt.NDArray[np.float16], before: Any) -> Any:
    """The constexpr that gives the weight back, in the form of the program's target."""
    name = f"{before.name}_integers"
    if before.enclosing_block.opset_version >= ct.target.iOS18:
        blocks = scale.reshape(-1, *[1] * (integers.ndim - 1))
        return mb.constexpr_blockwise_shift_scale(data=integers, scale=blocks, before_op=before, name=name)
    zeros = np.zeros(len(scale), np.int8)
    return mb.constexpr_affine_dequantize(
        quantized_data=integers, scale=scale, zero_point=zeros, axis=np.int32(0), before_op=before, name=name
    )


class IntegerActivations(_OverEachBlock):
    """Puts a pair of quantize and dequantize behind variables, for some of the operators that read them.

    Args:
        affine_of_variable: name of a variable to its scale and zero point.
        reads: name of a variable to the operators, by their first output, that shall read the rounded one.
    """

    def __init__(self, affine_of_variable: Mapping[str, Affine], reads: Mapping[str, tuple[str, ...]]) -> None:
        self.affine_of_variable = affine_of_variable
        self.reads = reads

    def edit(self, block: Any) -> None:
        for op in list(block.operations):
            for variable in op.outputs:
                if variable.name in self.affine_of_variable:
                    self._insert(block, op, variable)

    def _insert(self, block: Any, op: Any, variable: Any) -> None:
        affine, operations = self.affine_of_variable[variable.name], list(block.operations)
        after = operations[operations.index(op) + 1]
        readers = [reader for reader in variable.child_ops if reader.outputs[0].name in self.reads[variable.name]]
        integers = mb.quantize(
            input=variable, scale=affine.scale, zero_point=affine.zero_point, output_dtype="int8",
            before_op=after, name=f"{variable.name}_int8",
        )  # fmt: skip
        rounded = mb.dequantize(
            input=integers, scale=affine.scale, zero_point=affine.zero_point,
            before_op=after, name=f"{variable.name}_rounded",
        )  # fmt: skip
        for reader in readers:
            operations = list(block.operations)
            before = operations[operations.index(reader) - 1]  # replaces in all operators behind it: only the reader
            block.replace_uses_of_var_after_op(anchor_op=before, end_op=reader, old_var=variable, new_var=rounded)
