"""`edgedet export` and `edgedet verify` as a user runs them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgedet.cli import main
from edgedet.data.synth import write_synthetic
from edgedet.export.tolerances import TOLERANCES
from edgedet.model_file import save_model
from tests.small_models import SPECS, small_model

SPEC = SPECS["yolov3_tiny"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("data") / "shapes", train=1, val=1, test=4, size_px=96)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "model.pt"
    save_model(path, small_model(SPEC), SPEC)
    return path


@pytest.fixture(scope="module")
def phone(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an exported ONNX file, compared on the data set."""
    out = tmp_path_factory.mktemp("phone")
    arguments = ["export", str(model), "--format", "onnx", "--out", str(out), "--data", str(data)]
    assert main([*arguments, "--score-min", "0.2", "--iou-max", "0.4", "--max-detections", "20"]) == 0
    return out


def _one_line(text: str) -> str:
    return " ".join(text.split())


def test_export_bakes_the_thresholds_in(phone: Path) -> None:
    assert {path.name for path in phone.iterdir()} == {"model.onnx", "model.onnx.export.json"}
    written = json.loads((phone / "model.onnx.export.json").read_text())
    assert written["parity"]["images"] == 4
    checks = {d["name"]: d["status"] for d in written["parity"]["depths"]}
    assert checks == {"heads": "passed", "decoded": "passed", "detections": "passed", "accuracy": "not run"}


def test_export_prints_a_table_and_writes_json(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["export", str(model), "--format", "onnx", "--precision", "fp16", "--out", str(tmp_path)]
    assert main([*arguments, "--dynamic-batch", "--json", str(tmp_path / "export.json")]) == 0
    printed = capsys.readouterr().out
    assert "fp16" in printed
    assert "passed" in printed
    written = json.loads((tmp_path / "export.json").read_text())
    assert written["schema"] == 1
    assert [a["file"] for a in written["artifacts"]] == ["model.fp16.onnx"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--format", "onnx", "--format", "gif"], "'gif' is not a format"),
        (["--format", "onnx", "--precision", "int3"], "precision 'int3' is not offered"),
        (["--score-min", "1.5"], "nms.score_min is 1.5"),
        (["--dynamic-batch"], "dynamic batch"),
    ],
)
def test_export_refuses_in_one_line(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert main(["export", str(model), "--out", str(tmp_path / "out"), *options]) == 1
    assert words in _one_line(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_export_of_what_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path / "absent.pt"), "--out", str(tmp_path)]) == 1
    assert "there is no such file" in _one_line(capsys.readouterr().err)


def test_verify_passes_and_writes_json(
    phone: Path, model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "verify.json"
    arguments = ["verify", str(phone / "model.onnx"), "--against", str(model), "--data", str(data)]
    assert main([*arguments, "--json", str(report)]) == 0
    printed = capsys.readouterr().out
    for depth in ("heads", "decoded", "detections", "accuracy"):
        assert depth in printed
    written = json.loads(report.read_text())
    assert written["schema"] == 1
    (artifact,) = written["artifacts"]
    assert artifact["status"] == "passed"
    accuracy = artifact["parity"]["depths"][-1]
    assert abs(accuracy["values"]["coco_ap_change"]) <= 0.002
    assert accuracy["status"] == "passed"


@pytest.mark.parametrize("on_photographs", [False, True])
def test_a_comparison_that_failed_on_generated_pictures_says_so(
    on_photographs: bool,
    model: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(TOLERANCES, ("onnx", "fp32"), replace(TOLERANCES["onnx", "fp32"], head_max=0.0))
    arguments = ["export", str(model), "--format", "onnx", "--out", str(tmp_path)]
    assert main([*arguments, *(["--data", str(data)] if on_photographs else [])]) == 1
    shown = _one_line(capsys.readouterr().out)
    assert "the limit is 0" in shown
    assert ("--data DATA compares on photographs" in shown) != on_photographs


def test_verify_names_files_of_other_weights_and_goes_on(
    phone: Path, model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.pt"
    save_model(other, small_model(SPEC, seed=1), SPEC)
    missing = tmp_path / "missing.onnx"
    report = tmp_path / "verify.json"
    arguments = ["verify", str(missing), str(phone / "model.onnx"), "--against", str(other), "--data", str(data)]

    assert main([*arguments, "--json", str(report)]) == 1

    assert "other weights" in _one_line(capsys.readouterr().out).replace("│", " ").replace("  ", " ")
    errors = [a["reason"] for a in json.loads(report.read_text())["artifacts"]]
    assert "no such file" in errors[0]
    assert "exported from other weights" in errors[1]


def test_verify_notices_a_file_changed_after_export(phone: Path, model: Path, data: Path, tmp_path: Path) -> None:
    for path in phone.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    import onnx

    changed = onnx.load(str(tmp_path / "model.onnx"))
    changed.doc_string = "edited"
    onnx.save(changed, str(tmp_path / "model.onnx"))
    report = tmp_path / "verify.json"
    arguments = ["verify", str(tmp_path / "model.onnx"), "--against", str(model), "--data", str(data)]
    assert main([*arguments, "--json", str(report)]) == 1
    assert "was changed after export" in json.loads(report.read_text())["artifacts"][0]["reason"]


def test_verify_fails_on_a_file_that_answers_differently(phone: Path, model: Path, data: Path, tmp_path: Path) -> None:
    """Weights are changed inside the file, its card is not: only the comparison can tell."""
    import numpy as np
    import onnx

    changed = onnx.load(str(phone / "model.onnx"))
    largest = max(changed.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weights = onnx.numpy_helper.to_array(largest) * np.float32(1.05)
    largest.CopyFrom(onnx.numpy_helper.from_array(weights, largest.name))
    onnx.save(changed, str(tmp_path / "model.onnx"))
    report = tmp_path / "verify.json"
    arguments = ["verify", str(tmp_path / "model.onnx"), "--against", str(model), "--data", str(data)]
    assert main([*arguments, "--json", str(report)]) == 1
    (artifact,) = json.loads(report.read_text())["artifacts"]
    assert artifact["status"] == "failed"
    assert artifact["parity"]["depths"][0]["status"] == "failed"


def test_verify_takes_the_model_itself(model: Path, data: Path) -> None:
    """A model.pt is a runner like any other, and equals itself."""
    assert main(["verify", str(model), "--against", str(model), "--data", str(data)]) == 0


@pytest.mark.parametrize("command", ["export", "verify"])
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"edgedet {command} " in capsys.readouterr().out.split("Example")[1]
