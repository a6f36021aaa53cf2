"""Stages: done once, done again when something else is wanted, continued after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgedet.benchmarks.stages import Stages
from edgedet.errors import EdgedetError


def _writer(path: Path, calls: list[str]) -> Callable[[], None]:
    def work() -> None:
        calls.append(path.name)
        path.write_text(path.read_text() + "+" if path.exists() else "new")

    return work


def test_a_finished_stage_is_not_done_again(tmp_path: Path) -> None:
    out, calls = tmp_path / "out", []
    first = Stages(out, 1).run("one", {"n": 1}, [out / "a"], _writer(out / "a", calls))
    second = Stages(out, 1).run("one", {"n": 1}, [out / "a"], _writer(out / "a", calls))
    assert calls == ["a"]
    assert first == second


def test_other_wishes_remove_the_old_outputs(tmp_path: Path) -> None:
    out, calls = tmp_path / "out", []
    key = Stages(out, 1).run("one", {"n": 1}, [out / "a"], _writer(out / "a", calls))
    assert Stages(out, 1).run("one", {"n": 2}, [out / "a"], _writer(out / "a", calls)) != key
    assert (out / "a").read_text() == "new"


def test_a_missing_output_is_made_again(tmp_path: Path) -> None:
    out, calls = tmp_path / "out", []
    for _ in range(2):
        Stages(out, 1).run("one", {}, [out / "a"], _writer(out / "a", calls))
        (out / "a").unlink()
    assert calls == ["a", "a"]


def test_an_interrupted_stage_goes_on_from_what_it_left(tmp_path: Path) -> None:
    out, calls = tmp_path / "out", []

    def killed() -> None:
        (out / "a").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Stages(out, 1).run("one", {}, [out / "a"], killed)
    Stages(out, 1).run("one", {}, [out / "a"], _writer(out / "a", calls))
    assert (out / "a").read_text() == "half+"
    state = json.loads((out / "stages.json").read_text())
    assert state["schema"] == 1
    assert state["stages"]["one"]["done"] is True


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"precious")
    with pytest.raises(EdgedetError, match="was not made by this command"):
        Stages(tmp_path, 1)
    assert (tmp_path / "photo.jpg").exists()
    (tmp_path / "stages.json").write_text("{")
    with pytest.raises(EdgedetError, match="cannot be read"):
        Stages(tmp_path, 1)
