"""The demo with seconds of training: every product, resume, and failures that are said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgedet.benchmarks import demo
from edgedet.benchmarks.demo import DemoSettings, run_demo
from edgedet.benchmarks.harness import Budget
from edgedet.benchmarks.latency import Latency
from edgedet.errors import EdgedetError, NotRunError
from edgedet.evaluation import EvalResult
from tests.benchmarks.conftest import latency_of

TINY = DemoSettings(
    train_images=8, val_images=2, test_images=4, size_px=96, formats=("onnx",), bench_seconds=0.1, ap50_min=0.0,
    changes=("training.epochs=1", "training.workers=0", "network.width=0.35", "input.height=96", "input.width=96"),
    photographs=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, demo.DemoResult]:
    out = tmp_path_factory.mktemp("demo") / "demo"
    return out, run_demo(out, TINY)


def test_everything_promised_is_there(finished: tuple[Path, demo.DemoResult]) -> None:
    out, result = finished
    assert [entry.name for entry in result.entries] == ["model.pt", "model.onnx"]
    assert all(isinstance(entry.evaluation, EvalResult) for entry in result.entries)
    for name in ("run/model.pt", "files/model.onnx", "files/model.onnx.export.json", "report.html"):
        assert (out / name).exists()
    for name in ("model.pt", "model.onnx"):
        assert (out / "pictures" / name / "sheet.jpg").exists()
        assert len(list((out / "pictures" / name).glob("*.jpg"))) == 1 + TINY.photographs
        assert json.loads((out / "results" / f"{name}.eval.json").read_text())["images"] == 4
    assert result.seconds > 0


def test_a_second_run_does_nothing_again(
    finished: tuple[Path, demo.DemoResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, first = finished
    for name in ("write_synthetic", "train", "export_model", "evaluate", "measure", "write_report"):
        monkeypatch.setattr(demo, name, lambda *a, **k: pytest.fail("done twice"))
    again = run_demo(out, TINY)
    assert again.failures == first.failures
    assert [entry.latency for entry in again.entries] == [entry.latency for entry in first.entries]


def test_only_what_changed_is_done_again(
    finished: tuple[Path, demo.DemoResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another time for the benchmark leaves data, training, export and accuracy alone."""
    out, _ = finished
    for name in ("write_synthetic", "train", "export_model", "evaluate"):
        monkeypatch.setattr(demo, name, lambda *a, **k: pytest.fail("done twice"))
    timed = []

    def fake(path: Path, images: object, budget: Budget) -> Latency:
        timed.append((path.name, budget.seconds))
        return latency_of(path.name, "torch 2")

    monkeypatch.setattr(demo, "measure", fake)
    run_demo(out, replace(TINY, bench_seconds=0.2))
    assert timed == [("model.pt", 0.2), ("model.onnx", 0.2)]


def test_training_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resumed = []

    def killed(config: object, data: Path, run: Path, *, device: str, resume: bool) -> Path:
        resumed.append(resume)
        run.mkdir(exist_ok=True)
        (run / "checkpoint.pt").write_bytes(b"an epoch")
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "train", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_demo(tmp_path / "demo", TINY)
    assert resumed == [False, True]


def test_a_format_that_cannot_be_made_is_not_run(
    finished: tuple[Path, demo.DemoResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = finished

    def missing(*_: object, **__: object) -> None:
        raise NotRunError("tflite: a library is missing", "Install it.")

    monkeypatch.setattr(demo, "export_model", missing)
    monkeypatch.setattr(demo, "measure", lambda path, *_, **__: latency_of(path.name, "torch 2"))
    result = run_demo(out, replace(TINY, formats=("onnx", "tflite")))
    assert [entry.name for entry in result.entries] == ["model.pt", "model.onnx", "model.tflite"]
    assert any("model.tflite: not run" in line and "a library is missing" in line for line in result.failures)
    assert "a library is missing" in (out / "report.html").read_text(encoding="utf-8")


def test_a_model_that_did_not_learn_fails(
    finished: tuple[Path, demo.DemoResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = finished
    monkeypatch.setattr(demo, "measure", lambda path, *_, **__: latency_of(path.name, "torch 2"))
    result = run_demo(out, replace(TINY, ap50_min=1.01))
    assert any("AP50 is" in line and "at least 1.01 was expected" in line for line in result.failures)


def test_unknown_formats_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgedetError, match="docx cannot be exported to"):
        run_demo(tmp_path / "demo", replace(TINY, formats=("docx",)))
    (tmp_path / "mine.txt").write_text("hello")
    with pytest.raises(EdgedetError, match="was not made by this command"):
        run_demo(tmp_path, TINY)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.txt"]
