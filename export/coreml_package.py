"""The .mlpackage folder: written byte for byte the same for the same model, and read with every fault named.

Layout (coremltools' libmodelpackage writes the same): Manifest.json, Data/com.apple.CoreML/model.mlmodel (a Model
protobuf), Data/com.apple.CoreML/weights/weight.bin (ML programs only).
"""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from edgedet.errors import ModelFileError
from edgedet.export.coreml_library import Model_pb2

_AUTHOR = "com.apple.CoreML"
_MODEL, _WEIGHTS = "model.mlmodel", "weights"
_WEIGHT_FILE = "weight.bin"
_REMEDY = "Copy it again, or export it with `edgedet export --format coreml`."


@dataclass(frozen=True)
class Package:
    """A package that was read: its specification (a Model protobuf) and the folder of its weight files."""

    path: Path
    model: Any
    weights_dir: Path


def write_package(path: Path, model: Any, weight_file: Path | None) -> None:
    """Write a package.

    coremltools gives the two items random identifiers; here they are derived from names, so that exporting twice gives
    equal bytes and a digest identifies the model.

    Args:
        path: folder to create.
        model: Model protobuf.
        weight_file: the blob file that the program refers to as @model_path/weights/weight.bin; None for a neural
            network, whose weights are in the protobuf.
    """
    data = path / "Data" / _AUTHOR
    data.mkdir(parents=True)
    (data / _MODEL).write_bytes(model.SerializeToString(deterministic=True))
    described = {_MODEL: "CoreML Model Specification"}
    if weight_file is not None:
        (data / _WEIGHTS).mkdir()
        shutil.copyfile(weight_file, data / _WEIGHTS / _WEIGHT_FILE)
        described[_WEIGHTS] = "CoreML Model Weights"
    items = {name: str(uuid.uuid5(uuid.NAMESPACE_URL, f"{_AUTHOR}/{name}")) for name in described}
    manifest = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": {
            items[name]: {"author": _AUTHOR, "description": described[name], "name": name, "path": f"{_AUTHOR}/{name}"}
            for name in items
        },
        "rootModelIdentifier": items[_MODEL],
    }
    # Letter for letter as libmodelpackage writes it again whenever coremltools opens a package: the digest stays.
    (path / "Manifest.json").write_text(json.dumps(manifest, indent=4, sort_keys=True) + "\n", encoding="utf-8")


def read_package(path: Path) -> Package:
    """Read a package's manifest and specification; weights stay on disk.

    Raises:
        ModelFileError: missing, not a folder, no manifest, parts missing or damaged.
    """
    if not path.exists():
        raise ModelFileError(f"{path}: there is no such file", "Check the path.")
    if not path.is_dir():
        raise ModelFileError(f"{path}: an .mlpackage is a folder, and this is a file", _REMEDY)
    try:
        manifest = json.loads((path / "Manifest.json").read_text(encoding="utf-8"))
        root = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
        file = path / "Data" / root
        model = Model_pb2.Model.FromString(file.read_bytes())
    except OSError as error:
        raise ModelFileError(f"{path}: {Path(str(error.filename)).name} is missing or unreadable", _REMEDY) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{path}: Manifest.json is damaged ({error})", _REMEDY) from error
    except DecodeError as error:
        raise ModelFileError(f"{path}: {_MODEL} is damaged ({error})", _REMEDY) from error
    return Package(path, model, file.parent / _WEIGHTS)
