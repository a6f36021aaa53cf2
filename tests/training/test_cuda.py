"""Whole runs on a CUDA device, where there is one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from edgedet.formats import load
from edgedet.model_file import load_torch_file
from edgedet.training import step as step_module
from edgedet.training import train
from edgedet.training.loop import Run
from tests.training.helpers import tiny_config, tiny_data

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_data(tmp_path_factory.mktemp("cuda"))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_torch_file(run / "model.pt")["state_dict"]  # type: ignore[return-value]


def same(a: Path, b: Path) -> bool:
    first, second = weights(a), weights(b)
    return all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("precision", ["'32'", "bf16", "fp16"])
@pytest.mark.parametrize("base", ["demo", "tiny_yolov3"])
def test_a_run_learns_and_validates(data: Path, tmp_path: Path, precision: str, base: str) -> None:
    changes = (
        f"training.precision={precision}", "training.workers=1", "training.val_split=val", "training.eval_every=1",
        "training.epochs=3", "training.accumulate=2", "training.batch_size=4",
    )  # fmt: skip
    model = train(tiny_config(*changes, base=base), data, tmp_path / "run", device="cuda")
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert all("coco_ap" in row["val"] for row in rows)
    assert load(model)


@pytest.mark.parametrize("base", ["demo", "tiny_yolov3"])
def test_deterministic_runs_repeat_bit_by_bit(data: Path, tmp_path: Path, base: str) -> None:
    for name in "ab":
        train(tiny_config("training.deterministic=true", base=base), data, tmp_path / name, device="cuda")
    assert same(tmp_path / "a", tmp_path / "b")


def test_loss_scaling_is_resumed(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config("training.deterministic=true", "training.precision=fp16", "training.epochs=3")
    train(config, data, tmp_path / "whole", device="cuda")
    steps, original = 0, step_module.TrainStep.__call__

    def stop(self: Run, *args: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 5:
            raise KeyboardInterrupt
        return original(self, *args)

    monkeypatch.setattr(step_module.TrainStep, "__call__", stop)
    with pytest.raises(KeyboardInterrupt):
        train(config, data, tmp_path / "parts", device="cuda")
    monkeypatch.undo()
    train(config, data, tmp_path / "parts", device="cuda", resume=True)
    assert same(tmp_path / "whole", tmp_path / "parts")
