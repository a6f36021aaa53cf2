"""The benchmarks that time two files in turn: they compare what they say they compare."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from edgedet.benchmarks import nms_cost
from edgedet.benchmarks.interleaved import time_interleaved
from edgedet.benchmarks.onnx_vs_torchvision import random_network, torchvision_model, torchvision_spec
from edgedet.data.synth import write_synthetic
from edgedet.errors import ModelFileError, NotRunError
from edgedet.export.pipeline import export_model
from edgedet.model_file import save_model
from tests.small_models import SPECS, small_model


def test_functions_take_turns_and_warm_up_is_not_measured() -> None:
    calls: list[str] = []
    times = time_interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=4, warm_up=2)
    assert "".join(calls) == "baab" * 3
    assert {name: len(summary.samples_ms) for name, summary in times.items()} == {"a": 4, "b": 4}


def test_torchvision_gets_the_same_network_and_thresholds() -> None:
    spec = torchvision_spec()
    image = torch.rand(2, 3, 320, 320, generator=torch.Generator().manual_seed(0)) * 2 - 1
    network = random_network(spec, image)
    model = torchvision_model(network, spec, same_thresholds=True)
    with torch.no_grad():
        ours = network(image)
        theirs = model.head(list(model.backbone(image).values()))  # type: ignore[operator]
    torch.testing.assert_close(theirs["bbox_regression"], ours.box_codes, atol=1e-4, rtol=0)
    torch.testing.assert_close(theirs["cls_logits"], ours.logits, atol=1e-4, rtol=0)
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in model.parameters()) == 2_469_860
    nms = spec.nms
    assert (model.score_thresh, model.nms_thresh) == (nms.score_min, nms.iou_max)
    assert (model.topk_candidates, model.detections_per_img) == (nms.pre_topk, nms.max_detections)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("data") / "shapes", train=1, val=1, test=3, size_px=96)


@pytest.fixture(scope="module")
def model(lowered: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "model.pt"
    save_model(path, small_model(SPECS["yolov3_tiny"]), SPECS["yolov3_tiny"])
    return path


def test_nms_cost_times_whole_and_cut_file(model: Path, data: Path, tmp_path: Path) -> None:
    (artifact,) = export_model(model, ["onnx"], tmp_path)
    row = nms_cost.nms_cost(artifact.path, sorted(data.rglob("*.jpg")), threads=1, rounds=12)
    assert row["mean_detections"] > 0
    assert {side: len(samples) for side, samples in row["samples_ms"].items()} == {"whole": 12, "before_nms": 12}
    assert row["added_share"] == pytest.approx(row["whole_ms"] / row["before_nms_ms"] - 1)


def test_nms_cost_of_a_file_without_suppression_is_refused(model: Path, data: Path) -> None:
    with pytest.raises(ModelFileError, match=r"model\.pt"):
        nms_cost.nms_cost(model, sorted(data.rglob("*.jpg")), threads=1, rounds=10)


def test_a_runtime_that_cannot_run_a_part_is_not_run(model: Path, data: Path, tmp_path: Path) -> None:
    (artifact,) = export_model(model, ["coreml"], tmp_path)
    with pytest.raises(NotRunError, match="cannot run a part"):
        nms_cost.nms_cost(artifact.path, sorted(data.rglob("*.jpg")), threads=1, rounds=10)


@pytest.mark.parametrize("module", ["nms_cost", "onnx_vs_torchvision"])
def test_help(module: str) -> None:
    import importlib

    import typer

    app = typer.Typer()
    app.command()(importlib.import_module(f"edgedet.benchmarks.{module}").main)
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert "--threads" in result.output
