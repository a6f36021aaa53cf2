"""Whole runs on a tiny data set: repeatable, resumable, on several processes, and clear when they cannot go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import edgedet.cli as cli
from edgedet.config import Config, make_spec
from edgedet.data import read_dataset
from edgedet.errors import ConfigError, DataError, EdgedetError
from edgedet.formats import load
from edgedet.model_file import load_torch_file, save_model
from edgedet.models import build
from edgedet.training import step as step_module
from edgedet.training import train
from edgedet.training.anchors import boxes_wh_px
from edgedet.training.engine import arithmetic
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


# Three epochs of three steps; the backbone learns in the second and third.
EVERYTHING = (
    "training.precision='32'", "training.batch_size=4", "training.accumulate=2", "training.freeze=backbone",
    "training.freeze_epochs=1", "training.lr_factor.backbone=0.1", "training.deterministic=true",
    "training.val_split=val", "training.eval_every=1", "training.patience=2",
)  # fmt: skip


@pytest.fixture(scope="module")
def earlier(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Starting weights: the network of tiny_config, as drawn."""
    path = tmp_path_factory.mktemp("earlier") / "model.pt"
    dataset = read_dataset(data, "train")
    spec = make_spec(tiny_config(), dataset.class_names, boxes_wh_px(dataset, tiny_config().input))
    torch.manual_seed(5)
    save_model(path, build(spec), spec)
    return path


