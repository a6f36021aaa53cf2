"""What a .tflite of any origin holds: graph, metadata, appended files. Nothing in it is trusted, and nothing is run."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

from edgedet.errors import ModelFileError
from edgedet.export.card import KEY
from edgedet.export.inspect_flatbuffer import SKIPPED, FlatReader
from edgedet.export.inspect_report import REMEDY, FileReport, TensorInfo, map_file, printable, read_spec
from edgedet.export.inspect_zip import PackedFile, appended_files
from edgedet.export.tflite_graph import IDENTIFIER
from edgedet.export.tflite_metadata import METADATA
from edgedet.export.tflite_metadata_schema import ENUMS, ROOT, TABLES, Fields
from edgedet.export.tflite_metadata_schema import IDENTIFIER as METADATA_IDENTIFIER

# The tables of TensorFlow Lite's schema.fbs that describe a graph, in slot order.
_MODEL_TABLES: dict[str, tuple[tuple[str, str], ...]] = {
    "Model": (
        ("version", "uint"), ("operator_codes", "[OperatorCode]"), ("subgraphs", "[SubGraph]"),
        ("description", "string"), ("buffers", "[Buffer]"), ("metadata_buffer", SKIPPED), ("metadata", "[Metadata]"),
    ),
    "OperatorCode": (
        ("deprecated_builtin_code", "byte"), ("custom_code", "string"), ("version", "int"), ("builtin_code", "int"),
    ),
    "SubGraph": (
        ("tensors", "[Tensor]"), ("inputs", "[int]"), ("outputs", "[int]"), ("operators", "[Operator]"),
    ),
    "Tensor": (
        ("shape", "[int]"), ("type", "byte"), ("buffer", "uint"), ("name", "string"),
        ("quantization", "QuantizationParameters"),
        ("is_variable", SKIPPED), ("sparsity", SKIPPED), ("shape_signature", "[int]"),
    ),
    "QuantizationParameters": (("min", SKIPPED), ("max", SKIPPED), ("scale", "[float]")),
    "Operator": (
        ("opcode_index", "uint"), ("inputs", "[int]"), ("outputs", "[int]"), ("builtin_options_type", SKIPPED),
        ("builtin_options", SKIPPED), ("custom_options", "[ubyte]"),
    ),
    "Buffer": (("data", "[ubyte]"), ("offset", "ulong"), ("size", "ulong")),
    "Metadata": (("name", "string"), ("buffer", "uint")),
}  # fmt: skip

_BUILTIN_NAMES = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
_DTYPES = {v: k.lower() for k, v in vars(schema.TensorType).items() if isinstance(v, int)}
_NUMPY_DTYPES = ("float32", "float16", "int64", "int32", "int16", "uint16", "uint32", "int8", "uint8")
_FLEXBUFFER_ERRORS = (struct.error, IndexError, KeyError, ValueError, TypeError, OverflowError, ZeroDivisionError)
_SHOWN = 20  # names of appended files
_LABEL_TYPES = ("TENSOR_VALUE_LABELS", "TENSOR_AXIS_LABELS")


@dataclass(frozen=True)
class Tensor:
    """A tensor of the first subgraph; `shape` is None where the file leaves it to the run, `scales` are of integers."""

    name: str
    shape: tuple[int, ...] | None
    dtype: str
    buffer: int
    scales: tuple[float, ...] = ()


@dataclass(frozen=True)
class Operator:
    """An operator of the first subgraph: its kind, tensors by index (-1 for one left out), options of a custom one."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    custom: bool
    options: bytes

    def option(self, key: str) -> float | None:
        """A number or a truth value among a custom operator's flexbuffer options; None when it has none of that name.

        Raises:
            ValueError: the options are damaged.
        """
        try:
            value = flexbuffers.GetRoot(self.options).AsMap[key]
            found: float = value.AsBool if value.IsBool else value.AsFloat if value.IsFloat else value.AsInt
            return found
        except KeyError:
            return None
        except _FLEXBUFFER_ERRORS as error:
            raise ValueError(f"the options of {self.name} cannot be read ({str(error)[:80]})") from error


