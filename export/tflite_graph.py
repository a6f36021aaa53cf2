"""A TFLite flatbuffer as an editable graph: find, rename and add tensors, constants and operators.

TensorFlow's own tool for this needs TensorFlow. The schema's generated Python classes (in ai-edge-litert) do the
parsing; the operator versions below are the lowest that have the meaning used here (tensorflow/lite/tools/versioning/
op_version.cc), so that files also run in old runtimes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # what schema.fbs demands of Buffer.data ("force_align: 16")
_SCHEMA_VERSION = 3
_PLACEHOLDER_CODE = 127  # deprecated_builtin_code is a byte; larger codes keep this there (schema.fbs)

_TENSOR_TYPES: dict[str, int] = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int64": schema.TensorType.INT64,
    "int32": schema.TensorType.INT32,
    "int16": schema.TensorType.INT16,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "bool": schema.TensorType.BOOL,
}
_DTYPES = {code: name for name, code in _TENSOR_TYPES.items()}
_VERSIONS = {"DEQUANTIZE": 3}  # 3 is the first that reads float16; every other operator here means the same since 1


class Graph:
    """One subgraph, its constants and its metadata. Tensors are given by index, see `tensor`.

    Args:
        model: an unpacked flatbuffer (`Graph.parse`), or an empty one (`Graph.empty`); it is changed in place.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.main = model.subgraphs[0]

    @staticmethod
    def parse(data: bytes) -> Graph:
        """Unpack a flatbuffer.

        Raises:
            ValueError: not a TFLite flatbuffer with one subgraph, or damaged so that it cannot be unpacked.
        """
        if data[4:8] != IDENTIFIER:
            raise ValueError(f"file identifier is {data[4:8]!r}, {IDENTIFIER!r} is expected")
        try:
            model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
        except (struct.error, IndexError, TypeError, ValueError, OverflowError, MemoryError) as error:
            raise ValueError(f"the flatbuffer is damaged ({error})") from error
        if len(model.subgraphs or ()) != 1:
            raise ValueError(f"{len(model.subgraphs or ())} subgraphs, 1 is expected")
        return Graph(model)

    @staticmethod
    def empty() -> Graph:
        """A graph without tensors; buffer 0 is the empty one, by convention."""
        model, main = schema.ModelT(), schema.SubGraphT()
        model.version = _SCHEMA_VERSION
        model.description = b"edgedet"
        model.buffers, model.operatorCodes, model.metadata, model.signatureDefs = [schema.BufferT()], [], [], []
        main.tensors, main.operators, main.inputs, main.outputs = [], [], [], []
        model.subgraphs = [main]
        return Graph(model)

    # Tensors

    def tensor(self, name: str) -> int:
        """Index of the tensor of that name.

        Raises:
            KeyError: there is none.
        """
        for index, tensor in enumerate(self.main.tensors):
            if tensor.name == name.encode():
                return index
        raise KeyError(name)

    def rename(self, tensor: int, name: str) -> None:
        self.main.tensors[tensor].name = name.encode()

    def name(self, tensor: int) -> str:
        name: str = self.main.tensors[tensor].name.decode()
        return name

    def shape(self, tensor: int) -> tuple[int, ...]:
        shape = self.main.tensors[tensor].shape
        return tuple(int(side) for side in shape) if shape is not None else ()

    def dtype(self, tensor: int) -> str:
        return _DTYPES[self.main.tensors[tensor].type]

    def add_tensor(self, name: str, shape: Sequence[int], dtype: str = "float32", buffer: int = 0) -> int:
        """A new tensor that an operator will fill, or that reads buffer `buffer`; returns its index."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name.encode(), np.asarray(shape, np.int32), buffer
        tensor.type = _TENSOR_TYPES[dtype]
        self.main.tensors.append(tensor)
        return len(self.main.tensors) - 1

    def make_plain_bytes(self, tensor: int) -> None:
        """Say that each uint8 means the number itself: what DEQUANTIZE reads and interpreters show."""
        quantization = schema.QuantizationParametersT()
        quantization.scale, quantization.zeroPoint = np.ones(1, np.float32), np.zeros(1, np.int64)
        self.main.tensors[tensor].quantization = quantization

    def add_constant(self, name: str, value: npt.ArrayLike, dtype: str) -> int:
        """A new tensor with a fixed value; returns its index."""
        array = np.asarray(value, dtype)
        return self.add_tensor(name, array.shape, dtype, self.add_buffer(array.tobytes()))

    def constant(self, tensor: int) -> npt.NDArray[Any] | None:
        """The value of a constant of a type known here, None for anything else."""
        found = self.main.tensors[tensor]
        data = self.model.buffers[found.buffer].data
        if data is None or len(data) == 0 or found.type not in _DTYPES:
            return None
        return np.frombuffer(bytes(data), _DTYPES[found.type]).reshape(self.shape(tensor))

    def add_buffer(self, data: bytes) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(data, np.uint8)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    # Operators

    def operators(self, *codes: str) -> list[Any]:
        """Operators with one of these names ("CONV_2D", ...; a custom one by its own name), all when none is given."""
        return [op for op in self.main.operators if not codes or self.operator_name(op) in codes]

    def producer(self, tensor: int) -> Any:
        """The operator that writes a tensor, None for a constant and an input."""
        return next((op for op in self.main.operators if tensor in op.outputs), None)

    def consumers(self, tensor: int) -> list[Any]:
        """The operators that read a tensor, in running order."""
        return [op for op in self.main.operators if tensor in op.inputs]

    def operator_name(self, operator: Any) -> str:
        code = self.model.operatorCodes[operator.opcodeIndex]
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        return code.customCode.decode() if number == schema.BuiltinOperator.CUSTOM else _BUILTIN_NAMES[number]

    def add_operator(self, name: str, inputs: Sequence[int], outputs: Sequence[int], options: Any = None) -> Any:
        """Append a builtin operator; `options` is the schema's options object (e.g. GatherOptionsT)."""
        operator = self._operator(getattr(schema.BuiltinOperator, name), "", inputs, outputs)
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self.main.operators.append(operator)
        return operator

    def add_custom_operator(self, name: str, inputs: Sequence[int], outputs: Sequence[int], options: bytes) -> Any:
        """Append a custom operator with flexbuffer options."""
        operator = self._operator(schema.BuiltinOperator.CUSTOM, name, inputs, outputs)
        operator.customOptions = np.frombuffer(options, np.uint8)
        self.main.operators.append(operator)
        return operator

    def set_version(self, operator: Any, version: int) -> None:
        """Say which version of a builtin operator is meant: integers came later than floats."""
        code = self.model.operatorCodes[operator.opcodeIndex]
        operator.opcodeIndex = self._operator_code(max(code.builtinCode, code.deprecatedBuiltinCode), "", version)

    def _operator(self, builtin: int, custom: str, inputs: Sequence[int], outputs: Sequence[int]) -> Any:
        operator = schema.OperatorT()
        operator.opcodeIndex = self._operator_code(builtin, custom)
        operator.inputs, operator.outputs = np.asarray(inputs, np.int32), np.asarray(outputs, np.int32)
        return operator

    def _operator_code(self, builtin: int, custom: str, version: int | None = None) -> int:
        version = version or _VERSIONS.get(_BUILTIN_NAMES[builtin], 1)
        for index, known in enumerate(self.model.operatorCodes):
            if (known.builtinCode, known.customCode or b"", known.version) == (builtin, custom.encode(), version):
                return index
        code = schema.OperatorCodeT()
        code.builtinCode, code.version = builtin, version
        code.deprecatedBuiltinCode = min(builtin, _PLACEHOLDER_CODE)
        code.customCode = custom.encode() if custom else None
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    # The whole

    def set_signature(self, inputs: dict[str, int], outputs: dict[str, int]) -> None:
        """Make these the graph's inputs and outputs, in this order, and its one signature ("serving_default")."""
        self.main.inputs = np.asarray(list(inputs.values()), np.int32)
        self.main.outputs = np.asarray(list(outputs.values()), np.int32)
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
        signature.inputs, signature.outputs = _tensor_maps(inputs), _tensor_maps(outputs)
        self.model.signatureDefs = [signature]

    def prune(self) -> None:
        """Drop the operators that no output needs."""
        needed = {int(tensor) for tensor in self.main.outputs}
        kept = []
        for operator in reversed(self.main.operators):
            if not needed.isdisjoint(int(tensor) for tensor in operator.outputs):
                kept.append(operator)
                needed.update(int(tensor) for tensor in operator.inputs)
        self.main.operators = kept[::-1]

    def add_metadata(self, name: str, data: bytes) -> None:
        entry = schema.MetadataT()
        entry.name, entry.buffer = name.encode(), self.add_buffer(data)
        self.model.metadata = [*(self.model.metadata or ()), entry]

    def to_bytes(self) -> bytes:
        """The flatbuffer, constants aligned to 16 bytes."""
        self.model.buffers = [_AlignedBuffer(buffer.data) for buffer in self.model.buffers]
        size = sum(len(buffer.data) + _ALIGNMENT for buffer in self.model.buffers if buffer.data is not None)
        builder = flatbuffers.Builder(size + 2**20)
        builder.Finish(self.model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())