@pytest.mark.parametrize(
    ("changes", "killed_in_step"), [((BF16,), 5), (EVERYTHING, 5), (EVERYTHING, 8)], ids=["bf16", "thawing", "thawed"]
)
def test_interrupted_and_resumed_equals_uninterrupted(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: Path, changes: Sequence[str],
    killed_in_step: int,
) -> None:  # fmt: skip
    config = tiny_config("training.epochs=3", *changes)
    train(config, data, tmp_path / "whole", device="cpu", init=str(earlier))
    steps = 0

    def stop(self: Run, *args: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == killed_in_step:
            raise KeyboardInterrupt
        return original(self, *args)

    original = step_module.TrainStep.__call__
    monkeypatch.setattr(step_module.TrainStep, "__call__", stop)
    with pytest.raises(KeyboardInterrupt):
        train(config, data, tmp_path / "parts", device="cpu", init=str(earlier))
    monkeypatch.undo()
    assert len(lines(tmp_path / "parts")) == killed_in_step // 3
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


def small_arguments(data: Path, out: Path, config: str = "demo", **changes: object) -> list[str]:
    values = {
        "network.width": 0.2, "input.height": 96, "input.width": 96, "training.batch_size": 4, "training.workers": 0,
        "training.val_split": "''", "training.epochs": 1, **changes,
    }  # fmt: skip
    sets = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    return ["train", config, "--data", str(data), "--out", str(out), "--device", "cpu", *sets]


# What every process saw and ended with, as JSON lines, besides what `edgedet train` does.
WATCHED = """
import json, os, sys, torch
torch.set_num_threads(1)
from edgedet.cli import run
from edgedet.model_file import weights_sha256
from edgedet.training import images, loop
seen, get, finish = [], images.TrainingImages.__getitem__, loop.Run.finish
def watched_get(self, key):
    seen.append([key.epoch, key.image])
    return get(self, key)
def watched_finish(self):
    path = finish(self)
    weights = {name: value for name, value in self.step.network.named_parameters()}
    with open(f"{sys.argv[0]}.{os.environ['RANK']}.json", "w") as file:
        json.dump({"seen": seen, "weights": weights_sha256(weights)}, file)
    return path
images.TrainingImages.__getitem__, loop.Run.finish = watched_get, watched_finish
run()
"""


def test_two_processes_under_torchrun_are_one_process_with_the_large_batch(data: Path, tmp_path: Path) -> None:
    """A network without batch norm, whose backbone thaws in the second epoch; 12 images a step in both runs."""
    plain = {"training.optimiser": "sgd", "training.lr": 0.02, "training.warmup_steps": 0, "training.epochs": 2,
             "training.precision": "'32'", "input.height": 272, "input.width": 272, "network.width": 0.03,
             "priors.strides_px": "null", "training.fast_kernels": "false", "training.lr_factor.head": 2}  # fmt: skip
    first = small_arguments(data, tmp_path / "first", "ssd300_vgg16", **{**plain, "training.epochs": 1})
    assert cli.main([*first, "--set", "training.batch_size=24"]) == 0
    frozen = {"training.freeze": "backbone", "training.freeze_epochs": 1, **plain}
    init = ["--init", str(tmp_path / "first" / "model.pt")]
    alone = small_arguments(data, tmp_path / "alone", "ssd300_vgg16", **frozen)
    assert cli.main([*alone, *init, "--set", "training.batch_size=12"]) == 0

    script = tmp_path / "run.py"
    script.write_text(WATCHED)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    shared = small_arguments(data, tmp_path / "shared", "ssd300_vgg16", **frozen)
    done = subprocess.run(
        [*launcher, *shared, *init, "--set", "training.batch_size=3", "--set", "training.accumulate=2"],
        capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [json.loads((tmp_path / f"run.py.{rank}.json").read_text()) for rank in range(2)]
    for epoch in range(2):
        images = [{image for e, image in rank["seen"] if e == epoch} for rank in ranks]
        assert images[0].isdisjoint(images[1])
        assert images[0] | images[1] == set(range(24))
    assert ranks[0]["weights"] == ranks[1]["weights"]
    assert {p.name for p in (tmp_path / "shared").iterdir()} == {
        "model.pt", "checkpoint.pt", "metrics.jsonl", "training.png",
    }  # fmt: skip
    assert [row["step"] for row in lines(tmp_path / "shared")] == [2, 4]
    assert done.stderr.count("epoch   1") == 1  # only the first process reports
    before, one, two = (weights(tmp_path / name, "checkpoint.pt") for name in ("first", "alone", "shared"))
    moved = max(float((one[key] - before[key]).abs().max()) for key in one)
    assert moved > 1e-3
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, atol=1e-4 * moved, rtol=0, msg=key)


@pytest.mark.parametrize("patience", [None, 2])
def test_the_best_epoch_is_kept(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: int | None
) -> None:
    values, averages = [0.2, 0.5, 0.4, 0.5, 0.6], []

    def validate(run: Run) -> dict[str, float]:
        averages.append({key: value.clone() for key, value in run.step.average.model.state_dict().items()})
        return {"coco_ap": 0.0, "coco_ap50": 0.0, "voc07_map": values[run.epoch - 1]}

    monkeypatch.setattr(Run, "_validate", validate)
    asked = "training.keep=best" if patience is None else f"training.patience={patience}"
    config = tiny_config(
        "training.epochs=5", "training.val_split=val", "training.eval_every=1", asked, "training.monitor=voc07_map"
    )
    train(config, data, tmp_path / "run", device="cpu")
    assert len(lines(tmp_path / "run")) == (5 if patience is None else 4)
    kept, best = weights(tmp_path / "run"), averages[4 if patience is None else 1]
    assert all(torch.equal(kept[key], best[key]) for key in best)
    assert not all(torch.equal(kept[key], averages[2][key]) for key in best)
    if patience:  # a run that has stopped stays stopped
        train(config, data, tmp_path / "run", device="cpu", resume=True)
        assert len(lines(tmp_path / "run")) == 4


def test_deterministic_runs_repeat_and_leave_torch_as_it_was(data: Path, tmp_path: Path) -> None:
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    for name in "ab":
        train(tiny_config("training.deterministic=true"), data, tmp_path / name, device="cpu")
    assert_same_run(tmp_path / "a", tmp_path / "b")
    assert (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark) == before


def test_an_operation_that_is_not_deterministic_is_one_clear_line() -> None:
    config = tiny_config("training.deterministic=true").training
    with pytest.raises(EdgedetError, match=r"training\.deterministic.*put_.*Leave"), arithmetic(config):
        torch.zeros(2).put_(torch.tensor([0]), torch.tensor([1.0]))  # torch's documented example of one


@pytest.mark.parametrize(
    ("changes", "environment", "words"),
    [
        (("training.freeze=backbone",), {}, r"training\.freeze is backbone without --init"),
        (("training.batch_norm=frozen",), {}, r"training\.batch_norm is frozen without --init"),
        (("training.precision=fp16",), {}, r"training\.precision is fp16 on cpu.*bf16"),
        (("training.batch_norm=sync",), {"WORLD_SIZE": "2"}, r"training\.batch_norm is sync on cpu.*frozen"),
    ],
)
def test_what_cannot_be_done_here_is_one_clear_line(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: tuple[str, ...],
    environment: dict[str, str], words: str,
) -> None:  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=words):
        train(tiny_config(*changes), data, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


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