@dataclass(frozen=True)
class TfliteFile:
    """The first subgraph, the metadata and the appended files.

    Attributes:
        buffers: their contents, by index.
        metadata: ModelMetadata, None when there is none or it cannot be read (then metadata_problem says why).
        files: the appended ones, by name.
    """

    subgraphs: int
    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[Operator, ...]
    buffers: tuple[Any, ...]
    metadata: Fields | None
    metadata_problem: str
    files: dict[str, PackedFile]

    @cached_property
    def producers(self) -> dict[int, Operator]:
        """The operator that writes each tensor."""
        return {tensor: operator for operator in self.operators for tensor in operator.outputs}

    def stored(self, tensor: int) -> Any:
        """The bytes of a constant; none for anything else."""
        number = self.tensors[tensor].buffer
        return self.buffers[number] if 0 < number < len(self.buffers) else b""

    def constant(self, tensor: int) -> npt.NDArray[Any] | None:
        """The values of a constant, flat; None for anything else."""
        found, data = self.tensors[tensor], self.stored(tensor)
        if not len(data) or found.dtype not in _NUMPY_DTYPES or len(data) % np.dtype(found.dtype).itemsize:
            return None
        return np.frombuffer(data, found.dtype)

    def subgraph_metadata(self) -> Fields:
        """Metadata of the first subgraph; empty when there is none."""
        graphs = (self.metadata or {}).get("subgraph_metadata", [])
        found: Fields = graphs[0] if graphs else {}
        return found


def read(path: Path) -> FileReport:
    """Parse a .tflite.

    Raises:
        ModelFileError: not a TFLite flatbuffer, cut short, or damaged.
    """
    data = map_file(path)
    if bytes(data[4:8]) != IDENTIFIER:
        raise ModelFileError(f"{path}: it is no TFLite flatbuffer (bytes 4 to 8 are {bytes(data[4:8])!r})", REMEDY)
    try:
        model = FlatReader(data, _MODEL_TABLES, {}).root("Model")
        file = _file(model, data)
    except (ValueError, IndexError) as error:
        raise ModelFileError(f"{path}: the flatbuffer is damaged ({error})", REMEDY) from error
    card = _entry(model, file.buffers, KEY)
    spec, problem, class_names = read_spec(card.decode("utf-8", "replace") if card is not None else None, path)
    return FileReport(
        path,
        "tflite",
        len(data),
        _properties(model, file),
        tuple(_info(file.tensors[index]) for index in file.inputs),
        tuple(_info(file.tensors[index]) for index in file.outputs),
        dict(Counter(name for graph in model.get("subgraphs", []) for name in _operator_names(model, graph))),
        _weight_bytes(model, file.buffers),
        _labels(file) or class_names,
        spec,
        problem,
        file,
    )


def _file(model: Fields, data: memoryview) -> TfliteFile:
    graphs = model.get("subgraphs", [])
    if not graphs:
        raise ValueError("it has no graph")
    main = graphs[0]
    tensors = tuple(_tensor(entry) for entry in main.get("tensors", []))
    inputs, outputs = tuple(main.get("inputs", ())), tuple(main.get("outputs", ()))
    operators = tuple(_operator(model, entry) for entry in main.get("operators", []))
    used = [*inputs, *outputs, *(index for op in operators for index in (*op.inputs, *op.outputs) if index != -1)]
    if any(not 0 <= index < len(tensors) for index in used):
        raise ValueError("it refers to a tensor that does not exist")
    buffers = tuple(_buffer(entry, data) for entry in model.get("buffers", []))
    metadata, problem = _metadata(_entry(model, buffers, METADATA))
    return TfliteFile(
        len(graphs), tensors, inputs, outputs, operators, buffers, metadata, problem, appended_files(data)
    )


def _tensor(entry: Fields) -> Tensor:
    shape = entry.get("shape_signature") or entry.get("shape")
    dtype = _DTYPES.get(entry.get("type", 0), f"type {entry.get('type')}")
    scales = tuple(entry.get("quantization", {}).get("scale", ()))
    shape = tuple(shape) if shape is not None else None
    return Tensor(entry.get("name", ""), shape, dtype, entry.get("buffer", 0), scales)


