"""The pipeline with a made-up format, so that every way to fail can be tried; the real ones are in the matrix."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from edgedet.errors import EdgedetError, ExportError, ModelFileError
from edgedet.export import pipeline
from edgedet.export.artifact import Artifact, file_digest, json_path, tool_versions
from edgedet.export.calibrate import CalibrationSet
from edgedet.export.card import CardRunner, FileCard
from edgedet.export.deployable import Deployable
from edgedet.export.options import ExportOptions
from edgedet.export.pictures import generated_pictures
from edgedet.export.pipeline import artifact_name, export_model
from edgedet.export.tolerances import TOLERANCES
from edgedet.formats import Format, export_formats
from edgedet.model_file import load_model, save_model, weights_sha256
from edgedet.preprocess import UInt8Image
from edgedet.runner import HeadOutputs, UnitDetections
from edgedet.spec import DetectorSpec, InputSpec
from edgedet.torch_runner import TorchRunner
from tests.exported_files import calibration_pictures
from tests.small_models import SPECS, small_model

SPEC = SPECS["yolov3_tiny"]
ROW = Format("box", ".box", "tests_export_box_format", precisions=("fp32", "fp16", "int8"))
FOLDER = Format("crate", ".crate", "tests_export_crate_format", precisions=("fp16",))


class BoxRunner(CardRunner):
    """Runs the model whose place the file names."""

    def __init__(self, path: Path, card: FileCard, model: Path) -> None:
        super().__init__(path, card, "box", "box runtime 1")
        network, _ = load_model(model)
        self.inner = TorchRunner(network, card.spec, path)

    def infer(self, network_pixels: object) -> UnitDetections:
        return self.inner.infer(network_pixels)  # type: ignore[arg-type]

    def heads(self, network_pixels: object) -> HeadOutputs:
        return self.inner.heads(network_pixels)  # type: ignore[arg-type]


class BoxFormat(ModuleType):
    """A format that writes the card, and knows how to fail."""

    def __init__(self, name: str, model: Path, folder: bool) -> None:
        super().__init__(name)
        self.model, self.folder, self.fault, self.calls = model, folder, "", 0

    def problems(self, spec: DetectorSpec, options: ExportOptions) -> list[str]:
        return ["a dynamic batch is not possible"] if options.dynamic_batch else []

    def notes(self, spec: DetectorSpec, options: ExportOptions) -> list[str]:
        return [f"written as {options.precision}"]

    def export(
        self,
        deployable: Deployable,
        options: ExportOptions,
        card: FileCard,
        path: Path,
        calibration: CalibrationSet | None = None,
    ) -> None:
        self.calls += 1
        target = path / "inner" / "card.json" if self.folder else path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(card.to_json())
        if self.fault == "convert":
            raise RuntimeError("the converter stumbled")

    def open_runner(self, path: Path, threads: int | None = None) -> BoxRunner:
        if self.fault == "reload":
            raise ModelFileError(f"{path}: does not load", "Export it again.")
        text = (path / "inner" / "card.json" if self.folder else path).read_text()
        return BoxRunner(path, FileCard.from_json(text, str(path)), self.model)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.pt"
    save_model(path, small_model(SPEC), SPEC)
    return path


@pytest.fixture
def box(model: Path, monkeypatch: pytest.MonkeyPatch) -> BoxFormat:
    """The made-up formats, in place of all others."""
    formats = {row: BoxFormat(row.module, model, row is FOLDER) for row in (ROW, FOLDER)}
    for row, module in formats.items():
        monkeypatch.setitem(sys.modules, row.module, module)
    monkeypatch.setattr(pipeline, "export_formats", lambda: tuple(formats))
    for precision in ("fp32", "fp16", "int8"):
        monkeypatch.setitem(TOLERANCES, ("box", precision), TOLERANCES["onnx", precision])
    return formats[ROW]


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_file_and_json_lie_side_by_side(box: BoxFormat, model: Path, tmp_path: Path) -> None:
    (artifact,) = export_model(model, ["box"], tmp_path / "new" / "out")

    assert _names(tmp_path / "new" / "out") == {"model.box", "model.box.export.json"}
    assert artifact.path == tmp_path / "new" / "out" / "model.box"
    assert artifact.parity.passed
    assert Artifact.read(artifact.path) == artifact
    written = json.loads(json_path(artifact.path).read_text())
    assert written["schema"] == 1
    assert written["file"] == "model.box"
    assert written["file_sha256"] == hashlib.sha256(artifact.path.read_bytes()).hexdigest()
    assert written["size_bytes"] == artifact.path.stat().st_size
    assert written["spec_digest"] == SPEC.digest()
    assert written["weights_sha256"] == weights_sha256(load_model(model)[0].state_dict())
    assert written["notes"] == ["written as fp32"]
    assert written["parity"]["status"] == "passed"
    assert written["tool_versions"]["edgedet"]


def test_all_formats_by_default_each_with_its_own_precision(box: BoxFormat, model: Path, tmp_path: Path) -> None:
    artifacts = export_model(model, [], tmp_path)
    assert [(a.format, a.precision, a.path.name) for a in artifacts] == [
        ("box", "fp32", "model.box"),
        ("crate", "fp16", "model.crate"),
    ]
    assert (tmp_path / "model.crate" / "inner" / "card.json").exists()


def test_a_format_named_twice_is_exported_once(box: BoxFormat, model: Path, tmp_path: Path) -> None:
    assert len(export_model(model, ["box", "box"], tmp_path)) == 1
    assert box.calls == 1


def test_precision_is_in_the_name_where_it_is_not_the_default() -> None:
    assert artifact_name(Path("run/best.pt"), ROW, ExportOptions("fp32")) == "best.box"
    assert artifact_name(Path("run/best.pt"), ROW, ExportOptions("fp16")) == "best.fp16.box"


def test_thresholds_are_baked_in(box: BoxFormat, model: Path, tmp_path: Path) -> None:
    changes = {"score_min": 0.25, "iou_max": 0.4, "max_detections": 7}
    (artifact,) = export_model(model, ["box"], tmp_path, nms_changes=changes)
    assert artifact.parity.passed
    assert artifact.spec_digest == replace(SPEC, nms=replace(SPEC.nms, **changes)).digest()


def test_everything_impossible_is_listed_before_anything_is_converted(
    box: BoxFormat, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ExportError) as caught:
        export_model(
            model,
            ["box", "crate", "jpeg"],
            tmp_path / "out",
            precision="fp32",
            options=ExportOptions(dynamic_batch=True),
        )
    text = str(caught.value)
    assert "box: a dynamic batch is not possible" in text
    assert "crate: precision 'fp32' is not offered (choose from fp16)" in text
    assert "'jpeg' is not a format to export to (choose from box, crate)" in text
    assert box.calls == 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "word"), [({"score_min": 0.0}, "score_min"), ({"iou_max": 1.5}, "iou_max"), ({"speed": 9}, "speed")]
)
def test_impossible_thresholds_are_refused(
    box: BoxFormat, model: Path, tmp_path: Path, changes: dict[str, float], word: str
) -> None:
    with pytest.raises(ExportError, match=word):
        export_model(model, ["box"], tmp_path, nms_changes=changes)
    assert box.calls == 0


@pytest.mark.parametrize(("fault", "error"), [("convert", RuntimeError), ("reload", ModelFileError)])
def test_a_failed_export_leaves_nothing_and_keeps_what_was_there(
    box: BoxFormat, model: Path, tmp_path: Path, fault: str, error: type[Exception]
) -> None:
    box.fault = fault
    with pytest.raises(error):
        export_model(model, ["box"], tmp_path / "fresh")
    assert _names(tmp_path / "fresh") == set()

    (tmp_path / "model.box").write_text("older file")
    (tmp_path / "model.box.export.json").write_text("{}")
    with pytest.raises(error):
        export_model(model, ["box"], tmp_path)
    assert (tmp_path / "model.box").read_text() == "older file"
    assert (tmp_path / "model.box.export.json").read_text() == "{}"


def test_a_file_that_differs_is_written_and_says_so(
    box: BoxFormat, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shifted(self: BoxRunner, network_pixels: object) -> UnitDetections:
        found = self.inner.infer(network_pixels)  # type: ignore[arg-type]
        return UnitDetections(found.boxes_xyxy_unit + np.float32(0.05), found.scores, found.class_ids)

    monkeypatch.setattr(BoxRunner, "infer", shifted)
    (artifact,) = export_model(model, ["box"], tmp_path)
    assert artifact.parity.status == "failed"
    assert Artifact.read(artifact.path).parity.status == "failed"


def test_given_images_are_compared(box: BoxFormat, model: Path, tmp_path: Path, photos: list[UInt8Image]) -> None:
    (artifact,) = export_model(model, ["box"], tmp_path, images=photos[:2])
    assert artifact.parity.images == 2


def test_export_over_an_older_folder(box: BoxFormat, model: Path, tmp_path: Path) -> None:
    first, second = (export_model(model, ["crate"], tmp_path)[0] for _ in range(2))
    assert first.file_sha256 == second.file_sha256
    assert _names(tmp_path) == {"model.crate", "model.crate.export.json"}


def test_missing_and_foreign_models_are_refused(box: BoxFormat, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no such file"):
        export_model(tmp_path / "absent.pt", [], tmp_path)
    (tmp_path / "model.pt").write_bytes(b"nonsense")
    with pytest.raises(ModelFileError, match=r"model\.pt"):
        export_model(tmp_path / "model.pt", [], tmp_path)


def test_an_unwritable_folder_is_one_clear_error(box: BoxFormat, model: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file is in the way")
    with pytest.raises(EdgedetError, match="cannot be written"):
        export_model(model, ["box"], tmp_path / "out")


def test_digest_of_a_folder_covers_names_and_contents(tmp_path: Path) -> None:
    def folder(name: str, **files: str) -> Path:
        for file, text in files.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(text)
        return tmp_path / name

    base = file_digest(folder("a", x="12", y="3"))
    assert base == file_digest(folder("b", y="3", x="12"))
    assert base[1] == 3
    assert base[0] != file_digest(folder("c", x="1", y="23"))[0]
    assert base[0] != file_digest(folder("d", x="12", z="3"))[0]


def test_tool_versions_name_the_converters_of_a_format() -> None:
    rows = {row.name: tool_versions(row) for row in export_formats()}
    assert {"edgedet", "torch", "onnx", "onnxruntime"} <= set(rows["onnx"])
    assert "coremltools" in rows["coreml"]
    assert "coremltools" not in rows["onnx"]


def test_without_calibration_nothing_is_converted(box: BoxFormat, model: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"box: precision int8 needs photographs.*--calibration DATA"):
        export_model(model, ["box"], tmp_path / "out", precision="int8")
    assert box.calls == 0
    assert not (tmp_path / "out").exists()


def test_calibration_that_nothing_needs_is_not_read(box: BoxFormat, model: Path, tmp_path: Path) -> None:
    def read(input_spec: InputSpec, method: str) -> CalibrationSet:
        raise AssertionError("not called")

    with pytest.raises(ExportError, match="precision fp16 measures no ranges"):
        export_model(model, ["box"], tmp_path, precision="fp16", calibration=read)


def test_how_a_file_was_calibrated_is_on_record(
    box: BoxFormat, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (artifact,) = export_model(model, ["box"], tmp_path, precision="int8", calibration=calibration_pictures)
    expected = calibration_pictures(SPEC.input)
    assert artifact.calibration == expected.record
    assert Artifact.read(artifact.path) == artifact
    assert FileCard.from_json(artifact.path.read_text(), "file").calibration == expected.record
    assert set(expected.warnings) <= set(artifact.notes)
    assert "16 images only" in caplog.text
    assert artifact.parity.images == 8, "on images it was calibrated on"
    assert "calibration" not in export_model(model, ["box"], tmp_path)[0].to_json()


def test_layers_in_float_are_named_in_full_and_unknown_ones_refused(
    box: BoxFormat, model: Path, tmp_path: Path
) -> None:
    mixed = ExportOptions(float_layers=("box_heads",))
    (artifact,) = export_model(
        model, ["box"], tmp_path, precision="int8", options=mixed, calibration=calibration_pictures
    )
    assert artifact.path.name == "model.int8.mixed.box"
    assert artifact.options["float_layers"] == ["box_heads.0", "box_heads.1"]
    with pytest.raises(ExportError, match=r"no layer 'box_head\.0'.*Did you mean box_heads\.0"):
        export_model(
            model,
            ["box"],
            tmp_path,
            precision="int8",
            options=ExportOptions(float_layers=("box_head.0",)),
            calibration=calibration_pictures,
        )


def test_weights_that_are_no_numbers_are_refused_for_integers(box: BoxFormat, tmp_path: Path) -> None:
    network = small_model(SPEC)
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    save_model(tmp_path / "model.pt", network, SPEC)
    with pytest.raises(ExportError, match="weights hold NaN"):
        export_model(tmp_path / "model.pt", ["box"], tmp_path, precision="int8", calibration=calibration_pictures)


@pytest.mark.parametrize("text", ["", "{}", '{"schema": 1, "parity": {}}'])
def test_a_damaged_export_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.box.export.json").write_text(text)
    with pytest.raises(ModelFileError, match=r"model\.box\.export\.json|parity result"):
        Artifact.read(tmp_path / "model.box")


def test_generated_pictures_are_always_the_same() -> None:
    first, second = generated_pictures(), generated_pictures()
    assert len({picture.shape for picture in first}) == 4
    for one, other in zip(first, second, strict=True):
        assert one.dtype == np.uint8
        np.testing.assert_array_equal(one, other)
