"""What a .mlpackage or .mlmodel of any origin holds. It is parsed, neither compiled nor run."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedet.errors import ModelFileError
from edgedet.export.card import KEY
from edgedet.export.coreml_library import FeatureTypes_pb2, MIL_pb2, Model_pb2
from edgedet.export.inspect_protobuf import parse
from edgedet.export.inspect_report import REMEDY, FileReport, TensorInfo, element_count, map_file, printable, read_spec

_PACKAGE = ".mlpackage"
_MANIFEST = "Manifest.json"
_MOST_MANIFEST_BYTES = 2**20
_MOST_FILES = 10_000
_WEIGHTS = "weights"  # the folder beside a package's specification
_BITS = {"BOOL": 8, "STRING": 0}
_LAYER_WEIGHTS = {"floatValue": "float32", "float16Value": "float16", "rawValue": "quantized", "int8RawValue": "int8"}


@dataclass(frozen=True)
class CoremlFile:
    """The parsed specification without large constants; the folder of its weight files, if it is in a package."""

    model: Any
    weights_dir: Path | None


def read(path: Path) -> FileReport:
    """Parse a package (a folder) or a single .mlmodel file.

    Raises:
        ModelFileError: parts are missing or damaged, or it is no Core ML model.
    """
    if path.is_file() and path.name.endswith(_PACKAGE):
        raise ModelFileError(f"{path}: an {_PACKAGE} is a folder, and this is a file", "Unpack it, or copy it again.")
    file = _root_model(path) if path.is_dir() else path
    data = map_file(file)
    try:
        model, array_bytes = parse(data, Model_pb2.Model)
    except ValueError as error:
        raise ModelFileError(f"{path}: {file.name} is damaged ({printable(str(error))})", REMEDY) from error
    if model.WhichOneof("Type") is None or not model.specificationVersion:
        raise ModelFileError(f"{path}: {file.name} is no Core ML model (it has no type or no version)", REMEDY)
    metadata = dict(model.description.metadata.userDefined)
    spec, problem, class_names = read_spec(metadata.get(KEY), path)
    return FileReport(
        path,
        "coreml",
        _size(path) if path.is_dir() else len(data),
        _about(model),
        tuple(_info(feature) for feature in model.description.input),
        tuple(_info(feature) for feature in model.description.output),
        dict(Counter(printable(name) for part in parts(model) for name in _operators(part))),
        _weight_bytes(model, array_bytes),
        class_names or _labels(model),
        spec,
        problem,
        CoremlFile(model, file.parent / _WEIGHTS if path.is_dir() else None),
    )


def _root_model(path: Path) -> Path:
    """The specification file that the manifest of a package names, which must lie inside of the package."""
    manifest = map_file(path / _MANIFEST)
    if len(manifest) > _MOST_MANIFEST_BYTES:
        raise ModelFileError(f"{path}: {_MANIFEST} has {len(manifest)} bytes", REMEDY)
    try:
        value = json.loads(bytes(manifest))
        root = value["itemInfoEntries"][value["rootModelIdentifier"]]["path"]
        file = (path / "Data" / root).resolve()
        inside = file.is_relative_to(path.resolve())
    except (ValueError, KeyError, TypeError, RuntimeError, OSError) as error:  # RuntimeError: nesting, links in circles
        raise ModelFileError(f"{path}: {_MANIFEST} is damaged ({type(error).__name__})", REMEDY) from error
    if not inside:
        raise ModelFileError(f"{path}: {_MANIFEST} names a file outside of the package", REMEDY)
    return file


def _size(path: Path) -> int:
    """Bytes of all files of a package; links are not followed."""
    total, left = 0, _MOST_FILES
    for folder, _, names in os.walk(path):
        for name in names[:left]:
            total += (Path(folder) / name).lstat().st_size
        left -= len(names)
        if left <= 0:
            raise ModelFileError(f"{path}: it holds more than {_MOST_FILES} files", REMEDY)
    return total


def parts(model: Any) -> Iterator[Any]:
    """The models inside of pipelines, in order; the model itself when it is no pipeline."""
    waiting = [model]
    while waiting:
        part = waiting.pop()
        kind = part.WhichOneof("Type")
        inner = {"pipeline": part.pipeline, "pipelineClassifier": part.pipelineClassifier.pipeline}.get(kind)
        if kind == "pipelineRegressor":
            inner = part.pipelineRegressor.pipeline
        if inner is None:
            yield part
        else:
            waiting += reversed(inner.models)


def _operators(part: Any) -> list[str]:
    """Names of a program's operations or a network's layers; of any other model, its type."""
    kind = part.WhichOneof("Type") or "untyped"
    if kind == "mlProgram":
        return [operation.type for operation in operations(part.mlProgram) if operation.type != "const"]
    if kind.startswith("neuralNetwork"):
        return [layer.WhichOneof("layer") or "untyped" for layer in getattr(part, kind).layers]
    return [kind]


def operations(program: Any) -> Iterator[Any]:
    """Every operation of an ML program, those of inner blocks too."""
    waiting = [block for function in program.functions.values() for block in function.block_specializations.values()]
    while waiting:
        for operation in waiting.pop().operations:
            yield operation
            waiting += operation.blocks


def _weight_bytes(model: Any, array_bytes: Counter[str]) -> dict[str, int]:
    """Bytes of a program's constants by dtype, as their shapes say, and of what a network's layers hold.

    A compressed weight counts with what is stored of it: integers and scales, indices and table, mask and values.
    """
    found: Counter[str] = Counter()
    for field, dtype in _LAYER_WEIGHTS.items():
        found[dtype] += array_bytes[f"CoreML.Specification.WeightParams.{field}"]
    for part in parts(model):
        if part.WhichOneof("Type") == "mlProgram":
            for operation in operations(part.mlProgram):
                for value_type in _stored_types(operation):
                    found.update(_tensor_bytes(value_type.tensorType))
    return {dtype: size for dtype, size in found.items() if size}


def _stored_types(operation: Any) -> list[Any]:
    """Types of the values that an operation stores: a constant's, or the arguments of a compressed weight."""
    if operation.type == "const":
        return [output.type for output in operation.outputs]
    if not operation.type.startswith("constexpr_"):
        return []
    bindings = (binding for argument in operation.inputs.values() for binding in argument.arguments)
    written = [binding.value for binding in bindings if binding.WhichOneof("binding") == "value"]
    return [value.type for value in (*operation.attributes.values(), *written)]