def _operator(model: Fields, entry: Fields) -> Operator:
    name, custom = _operator_name(model, entry)
    tensors = tuple(entry.get("inputs", ())), tuple(entry.get("outputs", ()))
    return Operator(name, *tensors, custom, bytes(entry.get("custom_options", b"")))


def _operator_name(model: Fields, entry: Fields) -> tuple[str, bool]:
    """The operator's kind, and whether it is a custom one."""
    code = model.get("operator_codes", [])[entry.get("opcode_index", 0)]
    number = max(code.get("builtin_code", 0), code.get("deprecated_builtin_code", 0))
    custom = number == schema.BuiltinOperator.CUSTOM
    name = code.get("custom_code", "") if custom else _BUILTIN_NAMES.get(number, f"operator {number}")
    return printable(name), custom


def _operator_names(model: Fields, graph: Fields) -> list[str]:
    return [_operator_name(model, entry)[0] for entry in graph.get("operators", [])]


def _buffer(entry: Fields, data: memoryview) -> Any:
    """Its bytes, inside the flatbuffer or, as in very large models, behind it."""
    start, size = entry.get("offset", 0), entry.get("size", 0)
    if "data" in entry or start <= 1:
        return entry.get("data", b"")
    if start + size > len(data):
        raise ValueError("a buffer reaches over its end")
    return data[start : start + size]


def _entry(model: Fields, buffers: tuple[Any, ...], name: str) -> bytes | None:
    for entry in model.get("metadata", []):
        if entry.get("name") == name:
            index = entry.get("buffer", 0)
            return bytes(buffers[index]) if index < len(buffers) else b""
    return None


def _metadata(data: bytes | None) -> tuple[Fields | None, str]:
    if data is None:
        return None, "the file has no TFLITE_METADATA"
    if data[4:8] != METADATA_IDENTIFIER:
        return None, f"TFLITE_METADATA starts with identifier {data[4:8]!r}, not {METADATA_IDENTIFIER!r}"
    try:
        return FlatReader(data, TABLES, ENUMS).root(ROOT), ""
    except ValueError as error:
        return None, f"TFLITE_METADATA is damaged ({error})"


def _info(tensor: Tensor) -> TensorInfo:
    return TensorInfo(printable(tensor.name), tensor.shape, tensor.dtype)


def _properties(model: Fields, file: TfliteFile) -> dict[str, str]:
    found = {"schema version": str(model.get("version", 0)), "graphs": str(file.subgraphs)}
    metadata = file.metadata or {}
    for field in ("name", "description", "author", "license", "min_parser_version"):
        if metadata.get(field):
            found[f"metadata {field}"] = printable(metadata[field])
    if file.files:
        found["appended files"] = ", ".join(printable(name, 60) for name in list(file.files)[:_SHOWN])
    return found


def _weight_bytes(model: Fields, buffers: tuple[Any, ...]) -> dict[str, int]:
    """Bytes of the constants by dtype; a buffer that several tensors share counts once."""
    dtypes: dict[int, str] = {}
    for graph in model.get("subgraphs", []):
        for entry in graph.get("tensors", []):
            dtypes.setdefault(entry.get("buffer", 0), _tensor(entry).dtype)
    found: Counter[str] = Counter()
    for index, dtype in dtypes.items():
        if 0 < index < len(buffers) and len(buffers[index]):
            found[dtype] += len(buffers[index])
    return dict(found)


def _labels(file: TfliteFile) -> tuple[str, ...]:
    for tensor in file.subgraph_metadata().get("output_tensor_metadata", []):
        for entry in tensor.get("associated_files", []):
            packed = file.files.get(entry.get("name", ""))
            if entry.get("type") in _LABEL_TYPES and packed is not None and packed.data:
                return label_lines(packed.data)
    return ()


def label_lines(data: bytes) -> tuple[str, ...]:
    """Labels as the libraries split them: one a line, a last empty line aside."""
    lines = data.decode("utf-8", "replace").split("\n")
    return tuple(lines[:-1] if lines[-1] == "" else lines)
