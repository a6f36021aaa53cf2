from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgedet.benchmarks import export_cost
from edgedet.benchmarks.export_cost import ExportCost, measure_export, targets_kept
from edgedet.errors import EdgedetError


def test_a_process_is_measured(model_pt: Path) -> None:
    cost = measure_export(model_pt, ["onnx"], "fp32")
    assert cost.formats == ("onnx",)
    assert 0 < cost.seconds_by_format["onnx"] < cost.seconds
    assert cost.peak_memory_bytes > 100e6
    assert cost.parity["onnx"] in ("passed", "failed", "not run")


def test_calibration_reaches_the_process(model_pt: Path, tmp_path: Path) -> None:
    """Of no photographs: the export in the process says so."""
    with pytest.raises(EdgedetError, match="photos"):
        measure_export(model_pt, ["onnx"], "int8", tmp_path / "photos")


def test_a_failed_export_is_an_error_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(EdgedetError, match=r"absent\.pt: there is no such file"):
        measure_export(tmp_path / "absent.pt", ["onnx"], "fp32")


def test_groups_and_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One process for all formats, then one each; only the first decides about the targets."""
    groups = []

    def fake(model: Path, formats: list[str], precision: str, calibration: Path | None) -> ExportCost:
        assert calibration == Path("photos")
        groups.append(list(formats))
        seconds = 59.0 if len(formats) > 1 else 999.0
        return ExportCost(tuple(formats), seconds, {}, 2 * 10**9, dict.fromkeys(formats, "passed"))

    monkeypatch.setattr(export_cost, "measure_export", fake)
    out = tmp_path / "cost.json"
    export_cost.main(Path("model.pt"), ["onnx", "tflite"], "int8", Path("photos"), out)
    assert groups == [["onnx", "tflite"], ["onnx"], ["tflite"]]
    value = json.loads(out.read_text())
    assert value["schema"] == 1
    assert value["costs"][0]["seconds"] == 59.0


@pytest.mark.parametrize(
    ("seconds", "memory", "parity", "kept"),
    [(59, 2e9, "passed", True), (61, 2e9, "passed", False), (59, 4e9, "passed", False), (59, 2e9, "not run", False)],
)
def test_targets(seconds: float, memory: float, parity: str, kept: bool) -> None:
    assert targets_kept(ExportCost(("onnx",), seconds, {}, int(memory), {"onnx": parity})) is kept