def _tensor_bytes(tensor: Any) -> dict[str, int]:
    known = tensor.dataType in MIL_pb2.DataType.values()
    name = MIL_pb2.DataType.Name(tensor.dataType) if known else "unknown"
    digits = "".join(char for char in name if char.isdigit())
    bits = _BITS.get(name, int(digits or 0))
    return {name.lower(): element_count(dim.constant.size for dim in tensor.dimensions) * bits // 8}


def _info(feature: Any) -> TensorInfo:
    name, kind = printable(feature.name), feature.type.WhichOneof("Type") or "untyped"
    optional = "optional " if feature.type.isOptional else ""
    if kind == "imageType":
        image = feature.type.imageType
        space = _name(FeatureTypes_pb2.ImageFeatureType.ColorSpace, image.colorSpace)
        return TensorInfo(name, (int(image.height), int(image.width)), f"{optional}image {space}")
    if kind == "multiArrayType":
        array = feature.type.multiArrayType
        dtype = _name(FeatureTypes_pb2.ArrayFeatureType.ArrayDataType, array.dataType).lower()
        return TensorInfo(name, _array_shape(array), optional + dtype)
    return TensorInfo(name, None, optional + kind.removesuffix("Type"))


def _array_shape(array: Any) -> tuple[int | str, ...] | None:
    if array.shape:
        return tuple(int(side) for side in array.shape)
    ranges = array.shapeRange.sizeRanges
    bounds = ((r.lowerBound, "" if r.upperBound < 0 else r.upperBound) for r in ranges)
    return tuple(int(low) if low == high else f"{low}..{high}" for low, high in bounds) or None


def _name(enum: Any, number: int) -> str:
    return str(enum.Name(number)) if number in enum.values() else f"type {number}"


def _labels(model: Any) -> tuple[str, ...]:
    """Those of the suppression or of a classifier."""
    for part in parts(model):
        kind = part.WhichOneof("Type")
        holder = getattr(part, kind) if kind is not None else None
        if holder is not None and "stringClassLabels" in holder.DESCRIPTOR.fields_by_name:
            found = tuple(holder.stringClassLabels.vector)
            if found:
                return found
    return ()


def _about(model: Any) -> dict[str, str]:
    stages = [part.WhichOneof("Type") or "untyped" for part in parts(model)]
    found = {"specification version": str(model.specificationVersion), "parts": ", ".join(stages[:20])}
    for field in ("shortDescription", "author", "license", "versionString"):
        if text := getattr(model.description.metadata, field):
            found[field] = printable(text)
    if keys := sorted(model.description.metadata.userDefined):
        found["metadata"] = ", ".join(printable(key) for key in keys[:20])
    return found
