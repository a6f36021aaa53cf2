"""Speeds of precisions: whose time is over whose, and what cannot be compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgedet.benchmarks import precision_speed
from edgedet.benchmarks.precision_speed import speeds, take_turns
from edgedet.errors import ConfigError
from tests.exported_files import Export


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{index}.png" for index in range(2)]
    for path in paths:
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(path)
    return paths


def test_the_first_files_time_is_over_each_others(
    exported: Export, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With times that are known: 6 ms for the float file, 2 ms for the other."""
    files = [exported("yolov3_tiny", "onnx", precision).artifact.path for precision in ("fp32", "int8")]
    known = (6.0, 2.0)
    monkeypatch.setattr(
        precision_speed,
        "take_turns",
        lambda turns, rounds: {name: [ms] * rounds for name, ms in zip(turns, known, strict=True)},
    )
    before, after = speeds(files, images, threads=1, rounds=20)
    assert (before.speed_up.ratio, after.speed_up.ratio) == (pytest.approx(1), pytest.approx(3))
    assert (before.precision, after.precision) == ("fp32", "int8")
    assert after.bytes == files[1].stat().st_size < before.bytes


def test_every_file_has_its_turn_and_the_first_rounds_do_not_count() -> None:
    order: list[str] = []

    def turn(name: str, ms: float) -> Callable[[], float]:
        return lambda: (order.append(name), ms)[1]

    found = take_turns({"a": turn("a", 1.0), "b": turn("b", 2.0)}, rounds=4)
    assert found == {"a": [1.0] * 4, "b": [2.0] * 4}
    assert order[-8:] == ["b", "a", "a", "b", "b", "a", "a", "b"]


def test_files_are_really_run_and_sizes_must_agree(exported: Export, images: list[Path]) -> None:
    one = exported("yolov3_tiny", "onnx", "fp32").artifact.path
    (row,) = speeds([one], images, threads=1, rounds=20)
    assert len(row.samples_ms) == 20
    assert row.p50_ms > 0
    other = exported("ssd300", "onnx", "fp32").artifact.path
    with pytest.raises(ConfigError, match="different sizes"):
        speeds([one, other], images, threads=1, rounds=20)
