from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from edgedet.errors import ModelFileError
from edgedet.export.coreml_library import MIL_pb2
from edgedet.export.coreml_package import read_package
from edgedet.export.mil_blob import BlobFile
from edgedet.export.mil_loader import load_program
from tests.export.mil_programs import mb, save

WEIGHTS = torch.arange(24, dtype=torch.float32).reshape(4, 6)


def _package(path: Path) -> Path:
    return save(path, lambda x: mb.add(x=x, y=WEIGHTS.numpy(), name="sum"), (4, 6))


def test_reads_types_names_and_constants(tmp_path: Path) -> None:
    package = read_package(_package(tmp_path / "p.mlpackage"))
    program = load_program(package.model.mlProgram, package.weights_dir, package.path)
    assert [(v.name, v.dtype, v.shape) for v in program.inputs] == [("x", "fp32", (4, 6))]
    assert [operation.type for operation in program.operations] == ["add"]
    assert program.outputs == ("sum",)
    (constant,) = [value for value in program.constants.values() if isinstance(value, torch.Tensor)]
    assert torch.equal(constant, WEIGHTS)


def test_half_precision_constants_in_file_and_in_place(tmp_path: Path) -> None:
    small, large = np.array([0.1, 0.2], np.float16), np.full((2, 40), 0.3, np.float16)
    path = save(
        tmp_path / "p.mlpackage",
        lambda x: (mb.add(x=mb.cast(x=x, dtype="fp16"), y=small), mb.identity(x=large)),
        (1, 2),
    )
    package = read_package(path)
    program = load_program(package.model.mlProgram, package.weights_dir, path)
    tensors = [value for value in program.constants.values() if isinstance(value, torch.Tensor)]
    assert {tuple(t.shape) for t in tensors} == {(2,), (2, 40)}
    assert all(t.dtype == torch.float32 for t in tensors)
    assert sorted(float(t.flatten()[0]) for t in tensors) == [float(np.float16(0.1)), float(np.float16(0.3))]


def test_program_without_main_function(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no main function"):
        load_program(MIL_pb2.Program(), tmp_path, tmp_path / "p.mlpackage")


def test_unknown_value_type_and_control_flow(tmp_path: Path) -> None:
    package = read_package(_package(tmp_path / "p.mlpackage"))
    function = package.model.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    block.operations[-1].outputs[0].type.tensorType.dataType = MIL_pb2.DataType.Value("INT64")
    with pytest.raises(ModelFileError, match="INT64"):
        load_program(package.model.mlProgram, package.weights_dir, package.path)
    block.operations[-1].blocks.add()
    with pytest.raises(ModelFileError, match="control flow"):
        load_program(package.model.mlProgram, package.weights_dir, package.path)


def test_constant_that_does_not_fill_its_shape(tmp_path: Path) -> None:
    package = read_package(_package(tmp_path / "p.mlpackage"))
    function = package.model.mlProgram.functions["main"]
    constant = next(o for o in function.block_specializations[function.opset].operations if o.type == "const")
    constant.attributes["val"].type.tensorType.dimensions[0].constant.size = 5
    with pytest.raises(ModelFileError, match="does not fill its shape"):
        load_program(package.model.mlProgram, package.weights_dir, package.path)


def _blob_file(path: Path) -> Path:
    """Header, one entry at 64 that points to two float32 at 128."""
    header = struct.pack("<II", 1, 2).ljust(64, b"\0")
    entry = struct.pack("<IIQQ", 0xDEADBEEF, 2, 8, 128).ljust(64, b"\0")
    path.write_bytes(header + entry + struct.pack("<ff", 1.5, -2.0))
    return path


def test_blob_file_by_hand(tmp_path: Path) -> None:
    assert BlobFile(_blob_file(tmp_path / "weight.bin")).read(64).tolist() == [1.5, -2.0]


@pytest.mark.parametrize(
    ("length", "offset", "message"),
    [
        (132, 64, "truncated"),
        (100, 64, "truncated|readable"),
        (136, 128, "truncated"),
        (136, 100, "no readable weight"),
    ],
)
def test_damaged_blob_file(tmp_path: Path, length: int, offset: int, message: str) -> None:
    path = _blob_file(tmp_path / "weight.bin")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ModelFileError, match=rf"weight\.bin.*({message})"):
        BlobFile(path).read(offset)


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"PK" * 50])
def test_file_that_is_no_blob_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weight.bin").write_bytes(content)
    with pytest.raises(ModelFileError, match="not a weight file"):
        BlobFile(tmp_path / "weight.bin")


def test_missing_blob_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot be read"):
        BlobFile(tmp_path / "weight.bin")
