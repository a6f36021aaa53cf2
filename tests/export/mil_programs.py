"""Small ML programs made by hand, saved as packages and loaded again by the reference runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgedet.export.coreml_library import ct, only_errors
from edgedet.export.coreml_package import read_package
from edgedet.export.mil_loader import load_program
from edgedet.export.mil_runtime import Executable

with only_errors():
    from coremltools.converters import mil

mb = mil.Builder  # the name that MIL programs are written with everywhere

__all__ = ["mb", "run", "save", "saved_executable"]


def save(path: Path, build: Callable[..., Any], *shapes: tuple[int, ...]) -> Path:
    """Save a program of float inputs x, y with the given shapes; no pass of the converter changes it."""

    def one(x: Any) -> Any:
        return build(x)

    def two(x: Any, y: Any) -> Any:
        return build(x, y)

    with only_errors():
        specs = [mb.TensorSpec(shape=shape) for shape in shapes]
        program = mb.program(input_specs=specs, opset_version=ct.target.iOS15)(one if len(shapes) == 1 else two)
        model = ct.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS15,
            compute_precision=ct.precision.FLOAT32,
            pass_pipeline=ct.PassPipeline.EMPTY,
            skip_model_load=True,
        )
        model.save(str(path))
    return path


def saved_executable(path: Path) -> Executable:
    """What is in the package, ready to run."""
    package = read_package(path)
    return Executable(load_program(package.model.mlProgram, package.weights_dir, path), path)


def run(path: Path, build: Callable[..., Any], *inputs: Tensor) -> list[Tensor]:
    """Save, load and run a program on float32 inputs; its outputs in order."""
    executable = saved_executable(save(path, build, *(tuple(tensor.shape) for tensor in inputs)))
    names = executable.program.outputs
    with torch.inference_mode():
        values = executable.run(dict(zip(("x", "y"), inputs, strict=False)), names)
    return [values[name] for name in names]
