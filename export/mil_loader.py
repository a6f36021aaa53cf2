"""Reading a saved ML program: the protobuf (MIL.proto of the Core ML format) to plain data with constants resolved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgedet.errors import ModelFileError
from edgedet.export.coreml_library import MIL_pb2
from edgedet.export.mil_blob import BlobFile
from edgedet.export.mil_constexpr import CONSTEXPRS

# A constant as operators get it: float arrays are tensors; the rest (strides, axes, names, flags) is plain Python.
Constant = Any

_DTYPES = {"FLOAT16": "fp16", "FLOAT32": "fp32", "BOOL": "bool", "STRING": "string"} | {
    f"{sign}INT{bits}": f"{sign.lower()}int{bits}" for sign in ("", "U") for bits in (1, 2, 3, 4, 6, 8, 16, 32)
}
_NUMPY_FLOATS = {"fp16": np.float16, "fp32": np.float32}
_BYTES = {"fp16": "f2", "fp32": "f4", "int8": "i1", "int16": "i2", "int32": "i4"}
_BYTES |= {"uint8": "u1", "uint16": "u2", "uint32": "u4"}
_REMEDY = "Give a package exported by edgedet; it may be damaged or written for another system."


@dataclass(frozen=True)
class Variable:
    """Name and type of a value: dtype is "fp16", "fp32", "bool" or an integer type such as "int32".

    A dimension of None is not fixed; a shape of None is not declared at all.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Operation:
    """One operator: its MIL name, the names of its arguments (a list where the operator takes several), its results."""

    type: str
    inputs: dict[str, str | list[str]]
    outputs: tuple[Variable, ...]


@dataclass(frozen=True)
class Program:
    """The main function of an ML program. Operations are in order of execution.

    `constants` has every const by name, and every weight that is stored compressed, as the dense tensor it stands for.
    """

    inputs: tuple[Variable, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]
    constants: dict[str, Constant]


_LISTS = {"concat": "values", "stack": "values"}  # operator: its argument that is a list even when it holds one value


def load_program(program: Any, weights_dir: Path | None, source: Path) -> Program:
    """Read the main function.

    Args:
        program: MIL_pb2.Program of the saved specification.
        weights_dir: folder of the files that constants point into; without it, such constants are None, which is enough
            to look at a program and too little to run it.
        source: the package, for error messages.

    Raises:
        ModelFileError: no main function, control flow, value types that no edgedet export holds, or damaged weights.
    """
    function = program.functions.get("main") if "main" in program.functions else None
    if function is None or function.opset not in function.block_specializations:
        raise ModelFileError(f"{source}: the ML program has no main function", _REMEDY)
    block = function.block_specializations[function.opset]
    reader = _ConstantReader(weights_dir, source)
    operations = []
    for operation in block.operations:
        if operation.blocks:
            raise ModelFileError(f"{source}: operator {operation.type} holds control flow", _REMEDY)
        if operation.type == "const":
            if not operation.outputs or "val" not in operation.attributes:
                raise ModelFileError(f"{source}: a constant has no name or no value", _REMEDY)
            reader.add(operation.outputs[0].name, operation.attributes["val"])
        elif operation.type in CONSTEXPRS:
            reader.add_compressed(operation)
        else:
            operations.append(_operation(operation, reader, source))
    inputs = tuple(_variable(value, source) for value in function.inputs)
    return Program(inputs, tuple(operations), tuple(block.outputs), reader.constants)


def _operation(operation: Any, reader: _ConstantReader, source: Path) -> Operation:
    inputs: dict[str, str | list[str]] = {}
    for parameter, argument in operation.inputs.items():
        names = [reader.name_of(binding, f"{operation.type}.{parameter}") for binding in argument.arguments]
        inputs[parameter] = names if len(names) != 1 or _LISTS.get(operation.type) == parameter else names[0]
    return Operation(operation.type, inputs, tuple(_variable(value, source) for value in operation.outputs))


def _variable(value: Any, source: Path) -> Variable:
    dtype, shape = _tensor_type(value.type, source)
    return Variable(value.name, dtype, shape)


def _tensor_type(kind: Any, source: Path) -> tuple[str, tuple[int | None, ...]]:
    number = kind.tensorType.dataType
    name = MIL_pb2.DataType.Name(number) if number in MIL_pb2.DataType.values() else f"type {number}"
    if kind.WhichOneof("type") != "tensorType" or name not in _DTYPES:
        raise ModelFileError(f"{source}: a value has type {name}, which no edgedet export holds", _REMEDY)
    sizes = (d.constant.size if d.WhichOneof("dimension") == "constant" else None for d in kind.tensorType.dimensions)
    return _DTYPES[name], tuple(sizes)


