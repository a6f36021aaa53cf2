"""The sweep: what is stored is not made again, also after a kill; what breaks does not stop the rest."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgedet.benchmarks.lab import store as store_module
from edgedet.benchmarks.lab.store import Photographs, Store, attempt, dataset_key
from edgedet.benchmarks.lab.sweep import Cell, Row, plan, run_sweep
from edgedet.benchmarks.lab.sweep_page import on_front, sweep_json, write_sweep
from edgedet.benchmarks.latency import Latency
from edgedet.benchmarks.report_join import join_results
from edgedet.benchmarks.request import Budget, Request
from edgedet.data import Dataset, read_dataset
from edgedet.errors import ConfigError, ModelFileError
from edgedet.export.artifact import Artifact
from tests.benchmarks.conftest import latency_of
from tests.benchmarks.report_cases import accuracy, entry

CELLS = [Cell("onnx", "fp32"), Cell("onnx", "fp16")]
QUICK = Request(budget=Budget(seconds=0.1))


@pytest.fixture
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A measurement in a process of its own takes seconds; here it is made by hand."""

    rounds = itertools.count()

    def measured(path: Path, request: Request) -> Latency:
        sha256 = Artifact.read(path).file_sha256
        p50_ms = (10.0 if "fp16" in path.name else 20.0) + 0.001 * next(rounds)  # no two are the same
        return replace(latency_of(path.name, "engine 1", p50_ms), sha256=sha256)

    monkeypatch.setattr(store_module, "measure_here", measured)


# Sweeps, and is killed by the system's own means when the second file's accuracy is about to be measured.
_KILLED = """
import os, signal, sys
from pathlib import Path
from edgedet.benchmarks.lab import store as lab
from edgedet.benchmarks.lab.sweep import Cell, run_sweep
from edgedet.benchmarks.request import Request
from edgedet.data import read_dataset

out, model, data = map(Path, sys.argv[1:])
evaluate, calls = lab.evaluate, []

def evaluate_or_die(runner, dataset):
    calls.append(runner.path)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return evaluate(runner, dataset)

lab.evaluate = evaluate_or_die
store = lab.Store(out, model, read_dataset(data, "test"), None)
run_sweep(store, [Cell("onnx", "fp32"), Cell("onnx", "fp16")], Request(), rounds=0)
"""


def test_a_killed_sweep_goes_on_where_it_was(model_pt: Path, dataset: Dataset, folder: Path, no_clock: None) -> None:
    """Both files are there when the sweep begins; it dies while it measures the second one."""
    command = [sys.executable, "-c", _KILLED, *map(str, (folder, model_pt, dataset.root))]
    died = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert len(list((folder / "accuracy").iterdir())) == 2  # of model.pt and the first file

    lines: list[str] = []
    store = Store(folder, model_pt, dataset, None)
    sweep = run_sweep(store, CELLS, QUICK, rounds=2, tell=lines.append)
    assert [kind for kind, _ in store.made] == ["accuracy"] + 4 * ["latency"]
    assert [row.reason for row in sweep.rows] == ["", ""]
    assert len(lines) == 1 + 2 * (2 + 2)
    assert "left)" in lines[-1]
    assert sweep.speed_up(sweep.rows[1]) == pytest.approx(2.0, abs=0.01)

    again = Store(folder, model_pt, dataset, None)
    assert sweep_json(run_sweep(again, CELLS, QUICK, rounds=2), folder) == sweep_json(sweep, folder)
    assert again.made == []
    _report_takes_it(folder, sweep.rows[0])


def _report_takes_it(out: Path, row: Row) -> None:
    """What the store holds goes into a report page by the digest of the file."""
    assert row.artifact is not None
    given = replace(entry("model.onnx"), sha256=row.artifact.file_sha256)
    (joined,), others = join_results([given], [out / "latency"], [out / "accuracy"])
    assert len(joined.latencies) == 2
    assert joined.accuracy is not None
    assert joined.accuracy.metrics["coco_ap"] == row.ap
    assert len(others) == 2 + 2  # those of the other file and of model.pt


def test_what_changes_the_file_changes_its_key(
    model_pt: Path, dataset: Dataset, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file in the place of the right one is made again; other photographs give another key."""
    store = Store(folder, model_pt, dataset, None)
    artifact = store.artifact("onnx", CELLS[0].options)
    artifact.path.write_bytes(b"damaged")
    asked: list[Path] = []

    def export(model: Path, formats: list[str], out: Path, **_: object) -> list[Artifact]:
        asked.append(out)
        return [artifact]

    monkeypatch.setattr(store_module, "export_model", export)
    Store(folder, model_pt, dataset, None).artifact("onnx", CELLS[0].options)
    assert asked == [artifact.path.parent]
    Store(folder, model_pt, dataset, None).artifact("onnx", CELLS[1].options)
    assert len(asked) == 1
    fewer = replace(dataset, samples=dataset.samples[:-1])
    assert dataset_key(fewer) != dataset_key(dataset)
    assert dataset_key(read_dataset(dataset.root, "test")) == dataset_key(dataset)


def test_a_cell_that_fails_says_why_and_the_others_go_on(
    model_pt: Path, dataset: Dataset, folder: Path, no_clock: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Store.artifact

    def artifact(self: Store, format: str, options: object) -> Artifact:
        if format == "tflite":
            raise RuntimeError("the converter fell over\nwith a long trace")
        return made(self, format, options)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "artifact", artifact)
    store = Store(folder, model_pt, dataset, Photographs(dataset.root, count=1))
    cells = [Cell("tflite", "fp32"), Cell("onnx", "fp32")]
    sweep = run_sweep(store, cells, QUICK, rounds=1)
    assert sweep.rows[0].reason == "RuntimeError: the converter fell over"
    assert sweep.rows[1].ap is not None
    value = json.loads((write_sweep(sweep, folder)[0]).read_text())
    assert [cell["reason"] for cell in value["cells"]] == ["RuntimeError: the converter fell over", None]
    assert value["cells"][0]["coco_ap"] is None
    assert value["cells"][1]["on_size_front"] is True


def test_the_plan() -> None:
    assert {cell.format for cell in plan()} == {"onnx", "tflite", "coreml"}
    assert plan(["onnx"], ["fp16", "fp32"]) == CELLS
    with pytest.raises(ConfigError, match="no format 'onxx'"):
        plan(["onxx"])
    with pytest.raises(ConfigError, match="no precision 'int4'"):
        plan(precisions=["int4"])
    with pytest.raises(ConfigError, match="none of these formats"):
        plan(["onnx"], ["palette4"])


def test_the_front_leaves_out_what_another_file_beats(tmp_path: Path) -> None:
    def row(name: str, ap: float, size: int) -> Row:
        blank = object.__new__(Artifact)
        object.__setattr__(blank, "size_bytes", size)
        return Row(Cell("onnx", name), "", blank, accuracy(name, ap))

    rows = [row("fp32", 0.5, 40), row("fp16", 0.5, 20), row("int8", 0.4, 30), row("palette4", 0.3, 10)]
    assert on_front([*rows, Row(Cell("onnx", "pruned"), "not run")], "size") == [False, True, False, True, False]
    assert on_front(rows, "latency") == [False] * 4


def test_a_missing_model_is_refused_at_once(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no such file"):
        Store(tmp_path, tmp_path / "missing.pt", dataset, None)
    assert list(tmp_path.iterdir()) == []


def test_attempt_keeps_one_line() -> None:
    def fail() -> None:
        raise ConfigError("this is wrong", "Do that.")

    assert attempt(fail) == (None, "this is wrong. Do that.")
    assert attempt(lambda: 3) == (3, "")