def metadata_entry(data: bytes, name: str) -> bytes | None:
    """The metadata entry of that name of an intact flatbuffer, None where there is none; reads nothing else of it."""
    model = schema.Model.GetRootAs(data, 0)
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        if entry.Name() == name.encode():
            buffer = model.Buffers(entry.Buffer())
            return bytes(buffer.DataAsNumpy()) if buffer.DataLength() else b""
    return None


_BUILTIN_NAMES: dict[int, str] = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}


def _tensor_maps(tensors: dict[str, int]) -> list[Any]:
    maps = []
    for name, index in tensors.items():
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name.encode(), index
        maps.append(entry)
    return maps


class _AlignedBuffer:
    """Packs like the generated BufferT, which forgets the alignment that the schema demands."""

    def __init__(self, data: npt.NDArray[np.uint8] | None) -> None:
        self.data = data

    def Pack(self, builder: Any) -> int:  # noqa: N802 (the generated classes' name)
        data = self._pack_data(builder) if self.data is not None and len(self.data) else None
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        return int(schema.BufferEnd(builder))

    def _pack_data(self, builder: Any) -> int:
        assert self.data is not None
        size = len(self.data)
        builder.StartVector(1, size, _ALIGNMENT)
        builder.head = builder.Head() - size
        builder.Bytes[builder.head : builder.head + size] = self.data.tobytes()
        return int(builder.EndVector())
