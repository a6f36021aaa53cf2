"""Packages that are damaged, foreign or something else: one clear error that names the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgedet.errors import ModelFileError
from edgedet.export import to_coreml
from edgedet.export.artifact import file_digest
from edgedet.export.coreml_library import Model_pb2, ct
from tests.export.coreml_packages import copy_of, exported, yolo
from tests.export.mil_programs import mb, save

_DATA = Path("Data/com.apple.CoreML")


def _edit_model(path: Path, change: Callable[[Model_pb2.Model], object]) -> None:
    file = path / _DATA / "model.mlmodel"
    model = Model_pb2.Model.FromString(file.read_bytes())
    change(model)
    file.write_bytes(model.SerializeToString())


def _cut(path: Path, keep: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])


DAMAGE: list[tuple[str, Callable[[Path], object], str]] = [
    ("no manifest", lambda p: (p / "Manifest.json").unlink(), "Manifest.json is missing"),
    ("manifest cut", lambda p: _cut(p / "Manifest.json", 0.5), "Manifest.json is damaged"),
    ("manifest of something else", lambda p: (p / "Manifest.json").write_text("[]"), "Manifest.json is damaged"),
    ("no model", lambda p: (p / _DATA / "model.mlmodel").unlink(), "model.mlmodel is missing"),
    ("model cut", lambda p: _cut(p / _DATA / "model.mlmodel", 0.7), "model.mlmodel is damaged"),
    ("model of noise", lambda p: (p / _DATA / "model.mlmodel").write_bytes(b"\xff" * 99), "model.mlmodel is damaged"),
    ("model empty", lambda p: (p / _DATA / "model.mlmodel").write_bytes(b""), "carries no edgedet spec"),
    ("no weights", lambda p: (p / _DATA / "weights/weight.bin").unlink(), "weights cannot be read"),
    ("weights cut", lambda p: _cut(p / _DATA / "weights/weight.bin", 0.5), "truncated"),
    ("weights of noise", lambda p: (p / _DATA / "weights/weight.bin").write_bytes(b"x" * 999), "not a weight file"),
    (
        "no card",
        lambda p: _edit_model(p, lambda m: m.description.metadata.userDefined.pop("edgedet")),
        "exported by something else",
    ),
    (
        "card cut",
        lambda p: _edit_model(p, lambda m: m.description.metadata.userDefined.update({"edgedet": '{"spec'})),
        "card is damaged",
    ),
    (
        "image resized",
        lambda p: _edit_model(p, lambda m: setattr(m.description.input[0].type.imageType, "width", 64)),
        "another type|image is 64x96",
    ),
    (
        "spec edited",
        lambda p: _edit_model(
            p,
            lambda m: m.description.metadata.userDefined.update(
                {
                    "edgedet": m.description.metadata.userDefined["edgedet"].replace(
                        '"score_min":0.05', '"score_min":0.06'
                    )
                }
            ),
        ),
        "changed after export",
    ),
    ("stage removed", lambda p: _edit_model(p, lambda m: m.pipeline.models.pop()), "has 1 stages, not 2"),
]


@pytest.mark.parametrize(("damage", "message"), [row[1:] for row in DAMAGE], ids=[row[0] for row in DAMAGE])
def test_damaged_package(damage: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    path = copy_of(exported(yolo()), tmp_path)
    to_coreml.open_runner(path)
    damage(path)
    with pytest.raises(ModelFileError, match=message) as caught:
        to_coreml.open_runner(path)
    assert str(path) in str(caught.value)
    assert caught.value.remedy


def test_file_instead_of_folder(tmp_path: Path) -> None:
    path = tmp_path / "m.mlpackage"
    path.write_bytes(b"not a folder")
    with pytest.raises(ModelFileError, match="is a folder, and this is a file"):
        to_coreml.open_runner(path)


def test_missing_package(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"gone\.mlpackage: there is no such file"):
        to_coreml.open_runner(tmp_path / "gone.mlpackage")


def test_package_of_something_else(tmp_path: Path) -> None:
    path = save(tmp_path / "relu.mlpackage", lambda x: mb.relu(x=x), (1, 3))
    with pytest.raises(ModelFileError, match="exported by something else"):
        to_coreml.open_runner(path)


def test_manifest_is_one_that_coremltools_writes(tmp_path: Path) -> None:
    """Apart from identifiers, which it draws at random."""

    def described(package: Path) -> dict[str, object]:
        manifest = json.loads((package / "Manifest.json").read_text())
        entries = manifest["itemInfoEntries"]
        root = entries[manifest["rootModelIdentifier"]]["name"]
        items = {entry["name"]: entry for entry in entries.values()}
        return {"version": manifest["fileFormatVersion"], "root": root, "items": items}

    ours = exported(yolo())
    spec = ct.utils.load_spec(str(ours))
    theirs = tmp_path / "theirs.mlpackage"
    ct.utils.save_spec(spec, str(theirs), weights_dir=str(ours / _DATA / "weights"))
    assert described(ours) == described(theirs)


def test_coremltools_opens_a_package_without_changing_it(tmp_path: Path) -> None:
    """Its library writes the manifest anew on opening; a digest must stay what it was."""
    from coremltools.models import MLModel

    package = copy_of(exported(yolo()), tmp_path)
    before = file_digest(package)
    MLModel(str(package), skip_model_load=True)
    assert file_digest(package) == before