class _ConstantReader:
    """Collects constants: `const` operations, and values written directly as arguments."""

    def __init__(self, weights_dir: Path | None, source: Path) -> None:
        self.constants: dict[str, Constant] = {}
        self._weights_dir = weights_dir
        self._source = source
        self._blobs: dict[str, BlobFile] = {}

    def add(self, name: str, value: Any) -> None:
        array, dtype = self._array(name, value)
        self.constants[name] = None if array is None else _as_constant(array, dtype)

    def add_compressed(self, operation: Any) -> None:
        """The dense weight of a constexpr operator, rounded to the type that the program declares for it.

        Arguments are attributes up to iOS 17, and inputs since: values, or names of other such weights.
        """
        if len(operation.outputs) != 1:
            raise ModelFileError(f"{self._source}: operator {operation.type} has no result", _REMEDY)
        name = operation.outputs[0].name
        dtype, shape = _tensor_type(operation.outputs[0].type, self._source)
        values = {key: value for key, value in operation.attributes.items() if key != "name"}
        arguments = {key: self._array(f"{name}.{key}", value)[0] for key, value in values.items()}
        for key, argument in operation.inputs.items():
            arguments[key] = self._argument(f"{name}.{key}", argument)
        if any(array is None for array in arguments.values()):
            self.constants[name] = None
            return
        try:
            dense = CONSTEXPRS[operation.type](**arguments)
        except (ValueError, IndexError, TypeError) as error:
            raise ModelFileError(
                f"{self._source}: the compressed weight {name} is damaged ({operation.type}: {error})", _REMEDY
            ) from error
        if dense.shape != shape:
            raise ModelFileError(f"{self._source}: {name} unpacks to {dense.shape}, declared is {shape}", _REMEDY)
        self.constants[name] = _as_constant(dense.astype(_NUMPY_FLOATS.get(dtype, dense.dtype)), dtype)

    def _argument(self, where: str, argument: Any) -> Any:
        binding = argument.arguments[0] if len(argument.arguments) == 1 else None
        if binding is not None and binding.WhichOneof("binding") == "value":
            return self._array(where, binding.value)[0]
        if binding is None or binding.name not in self.constants:
            raise ModelFileError(f"{self._source}: {where} is no constant of the program", _REMEDY)
        return None if self.constants[binding.name] is None else np.asarray(self.constants[binding.name])

    def _array(self, name: str, value: Any) -> tuple[Any, str]:
        """A stored value in its own number type, and the name of that; None where the weight files are not there."""
        dtype, shape = _tensor_type(value.type, self._source)
        if value.WhichOneof("value") == "blobFileValue":
            if self._weights_dir is None:
                return None, dtype
            array = self._blob(self._weights_dir, value.blobFileValue.fileName).read(value.blobFileValue.offset)
        else:
            array = _immediate(value.immediateValue.tensor, dtype)
        try:
            return array.reshape([size or 0 for size in shape]), dtype
        except ValueError as error:
            raise ModelFileError(f"{self._source}: constant {name} does not fill its shape {shape}", _REMEDY) from error

    def name_of(self, binding: Any, where: str) -> str:
        """The variable an argument refers to; a value in its place becomes a constant of its own."""
        if binding.WhichOneof("binding") == "name":
            return str(binding.name)
        name = f"{where}#{len(self.constants)}"
        self.add(name, binding.value)
        return name

    def _blob(self, weights_dir: Path, file_name: str) -> BlobFile:
        name = file_name.rsplit("/", 1)[-1]
        if name not in self._blobs:
            self._blobs[name] = BlobFile(weights_dir / name)
        return self._blobs[name]


def _immediate(tensor: Any, dtype: str) -> Any:
    """A tensor written into the protobuf itself; half precision is stored as raw bytes."""
    field = tensor.WhichOneof("value")
    if field == "bytes":
        return np.frombuffer(tensor.bytes.values, _BYTES.get(dtype, "u1"))
    values: Iterable[Any] = getattr(tensor, field).values if field else ()
    return np.array(list(values), dtype=_NUMPY_FLOATS.get(dtype))


def _as_constant(array: Any, dtype: str) -> Constant:
    """Floats: a float32 tensor (a float where it is a scalar). The rest: Python values, nested lists for arrays."""
    if dtype in _NUMPY_FLOATS and array.ndim:
        tensor: Tensor = torch.from_numpy(array.astype(np.float32))
        return tensor
    return array.tolist()
