"""`edgedet data`: what it prints, what it writes, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from edgedet.cli import data as commands
from edgedet.errors import DataError
from tests.data.makers import DISC, voc


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    commands.register(app)
    return app


def test_synth_check_stats_together(app: typer.Typer, tmp_path: Path) -> None:
    runner, out = CliRunner(), str(tmp_path / "shapes")
    made = runner.invoke(app, ["data", "synth", out, "--train", "6", "--val", "2", "--test", "3", "--size-px", "96"])
    assert made.exit_code == 0
    assert "6 + 2 + 3 pictures of 96 px" in made.stdout
    checked = runner.invoke(app, ["data", "check", out])
    assert checked.exit_code == 0
    assert "0 errors" in checked.stdout
    numbers = tmp_path / "numbers.json"
    described = runner.invoke(app, ["data", "stats", out, "--json", str(numbers), "--out", str(tmp_path / "plots")])
    assert described.exit_code == 0
    content = json.loads(numbers.read_text())
    assert content["schema"] == 1
    assert content["classes"] == ["disc", "square", "triangle"]
    assert {split: n["images"] for split, n in content["splits"].items()} == {
        "train": 6, "val": 2, "trainval": 8, "test": 3,
    }  # fmt: skip
    assert len(list((tmp_path / "plots").glob("*.png"))) == 8


def test_check_lists_faults_and_fails(app: typer.Typer, tmp_path: Path) -> None:
    root = voc(tmp_path / "set", {"train": {"a": [DISC, ("disc", 5, 5, 5, 9)], "b": [DISC]}})
    (root / "JPEGImages" / "b.jpg").unlink()
    file = tmp_path / "faults.json"
    result = CliRunner().invoke(app, ["data", "check", str(root), "--json", str(file)])
    assert result.exit_code == 1
    assert "zero size" in result.stdout
    assert "missing image" in result.stdout
    assert "2 errors, 0 warnings" in result.stdout
    content = json.loads(file.read_text())
    assert (content["schema"], content["errors"], content["warnings"]) == (1, 2, 0)
    assert {"file", "where", "kind", "severity", "message", "remedy"} == set(content["faults"][0])


def test_warnings_alone_are_a_success(app: typer.Typer, tmp_path: Path) -> None:
    root = voc(tmp_path, {"train": {"a": [DISC, DISC], "b": []}})
    result = CliRunner().invoke(app, ["data", "check", str(root)])
    assert result.exit_code == 0
    assert "0 errors, 2 warnings" in result.stdout


def test_stats_of_one_split_names_what_was_left_out(app: typer.Typer, tmp_path: Path) -> None:
    root = voc(tmp_path, {"train": {"a": [DISC, ("disc", 5, 5, 5, 9)]}, "test": {"b": [DISC]}})
    result = CliRunner().invoke(app, ["data", "stats", str(root), "--split", "train"])
    assert result.exit_code == 0
    assert "Left out" in result.stdout
    assert "a.xml: object 2" in result.stdout.replace("\n", "")
    assert "test" not in result.stdout.split("Left out")[0].replace(str(root), "")


@pytest.mark.parametrize("command", ["check", "stats"])
def test_user_errors_are_raised_for_the_program_to_print(app: typer.Typer, tmp_path: Path, command: str) -> None:
    result = CliRunner().invoke(app, ["data", command, str(tmp_path / "none")])
    assert result.exit_code != 0
    assert isinstance(result.exception, DataError)


@pytest.mark.parametrize("command", ["synth", "check", "stats"])
def test_help_has_an_example(app: typer.Typer, command: str) -> None:
    result = CliRunner().invoke(app, ["data", command, "--help"])
    assert result.exit_code == 0
    assert f"edgedet data {command}" in result.stdout
