"""`edgedet quantize ...` as it is typed: results on stdout in 80 columns, one line for what is wrong, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgedet.benchmarks.lab import mixed
from edgedet.benchmarks.lab.search_layers import Outcome, Trial
from edgedet.benchmarks.lab.store import Store
from edgedet.cli import main
from edgedet.data import Dataset
from edgedet.export.artifact import Artifact


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_explain(model_pt: Path, dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, copy = tmp_path / "damage", tmp_path / "damage_copy.json"
    arguments = [str(model_pt), str(model_pt), "--data", str(dataset.root), "--out", str(out), "--json", str(copy)]
    assert main(["quantize", "explain", *arguments]) == 0
    said = capsys.readouterr().out
    assert "lost (shown by A only): 0, of which right: 0" in said
    assert all(len(line) <= 80 for line in said.splitlines() if str(tmp_path) not in line and str(model_pt) not in line)
    assert json.loads(copy.read_text()) == json.loads((out / "damage.json").read_text())


def test_sweep_without_timing(
    model_pt: Path, dataset: Dataset, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(model_pt), "--data", str(dataset.root), "--out", str(folder), "--runs", "0"]
    assert main(["quantize", "sweep", *arguments, "--formats", "onnx", "--precisions", "fp32"]) == 0
    captured = capsys.readouterr()
    assert "onnx fp32" in captured.out
    assert "[2/3] onnx fp32: export" in captured.err
    assert all(len(line) <= 80 for line in captured.out.splitlines() if str(folder) not in line)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explain", "MODEL", "missing.onnx", "--data", "DATA"], "missing.onnx: there is no such file"),
        (["explain", "MODEL", "MODEL", "--data", "DATA", "--score-min", "0.01"], "--score-min 0.01"),
        (["explain", "MODEL", "MODEL", "--data", "nowhere"], "nowhere"),
        (["sweep", "MODEL", "--data", "DATA", "--formats", "onxx"], "there is no format 'onxx'"),
        (["sweep", "missing.pt", "--data", "DATA"], "missing.pt"),
        (["sensitivity", "MODEL", "--data", "DATA"], "2 images to calibrate on, at least 8 are needed"),
        (["search", "MODEL", "--data", "DATA", "--objective", "speed"], "--objective speed"),
        (["search", "MODEL", "--data", "DATA", "--search-split", "test"], "both test"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], said: str, model_pt: Path, dataset: Dataset, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    places = {"MODEL": str(model_pt), "DATA": str(dataset.root)}
    out = tmp_path / "out"
    code = main(["quantize", *(places.get(word, word) for word in arguments), "--out", str(out)])
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert code == 1
    assert said in line
    assert not out.exists()


def test_a_loss_that_cannot_be_kept_gives_the_best_file_and_code_1(
    model_pt: Path, dataset: Dataset, folder: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The files are real ones made before, the search is not: it says that nothing was enough."""
    files = {path.parent.name: Artifact.read(path) for path in (folder / "files").rglob("*.onnx")}
    by_precision = {artifact.precision: artifact for artifact in files.values()}
    monkeypatch.setattr(mixed, "INT8", "fp16")  # needs no calibration, which so few pictures would not allow
    monkeypatch.setattr(Store, "artifact", lambda self, format, options: by_precision[options.precision])
    best = Trial((), 0.0, 0.1, real=True)
    monkeypatch.setattr(mixed, "_search", lambda *_: (Outcome(best, False, True, (best,)), (0.5, 0.1)))
    monkeypatch.setattr(mixed, "check", lambda *_: "size")
    arguments = [str(model_pt), "--data", str(dataset.root), "--out", str(folder), "--format", "onnx"]
    assert main(["quantize", "search", *arguments, "--seconds", "0"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "no set of layers that was tried is enough: this is the best file found" in said
    value = json.loads((folder / "search.json").read_text())
    assert value["met"] is False
    assert value["float_layers"] == []
    assert set(value["files"]) == {"float", "uniform int8", "mixed"}
    assert Artifact.read(folder / value["files"]["mixed"]["file"]).precision == "fp16"
