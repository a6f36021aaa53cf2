"""Which activations 8 bits cannot hold: each is rounded alone, and the heads are compared with the float program's.

Some networks have a tensor in which a few values lie a hundred times above the rest (the first block of a MobileNetV3,
for one): 255 steps over that range leave the rest a handful, and the boxes are lost. Clipping the range loses the few,
which matter too. Leaving this one tensor in half precision costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from edgedet.export.coreml_integers import Affine
from edgedet.export.coreml_names import BOX_CODES, IMAGE, LOGITS
from edgedet.export.mil_loader import Operation, Program, Variable
from edgedet.export.mil_runtime import Executable
from edgedet.preprocess import UInt8Image

MOST_ERROR = 0.05  # of box codes or logits, in their standard deviations, that one rounded activation may cause
IMAGES = 2
_LEAST_NOISE = 0.02  # rounding noise in standard deviations of the tensor, below which none was seen to do harm


def too_coarse(
    program: Program,
    source: Path,
    affine_of_variable: Mapping[str, Affine],
    reads: Mapping[str, tuple[str, ...]],
    images: Iterable[UInt8Image],
) -> tuple[str, ...]:
    """Variables that, rounded alone, move the heads by more than MOST_ERROR.

    Args:
        program: of floats, in the names of edgedet.export.coreml_places.
        source: of the program, for error messages.
        affine_of_variable: variable to the integers it would become.
        reads: variable to the operators that would read it rounded.
        images: a few (height, width, 3) uint8 network pixels.
    """
    made = [output.name for operation in program.operations for output in operation.outputs]
    heads = tuple(name for name in made if name in {f"{head}{end}" for head in (BOX_CODES, LOGITS) for end in _ENDS})
    inputs = [torch.from_numpy(pixels).permute(2, 0, 1)[None].float() for pixels in images]
    with torch.inference_mode():
        executable = Executable(until(program, (*affine_of_variable, *heads)), source)
        runs = [executable.run({IMAGE: image}, (*affine_of_variable, *heads)) for image in inputs]
        exact = [torch.cat([run[head].flatten() for run in runs]) for head in heads]
        noise = {n: float(a.scale) / 12**0.5 / _spread(run[n] for run in runs) for n, a in affine_of_variable.items()}
        found = []
        for name in (name for name, share in noise.items() if share > _LEAST_NOISE):
            rounded = with_rounding(program, name, affine_of_variable[name], reads[name])
            alone = Executable(until(rounded, heads), source)
            values = [alone.run({IMAGE: image}, heads) for image in inputs]
            moved = [torch.cat([run[head].flatten() for run in values]) for head in heads]
            if any((a - b).std() > MOST_ERROR * b.std() for a, b in zip(moved, exact, strict=True)):
                found.append(name)
    return tuple(found)


_ENDS = ("", "_cast_fp16")  # what the converter appends to a name


def _spread(values: Iterable[Tensor]) -> float:
    return max(float(torch.cat([value.flatten() for value in values]).std()), 1e-12)


def until(program: Program, variables: Iterable[str]) -> Program:
    """The program without what the variables do not need."""
    wanted = tuple(variables)
    needed, kept = set(wanted), []
    for operation in reversed(program.operations):
        if any(output.name in needed for output in operation.outputs):
            kept.append(operation)
            for names in operation.inputs.values():
                needed.update([names] if isinstance(names, str) else names)
    return replace(program, operations=tuple(reversed(kept)), outputs=wanted)


def with_rounding(program: Program, name: str, affine: Affine, readers: Iterable[str]) -> Program:
    """The program with one variable quantized and dequantized for some of the operators that read it."""
    readers, operations = set(readers), []
    scale, zero, dtype, integers, rounded = (f"{name}#{part}" for part in ("scale", "zero", "dtype", "int8", "back"))
    constants = {scale: float(affine.scale), zero: int(affine.zero_point), dtype: "int8"}
    for operation in program.operations:
        if operation.outputs[0].name in readers:
            inputs = {key: _renamed(names, name, rounded) for key, names in operation.inputs.items()}
            operation = replace(operation, inputs=inputs)
        operations.append(operation)
        made = next((output for output in operation.outputs if output.name == name), None)
        if made is not None:
            settings = {"scale": scale, "zero_point": zero}
            there = {"input": name, "output_dtype": dtype, **settings}
            operations.append(Operation("quantize", dict(there), (Variable(integers, "int8", made.shape),)))
            back = {"input": integers, **settings}
            operations.append(Operation("dequantize", dict(back), (Variable(rounded, made.dtype, made.shape),)))
    return replace(program, operations=tuple(operations), constants=program.constants | constants)


def _renamed(names: str | list[str], old: str, new: str) -> str | list[str]:
    if isinstance(names, str):
        return new if names == old else names
    return [new if name == old else name for name in names]
