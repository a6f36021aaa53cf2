"""Joining files with what is known about them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgedet.benchmarks import harness
from edgedet.benchmarks.harness import Budget
from edgedet.benchmarks.latency import Latency, NotRun, results_json
from edgedet.benchmarks.report_collect import collect_entries, find_models
from edgedet.data import Dataset
from edgedet.errors import ModelFileError
from edgedet.evaluation import EvalResult
from edgedet.export.parity_report import ParityReport
from edgedet.export.pipeline import export_model
from edgedet.files import file_digest, write_json
from tests.benchmarks.conftest import latency_of
from tests.benchmarks.test_harness import app


@pytest.fixture(scope="module")
def exported(lowered: None, model_pt: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.onnx, its JSON, and a stray text."""
    folder = tmp_path_factory.mktemp("files")
    export_model(model_pt, ["onnx"], folder)
    (folder / "notes.txt").write_text("hello")
    return folder


def test_models_are_found_the_pt_first(model_pt: Path, exported: Path, tmp_path: Path) -> None:
    onnx = exported / "model.onnx"
    assert find_models([exported, model_pt, onnx]) == [model_pt, onnx]
    with pytest.raises(ModelFileError, match="holds no model file"):
        find_models([tmp_path])
    with pytest.raises(ModelFileError, match="no such file or folder"):
        find_models([tmp_path / "absent.onnx"])


@pytest.fixture(autouse=True)
def timed_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timing has tests of its own; here each file but a broken one takes 10 ms."""

    def fake(path: Path, images: Sequence[Path], threads: int | None, budget: Budget) -> Latency:
        assert images
        assert threads == 1
        if path.name == "broken.onnx":
            raise ModelFileError(f"{path}: not readable", "Export it again.")
        return latency_of(path.name, "onnxruntime 1")

    monkeypatch.setattr(harness, "measure", fake)


def test_an_entry_joins_accuracy_latency_and_parity(model_pt: Path, exported: Path, dataset: Dataset) -> None:
    broken = exported.parent / "broken.onnx"
    shutil.copy(exported / "model.onnx.export.json", broken.with_name("broken.onnx.export.json"))
    broken.write_bytes(b"nothing")
    paths = [model_pt, exported / "model.onnx", broken]
    reference, onnx, damaged = collect_entries(paths, dataset, max_images=3, threads=1)
    assert reference.is_reference
    assert isinstance(onnx.parity, ParityReport)
    assert isinstance(onnx.evaluation, EvalResult)
    assert len(onnx.evaluation.dataset) == 3
    assert isinstance(onnx.latency, Latency)
    assert onnx.size_bytes == (exported / "model.onnx").stat().st_size
    assert onnx.sha256 == file_digest(exported / "model.onnx")[0]
    assert onnx.notes
    assert isinstance(damaged.evaluation, NotRun)
    assert isinstance(damaged.latency, NotRun)
    assert isinstance(damaged.parity, NotRun)
    assert "another version of the file" in damaged.parity.reason
    (unmeasured,) = collect_entries([exported / "model.onnx"], None)
    assert (unmeasured.evaluation, unmeasured.latency) == (None, None)
    assert unmeasured.parity == onnx.parity


def test_the_command_writes_the_page(model_pt: Path, exported: Path, dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    arguments = ["report", str(model_pt), str(exported), "--data", str(dataset.root), "--out", str(out)]
    ran = CliRunner().invoke(app(), [*arguments, "--seconds", "0.1", "--threads", "1", "--title", "Mine"])
    assert ran.exit_code == (1 if "failed:" in ran.output else 0), ran.output
    assert "model.onnx" in ran.output
    assert "<h1>Mine</h1>" in out.read_text(encoding="utf-8")


def test_the_command_joins_results_without_measuring(model_pt: Path, exported: Path, tmp_path: Path) -> None:
    """The second result is of another version of the file: named on the page and on the terminal, and left out."""
    here = replace(latency_of("model.onnx", "engine 1", 12.5), sha256=file_digest(exported / "model.onnx")[0])
    stale = replace(latency_of("old/model.onnx", "engine 1", 77.5), sha256="0" * 64)
    write_json(tmp_path / "phone.json", results_json([here, stale]))
    out = tmp_path / "report.html"
    arguments = ["report", str(exported / "model.onnx"), "--latency", str(tmp_path / "phone.json"), "--out", str(out)]
    ran = CliRunner().invoke(app(), arguments)
    assert ran.exit_code == 0, ran.output
    assert "of another file, left out: old/model.onnx" in ran.output
    text = out.read_text(encoding="utf-8")
    assert "12.50 ms" in text
    assert "77.50 ms" not in text
    assert "old/model.onnx" in text
