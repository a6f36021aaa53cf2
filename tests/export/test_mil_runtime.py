from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from edgedet.errors import ModelFileError, NotRunError
from edgedet.export.coreml_package import read_package
from edgedet.export.mil_loader import Operation, Program, Variable, load_program
from edgedet.export.mil_runtime import Executable
from tests.export.mil_programs import mb, run, save, saved_executable


def test_half_precision_rounds_the_result_of_every_operator(tmp_path: Path) -> None:
    """0.1 is 1638 / 2**14 in half precision; its square, 1310.08 / 2**17, is 1310 / 2**17."""

    def build(x: Any) -> Any:
        tenth = mb.cast(x=x, dtype="fp16")
        return tenth, mb.mul(x=tenth, y=tenth)

    tenth, square = run(tmp_path / "half.mlpackage", build, torch.full((1, 2), 0.1))
    assert tenth.tolist() == [[1638 / 2**14] * 2]
    assert square.tolist() == [[1310 / 2**17] * 2]


def test_half_precision_overflows(tmp_path: Path) -> None:
    (result,) = run(
        tmp_path / "big.mlpackage", lambda x: mb.cast(x=x, dtype="fp16"), torch.tensor([[65504.0, 70000.0]])
    )
    assert result.tolist() == [[65504.0, float("inf")]]


def test_any_variable_can_be_read(tmp_path: Path) -> None:
    path = save(tmp_path / "p.mlpackage", lambda x: mb.exp(x=mb.mul(x=x, y=2.0, name="doubled")), (1, 3))
    values = saved_executable(path).run({"x": torch.ones(1, 3)}, ["doubled"])
    assert values["doubled"].tolist() == [[2.0, 2.0, 2.0]]


def test_unknown_operator_is_named_with_its_file(tmp_path: Path) -> None:
    path = save(tmp_path / "odd.mlpackage", lambda x: mb.erf(x=mb.cumsum(x=x, axis=0)), (2, 3))
    with pytest.raises(NotRunError, match=r"odd\.mlpackage.*cumsum, erf"):
        saved_executable(path)


def _program(path: Path) -> Program:
    package = read_package(save(path, lambda x: mb.relu(x=x), (1, 3)))
    return load_program(package.model.mlProgram, package.weights_dir, path)


def test_undefined_name_is_refused(tmp_path: Path) -> None:
    program = _program(tmp_path / "p.mlpackage")
    broken = replace(program, operations=(Operation("relu", {"x": "nowhere"}, program.operations[0].outputs),))
    with pytest.raises(ModelFileError, match="nowhere"):
        Executable(broken, tmp_path)
    with pytest.raises(ModelFileError, match="never"):
        Executable(replace(program, outputs=("never",)), tmp_path)


def test_result_of_another_shape_than_declared_is_refused(tmp_path: Path) -> None:
    program = _program(tmp_path / "p.mlpackage")
    output = program.operations[0].outputs[0]
    broken = replace(
        program, operations=(replace(program.operations[0], outputs=(Variable(output.name, "fp32", (1, 4)),)),)
    )
    with pytest.raises(ModelFileError, match=r"\(1, 3\), declared is \(1, 4\)"):
        Executable(broken, tmp_path).run({"x": torch.ones(1, 3)}, [output.name])
