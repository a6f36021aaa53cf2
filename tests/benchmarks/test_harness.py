"""The measuring process: round trip, faults that cross the process border, and what is not run."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from edgedet.benchmarks import commands, harness
from edgedet.benchmarks.bench_table import remarks
from edgedet.benchmarks.devices import host
from edgedet.benchmarks.harness import Budget, Latency, NotRun, find_images, measure, measure_each
from edgedet.benchmarks.latency import results_json
from edgedet.benchmarks.request import Request
from edgedet.errors import ConfigError, DataError, EdgedetError, ModelFileError, NotRunError
from edgedet.export.artifact import file_digest
from edgedet.formats import Format, load

QUICK = Budget(seconds=0.1, max_samples=6, min_samples=3)


@pytest.fixture(scope="module")
def latency(model_pt: Path) -> Latency:
    return measure(model_pt, threads=1, budget=QUICK)


def test_a_measurement_names_what_was_measured(latency: Latency, model_pt: Path) -> None:
    spec = load(model_pt).spec
    assert (latency.sha256, latency.file_bytes) == file_digest(model_pt)
    assert (latency.spec_digest, latency.score_min) == (spec.digest(), spec.nms.score_min)
    assert (latency.format, latency.precision) == ("torch", "fp32")
    assert latency.environment.threads == 1
    assert latency.environment.versions["edgedet"]
    assert latency.images.source == "generated"
    assert len(latency.images.sizes_wh_px) == 4


def test_stages_add_up_to_the_whole(latency: Latency) -> None:
    samples = len(latency.steady.samples_ms)
    assert 3 <= samples <= 6
    assert set(latency.stages) == {"preprocess", "inference", "postprocess"}
    by_stage = np.array([latency.stages[name].samples_ms for name in latency.stages])
    assert by_stage.shape == (3, samples)
    np.testing.assert_allclose(by_stage.sum(axis=0), latency.steady.samples_ms, atol=1e-3)
    assert latency.load_ms > 0
    assert latency.first_ms > 0
    assert latency.peak_memory_bytes > 10e6


def test_json_round_trip_and_form(latency: Latency) -> None:
    text = json.dumps(results_json([latency, NotRun("b.onnx", "no runtime")]), allow_nan=False)
    value = json.loads(text)
    assert value["schema"] == 2
    first, second = value["results"]
    assert {"load_ms", "first_ms", "steady", "stages", "environment", "sha256", "score_min"} <= set(first)
    assert set(first["steady"]) >= {"p50_ms", "p90_ms", "p99_ms", "samples_ms"}
    assert first["device_latency"] is True
    assert second == {"status": "not run", "artifact": "b.onnx", "reason": "no runtime", "device": "host"}
    assert Latency.from_json(first) == latency


def test_photographs_are_cycled_through(model_pt: Path, tmp_path: Path) -> None:
    for k, size in enumerate([(40, 30), (20, 50)]):
        Image.new("RGB", size, (k * 90, 20, 30)).save(tmp_path / f"{k}.png")
    result = measure(model_pt, find_images(tmp_path), threads=1, budget=QUICK)
    assert result.images.source == "photographs"
    assert result.images.names == ("0.png", "1.png")
    assert result.images.sizes_wh_px == ((40, 30), (20, 50))


def test_a_damaged_file_keeps_its_error(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"not a model")
    with pytest.raises(ModelFileError, match=r"broken\.pt: not a readable weights file") as caught:
        measure(broken, budget=QUICK)
    assert caught.value.remedy


def test_an_unreadable_photograph_is_no_fault_of_the_model(model_pt: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8nothing")
    with pytest.raises(DataError, match=r"bad\.jpg"):
        measure_each([model_pt], [bad], budget=QUICK)


def test_missing_and_unknown_files_start_no_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(harness.subprocess, "Popen", lambda *a, **k: pytest.fail("a process was started"))
    with pytest.raises(ModelFileError, match="no such file"):
        measure(tmp_path / "absent.pt")
    with pytest.raises(ModelFileError, match="ends in none of"):
        measure(tmp_path / "model.docx")


def test_a_missing_runtime_is_not_run_and_the_rest_is(
    monkeypatch: pytest.MonkeyPatch, latency: Latency, tmp_path: Path
) -> None:
    def fake(path: Path, *_: object) -> Latency:
        if path.name == "a.onnx":
            raise NotRunError("onnx: a library is missing", "Install it.")
        return latency

    monkeypatch.setattr(harness, "measure", fake)
    first, second = measure_each([tmp_path / "a.onnx", tmp_path / "b.pt"])
    assert first == NotRun(str(tmp_path / "a.onnx"), "onnx: a library is missing. Install it.")
    assert second is latency


def test_the_worker_reports_a_missing_runtime(monkeypatch: pytest.MonkeyPatch, model_pt: Path, tmp_path: Path) -> None:
    """The row of the table names a module that is not there, as when an optional dependency group is not installed."""
    from edgedet.benchmarks import worker

    row = Format("torch", ".pt", "edgedet.no_such_module", extra="torch")
    monkeypatch.setattr(worker, "format_of", lambda path: row)
    question: dict[str, Any] = {"path": str(model_pt), "request": Request(budget=QUICK).to_json()}
    (tmp_path / "request.json").write_text(json.dumps(question))
    worker.main(tmp_path / "request.json", tmp_path / "answer.json")
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert answer["error"] == "NotRunError"
    assert "pip install 'edgedet[torch]'" in answer["remedy"]


@pytest.mark.parametrize(
    ("script", "limit_seconds", "message"),
    [
        ("import os; os.kill(os.getpid(), 9)", 60.0, "ended by SIGKILL"),
        ("raise SystemExit('no memory left')", 60.0, "ended with code 1: no memory left"),
        ("import time; time.sleep(60)", 0.1, "could not be timed within 0 s"),
    ],
)
def test_a_process_that_dies_or_hangs_is_an_error(
    monkeypatch: pytest.MonkeyPatch, model_pt: Path, script: str, limit_seconds: float, message: str
) -> None:
    real = harness.subprocess.Popen
    monkeypatch.setattr(harness.subprocess, "Popen", lambda command, **k: real([sys.executable, "-c", script], **k))
    with pytest.raises(EdgedetError, match=message):
        measure(model_pt, budget=Budget(seconds=0.0, limit_seconds=limit_seconds))


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no picture"):
        find_images(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        find_images(tmp_path / "absent")


def app() -> typer.Typer:
    commands_app = typer.Typer()
    commands.register(commands_app)
    commands_app.command("other")(lambda: None)  # with one command alone, Typer would not expect its name
    return commands_app


def test_the_command_prints_writes_and_fails_for_what_was_not_run(
    monkeypatch: pytest.MonkeyPatch, latency: Latency, tmp_path: Path
) -> None:
    asked: list[tuple[object, ...]] = []

    def fake(path: Path, request: Request, *_: object) -> Latency:
        asked.append((path, request))
        if path.name == "absent.onnx":
            raise ModelFileError("absent.onnx: there is no such file", "Check the path.")
        return latency

    monkeypatch.setattr(host, "measure_here", fake)
    out = tmp_path / "latency.json"
    arguments = ["bench", "model.pt", "--seconds", "0.1", "--threads", "1", "--json", str(out)]
    good = CliRunner().invoke(app(), arguments)
    assert good.exit_code == 0, good.output
    assert "p90" in good.output
    assert asked == [(Path("model.pt"), Request(threads=1, budget=Budget(seconds=0.1)))]
    bad = CliRunner().invoke(app(), [*arguments, "absent.onnx"])
    assert bad.exit_code == 1
    assert "absent.onnx: not run: absent.onnx: there is no such file" in bad.output
    assert [r["status"] for r in json.loads(out.read_text())["results"]] == ["measured", "not run"]
    both = CliRunner().invoke(app(), [*arguments, "--data", "set", "--images", str(tmp_path)])
    assert isinstance(both.exception, ConfigError)


def test_a_reference_runtime_is_marked(latency: Latency) -> None:
    reference = replace(latency, runtime="reference runtime (Core ML package in torch)")
    assert not reference.is_device_latency
    assert any(line.endswith("† not a device latency") for line in remarks([reference]))
    assert not any("†" in line for line in remarks([latency]))
