from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgedet.errors import ConfigError, ModelFileError
from edgedet.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgedet.training.record import Record, plot_record, read_record
from tests.small_models import small_model, small_spec
from tests.training.helpers import tiny_config

SPEC = small_spec("ssdlite_mobilenet_v2")


def some_checkpoint(digest: str) -> Checkpoint:
    model = small_model(SPEC)
    optimiser = torch.optim.AdamW(model.parameters())
    return Checkpoint(
        SPEC.to_json(), digest, model.state_dict(), optimiser.state_dict(), {"updates": 3, "model": model.state_dict()},
        epoch=2, step=6, elapsed_s=1.5, precision={"scale": 1024.0},
    )  # fmt: skip


def test_round_trip_without_executing_code(tmp_path: Path) -> None:
    config, path = tiny_config(), tmp_path / "checkpoint.pt"
    saved = some_checkpoint(config.digest())
    save_checkpoint(path, saved)
    found = load_checkpoint(path, config)  # goes through torch.load(weights_only=True)
    assert found.spec == SPEC
    assert (found.epoch, found.step, found.elapsed_s) == (2, 6, 1.5)
    assert found.precision == {"scale": 1024.0}
    assert all(torch.equal(found.model[key], value) for key, value in saved.model.items())
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_another_configuration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, some_checkpoint(tiny_config().digest()))
    with pytest.raises(ConfigError, match=r"checkpoint\.pt: was written under another configuration"):
        load_checkpoint(path, tiny_config("training.lr=0.5"))
    load_checkpoint(path, tiny_config("training.workers=2"))


@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "model", "missing"])
def test_broken_checkpoints(tmp_path: Path, damage: str) -> None:
    config, path = tiny_config(), tmp_path / "checkpoint.pt"
    save_checkpoint(path, some_checkpoint(config.digest()))
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "model":
        torch.save({"kind": "edgedet.model", "spec": ""}, path)
    elif damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"not a checkpoint" if damage == "text" else b"")
    with pytest.raises(ModelFileError) as caught:
        load_checkpoint(path, config)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_record_keeps_the_epochs_before_a_resume(tmp_path: Path) -> None:
    record = Record(tmp_path / "metrics.jsonl")
    for epoch in (1, 2, 3):
        record.add({"epoch": epoch, "loss": 1.0})
    resumed = Record(tmp_path / "metrics.jsonl", epochs=2)
    resumed.add({"epoch": 3, "loss": 0.5})
    assert [(row["epoch"], row["loss"]) for row in read_record(tmp_path / "metrics.jsonl")] == [
        (1, 1.0),
        (2, 1.0),
        (3, 0.5),
    ]
    assert Record(tmp_path / "metrics.jsonl").lines == []


def test_plot(tmp_path: Path) -> None:
    lines = [
        {"epoch": e, "loss": 3.0 / e, "loss_parts": {"class": 2.0 / e, "box": 1.0 / e},
         "val": {"coco_ap": 0.1 * e, "coco_ap50": 0.2 * e} if e == 2 else None}
        for e in (1, 2)
    ]  # fmt: skip
    plot_record(lines, tmp_path / "training.png")
    assert (tmp_path / "training.png").read_bytes()[:4] == b"\x89PNG"
