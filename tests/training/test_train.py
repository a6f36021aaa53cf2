"""Whole runs on a tiny data set: repeatable, resumable, on several processes, and clear when they cannot go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgedet.config import Config
from edgedet.errors import ConfigError, DataError, EdgedetError
from edgedet.formats import load
from edgedet.model_file import load_torch_file
from edgedet.training import step as step_module
from edgedet.training import train
from edgedet.training.loop import Run
from tests.training.helpers import tiny_config, tiny_data

BF16 = "training.precision=bf16"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_data(tmp_path_factory.mktemp("train"))


def lines(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what the clock decides."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("images_per_s", "elapsed_s")} for row in rows]


def weights(run: Path, name: str = "model.pt") -> dict[str, torch.Tensor]:
    key = "state_dict" if name == "model.pt" else "model"
    return load_torch_file(run / name)[key]  # type: ignore[return-value]


def assert_same_run(a: Path, b: Path) -> None:
    assert lines(a) == lines(b)
    for name in ("model.pt", "checkpoint.pt"):
        first, second = weights(a, name), weights(b, name)
        assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("base", ["demo", "tiny_yolov3"])
def test_a_run_writes_its_four_files(data: Path, tmp_path: Path, base: str) -> None:
    config = tiny_config("training.val_split=val", "training.eval_every=1", base=base)
    model = train(config, data, tmp_path / "run", device="cpu")
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "model.pt",
        "checkpoint.pt",
        "metrics.jsonl",
        "training.png",
    }
    runner = load(model)
    assert runner.spec.class_names == ("disc", "square", "triangle")
    runner(np.zeros((50, 70, 3), np.uint8))
    rows = lines(tmp_path / "run")
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 3), (2, 6)]
    assert all(row["loss"] == pytest.approx(sum(row["loss_parts"].values())) for row in rows)
    assert rows[1]["loss"] < rows[0]["loss"]
    assert all(0 <= row["val"]["coco_ap50"] <= 1 for row in rows)


def test_the_same_seed_gives_the_same_run(data: Path, tmp_path: Path) -> None:
    for name in "ab":
        train(tiny_config(), data, tmp_path / name, device="cpu")
    assert_same_run(tmp_path / "a", tmp_path / "b")
    train(tiny_config("training.seed=1"), data, tmp_path / "c", device="cpu")
    assert lines(tmp_path / "a") != lines(tmp_path / "c")


@pytest.mark.parametrize("precision", ["training.precision='32'", BF16])
def test_interrupted_and_resumed_equals_uninterrupted(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    config = tiny_config("training.epochs=3", precision)
    train(config, data, tmp_path / "whole", device="cpu")
    steps = 0

    def stop_in_the_second_epoch(self: Run, *args: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 5:
            raise KeyboardInterrupt
        return original(self, *args)

    original = step_module.TrainStep.__call__
    monkeypatch.setattr(step_module.TrainStep, "__call__", stop_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        train(config, data, tmp_path / "parts", device="cpu")
    monkeypatch.undo()
    assert len(lines(tmp_path / "parts")) == 1
    assert load(tmp_path / "parts" / "model.pt")  # what the first epoch learned can be used
    torch.manual_seed(99)  # whatever happened between
    train(config, data, tmp_path / "parts", device="cpu", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_finished_run_resumes_to_itself(data: Path, tmp_path: Path) -> None:
    train(tiny_config(), data, tmp_path / "run", device="cpu")
    before = lines(tmp_path / "run")
    train(tiny_config(), data, tmp_path / "run", device="cpu", resume=True)
    assert lines(tmp_path / "run") == before


def test_a_time_budget_ends_the_run_in_mid_epoch(data: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    train(tiny_config("training.minutes=0.05"), data, tmp_path / "run", device="cpu")
    assert time.monotonic() - started < 60
    rows = lines(tmp_path / "run")
    assert rows[-1]["step"] > 0
    assert rows[-1]["lr"] < 0.003 * 0.2  # the cosine followed the clock down
    assert (tmp_path / "run" / "model.pt").exists()


def test_transfer_to_the_same_data_starts_better(data: Path, tmp_path: Path) -> None:
    first = train(tiny_config("training.epochs=4"), data, tmp_path / "a", device="cpu")
    train(tiny_config("training.epochs=1"), data, tmp_path / "b", init=str(first), device="cpu")
    assert lines(tmp_path / "b")[0]["loss"] < lines(tmp_path / "a")[0]["loss"]


def test_a_run_is_not_overwritten(data: Path, tmp_path: Path) -> None:
    train(tiny_config("training.epochs=1"), data, tmp_path / "run", device="cpu")
    with pytest.raises(ConfigError, match=r"already holds a run.*--resume"):
        train(tiny_config(), data, tmp_path / "run", device="cpu")


@pytest.mark.parametrize(
    ("changes", "device", "error", "words"),
    [
        (("training.train_split=nothing",), "cpu", DataError, "nothing"),
        ((), "tpu", ConfigError, "--device tpu"),
        (("priors.anchors_per_level=[400, 400]",), "cpu", DataError, "too few different boxes"),
    ],
)
def test_faults_leave_nothing_behind(
    data: Path, tmp_path: Path, changes: tuple[str, ...], device: str, error: type[EdgedetError], words: str
) -> None:
    with pytest.raises(error, match=words):
        train(tiny_config(*changes), data, tmp_path / "run", device=device)
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there(data: Path, tmp_path: Path) -> None:
    missing = "mps" if not torch.backends.mps.is_available() else "cuda"
    with pytest.raises(ConfigError, match=f"--device {missing}"):
        train(tiny_config(), data, tmp_path / "run", device=missing)


def test_a_loss_that_explodes_is_one_clear_line(data: Path, tmp_path: Path) -> None:
    config: Config = tiny_config("training.lr=1e30", "training.warmup_steps=0", "training.optimiser=sgd")
    with pytest.raises(EdgedetError, match=r"the loss became (nan|inf).*training\.lr"):
        train(config, data, tmp_path / "run", device="cpu")


def command(*arguments: str) -> list[str]:
    return ["-c", "from edgedet.cli import run; run()", *arguments]


def small_arguments(data: Path, out: Path, **changes: object) -> list[str]:
    values = {
        "network.width": 0.2, "input.height": 96, "input.width": 96, "training.batch_size": 4, "training.workers": 0,
        "training.val_split": "''", "training.epochs": 1, **changes,
    }  # fmt: skip
    sets = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    return ["train", "demo", "--data", str(data), "--out", str(out), "--device", "cpu", *sets]


def test_two_processes_under_torchrun(data: Path, tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text("import torch\ntorch.set_num_threads(1)\nfrom edgedet.cli import run\nrun()\n")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    done = subprocess.run(
        [*launcher, *small_arguments(data, tmp_path / "run", **{"training.epochs": 2})],
        capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    rows = lines(tmp_path / "run")
    assert [row["step"] for row in rows] == [3, 6]  # 24 images, 2 processes of 4
    assert rows[1]["loss"] < rows[0]["loss"]
    assert load(tmp_path / "run" / "model.pt")
    assert done.stderr.count("epoch   1") == 1  # only the first process reports


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_stopped_in_mid_epoch_and_resumed(data: Path, tmp_path: Path, blow: signal.Signals) -> None:
    out = tmp_path / "run"
    arguments = small_arguments(data, out, **{"training.epochs": 300, "training.workers": 1})
    errors = tmp_path / "stderr.txt"  # a file, because a killed run's loader holds a pipe open for a while
    with errors.open("w") as stderr:
        # A shell without job control starts background programs with SIGINT ignored, which children would inherit.
        process = subprocess.Popen(
            [sys.executable, *command(*arguments)],
            stderr=stderr,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    deadline = time.monotonic() + 120
    while not (out / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(blow)
    process.wait(timeout=120)
    assert process.returncode == (130 if blow == signal.SIGINT else -signal.SIGKILL)
    if blow == signal.SIGINT:
        assert "Traceback" not in errors.read_text()
        assert errors.read_text().strip().splitlines()[-1].startswith("Stopped.")
    epochs = load_torch_file(out / "checkpoint.pt")["epoch"]
    assert isinstance(epochs, int)
    assert epochs >= 1
    assert not [p for p in out.iterdir() if p.name.startswith(".")] or blow == signal.SIGKILL
    assert load(out / "model.pt")
