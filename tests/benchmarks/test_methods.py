"""The table of methods: its commands can be typed, every row is a valid configuration, and a killed table continues."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from edgedet.benchmarks.method_rows import METHODS, Method
from edgedet.benchmarks.methods import Plan, main, run_row, table
from edgedet.config import load_config
from edgedet.data.synth import write_synthetic


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_each_row_changes_fields_that_exist(method: Method) -> None:
    config = load_config(method.config, method.changes)
    assert config.network.head
    assert not method.changes or config.digest() != load_config(method.config).digest()


def test_names_are_folders_of_their_own() -> None:
    assert len({method.name for method in METHODS}) == len(METHODS)


def test_table_quotes_the_metrics() -> None:
    row = (
        Method("a", "title", ("loss.iou_match=0.4",), config="demo"),
        {"coco_ap": 0.5, "coco_ap50": 0.8125, "coco_ap75": 0.25},
    )
    assert table([row]).splitlines()[-1] == "| title | `demo` | `loss.iou_match=0.4` | 0.500 | 0.812 | 0.250 |"


def test_a_row_is_trained_evaluated_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On pictures made here. A second table trains nothing, and the commands beside the row are those that ran."""
    data = write_synthetic(tmp_path / "data", train=4, val=1, test=2, size_px=64)
    small = ("network.width=0.35", "input.height=64", "input.width=64", "training.batch_size=4")
    row = Method("small", "small", small, config="demo")
    plan = Plan(data, tmp_path / "out", "train", "test", 1, "cpu", None)
    assert run_row(plan, row) == ""
    monkeypatch.setattr("subprocess.run", lambda *words, **options: pytest.fail("trained twice"))
    assert run_row(plan, row) == ""
    train, evaluate = map(shlex.split, (tmp_path / "out/small/commands.txt").read_text().splitlines())
    assert train[:3] == ["edgedet", "train", "demo"]
    assert {"training.epochs=1", *small} <= set(train)
    assert evaluate[:2] == ["edgedet", "eval"]
    assert json.loads((tmp_path / "out/small/eval.json").read_text())["images"] == 2


def test_a_row_that_fails_says_where_to_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = ["--data", str(tmp_path / "nothing"), "--out", str(tmp_path / "out"), "--only", METHODS[0].name]
    assert main(nothing) == 1
    said = capsys.readouterr().err
    assert "`train` ended with code 1" in said
    assert "there is no" in (tmp_path / "out" / METHODS[0].name / "log.txt").read_text()
