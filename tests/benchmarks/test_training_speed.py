from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgedet.benchmarks.training_speed import PARTS, main
from tests.training.helpers import tiny_data

SMALL = (
    "network.width=0.2", "input.height=96", "input.width=96", "training.batch_size=4", "training.workers=1",
)  # fmt: skip


def words(data: Path, *more: str) -> list[str]:
    sets = [word for change in SMALL for word in ("--set", change)]
    return ["--config", "demo", "--data", str(data), "--device", "cpu", "--steps", "3", "--warmup", "1", *sets, *more]


def test_every_part_of_every_step_is_timed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(tiny_data(tmp_path), "--json", str(tmp_path / "speed.json"))) == 0
    result = json.loads((tmp_path / "speed.json").read_text())
    assert result["schema"] == 1
    assert set(result["step_ms"]) == set(PARTS)
    assert all(len(times) == 3 and min(times) >= 0 for times in result["step_ms"].values())
    total_s = sum(sum(times) for times in result["step_ms"].values()) / 1e3
    assert 0 < result["images_per_s"] <= 3 * 4 / total_s
    assert 1e8 < result["peak_memory_bytes"] < 1e11
    printed = capsys.readouterr().out
    assert all(part in printed for part in PARTS)


def test_a_fault_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(tmp_path / "nowhere")) == 1
    assert capsys.readouterr().err.startswith("error: ")
