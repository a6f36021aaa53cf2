from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgedet.benchmarks import loader_speed, loss_speed
from tests.training.helpers import tiny_data

SMALL = (
    "network.width=0.2", "input.height=96", "input.width=96", "training.batch_size=4", "training.workers=0",
)  # fmt: skip


def words(data: Path, *more: str) -> list[str]:
    sets = [word for change in SMALL for word in ("--set", change)]
    return ["--config", "demo", "--data", str(data), *sets, *more]


def test_every_loss_is_timed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--steps", "2", "--repeats", "1", "--json", str(tmp_path / "loss.json"))
    assert loss_speed.main(words(tiny_data(tmp_path), *more)) == 0
    result = json.loads((tmp_path / "loss.json").read_text())
    assert result["schema"] == 1
    assert list(result["loss_cpu_ms"]) == [name for name, _, _ in loss_speed.CASES]
    assert all(value > 0 for value in result["loss_cpu_ms"].values())
    assert result["step_cpu_ms"] > 0
    assert 1 <= result["objects_per_image"] < 10
    assert "at most 15%" in capsys.readouterr().out


def test_every_recipe_is_timed_from_files_and_from_memory(tmp_path: Path) -> None:
    more = ("--images", "6", "--json", str(tmp_path / "loader.json"))
    assert loader_speed.main(words(tiny_data(tmp_path), *more)) == 0
    result = json.loads((tmp_path / "loader.json").read_text())
    assert result["schema"] == 1
    found = [(row["recipe"], row["source"]) for row in result["speeds"]]
    names = ["ssd of demo", "ssd", "yolo", "yolo, all mosaics"]
    assert found == [(name, source) for name in names for source in ("files", "memory")]
    assert all(row["images"] == 6 and row["images_per_cpu_s"] > 0 for row in result["speeds"])


@pytest.mark.parametrize("module", [loss_speed, loader_speed])
def test_a_fault_is_one_line(module: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert module.main(words(tmp_path / "nowhere")) == 1  # type: ignore[attr-defined]
    assert capsys.readouterr().err.startswith("error: ")
