"""`edgedet data`: what it prints, what it writes, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from edgedet.cli import data as commands
from edgedet.data import read_dataset
from edgedet.errors import DataError, EdgedetError
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
    described = runner.invoke(app, ["data", "stats", out, "--json", str(numbers)])
    assert described.exit_code == 0
    content = json.loads(numbers.read_text())
    assert content["schema"] == 1
    assert content["classes"] == ["disc", "square", "triangle"]
    assert {split: n["images"] for split, n in content["splits"].items()} == {
        "train": 6, "val": 2, "trainval": 8, "test": 3,
    }  # fmt: skip
    drawn = runner.invoke(app, ["data", "stats", out, "--split", "test", "--out", str(tmp_path / "plots")])
    assert drawn.exit_code == 0
    names = {f"test_{name}.png" for name in ("distributions", "classes", "samples")}
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {*names, "stats.json"}
    one = json.loads((tmp_path / "plots" / "stats.json").read_text())
    assert one["splits"] == {"test": content["splits"]["test"]}


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


def test_stats_with_a_configurations_priors(app: typer.Typer, tmp_path: Path) -> None:
    boxes = [("disc", 1, 1, 20, 20), ("disc", 1, 1, 11, 30), ("disc", 1, 1, 30, 12), ("disc", 5, 5, 13, 14)]
    root = voc(tmp_path / "set", {"train": {"a": boxes, "b": [("disc", 1, 1, 40, 30), ("disc", 2, 2, 6, 6)]}})
    words = ["data", "stats", str(root), "--config", "tiny_yolov3", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "train_priors.png").stat().st_size > 0
    priors = json.loads((tmp_path / "out" / "stats.json").read_text())["splits"]["train"]["priors"]
    assert (priors["config"], priors["measure"], priors["objects"]) == ("tiny_yolov3", "shape_iou", 6)
    assert priors["share_no_prior_reaches"] == 0  # six anchors were fitted to six boxes
    assert sum(priors["histogram"]["objects"]) == 6
    assert sum(level["objects_best_here"] for level in priors["levels"]) == 6


def _rectangles(tmp_path: Path) -> Path:
    """Two clusters of three boxes; in 320x320 px, 40x30 px pictures are stretched by 8 and 32 / 3."""
    small, large = [(8, 9), (9, 9), (8, 10)], [(30, 24), (32, 24), (30, 25)]
    boxes = [("disc", 1, 1, w, h) for w, h in (*small, *large)]
    return voc(tmp_path / "set", {"train": {"a": boxes}})


def test_anchors(app: typer.Typer, tmp_path: Path) -> None:
    root, out = _rectangles(tmp_path), tmp_path / "anchors"
    words = ["data", "anchors", str(root), "--k", "1..9", "--levels", "1,1", "--out", str(out)]
    first = CliRunner().invoke(app, words)
    assert first.exit_code == 0, first.output
    assert "no more than 6 different boxes" in first.stdout
    assert (out / "anchors.png").stat().st_size > 0
    content = json.loads((out / "anchors.json").read_text())
    assert [row["k"] for row in content["curve"]] == [1, 2, 3, 4, 5, 6]
    assert (content["schema"], content["boxes"], content["elbow"]) == (1, 6, 2)
    (small,), (large,) = content["priors"]["anchors_wh_px"]
    assert small == [pytest.approx(25 / 3 * 8, abs=0.06), pytest.approx(28 / 3 * 32 / 3, abs=0.06)]
    assert large == [pytest.approx(92 / 3 * 8, abs=0.06), pytest.approx(73 / 3 * 32 / 3, abs=0.06)]
    pasted = first.stdout[first.stdout.index("priors:") : first.stdout.index("wrote")]
    assert yaml.safe_load(pasted)["priors"] == content["priors"]
    CliRunner().invoke(app, words)
    assert json.loads((out / "anchors.json").read_text()) == content


def test_anchors_for_a_configuration_go_to_its_levels(app: typer.Typer, tmp_path: Path) -> None:
    root, out = _rectangles(tmp_path), tmp_path / "anchors"
    words = ["data", "anchors", str(root), "--k", "1..3", "--config", "tiny_yolov3", "--levels", "1,1"]
    result = CliRunner().invoke(app, [*words, "--out", str(out)])
    assert result.exit_code == 0, result.output
    content = json.loads((out / "anchors.json").read_text())
    assert content["size_wh"] == [416, 416]
    (first,), (second,) = content["priors"]["anchors_wh_px"]
    assert first > second  # Darknet's coarse level comes first


def _with_difficult(tmp_path: Path) -> Path:
    root = voc(tmp_path / "set", {"train": {"a": [DISC, ("disc", 20, 5, 38, 25)]}, "val": {"b": [DISC]}})
    file = root / "Annotations" / "a.xml"
    file.write_text(file.read_text().replace("<object>", "<object><difficult>1</difficult>", 1))
    (root / "ImageSets" / "Main" / "trainval.txt").write_text("a\nb\n")
    return root


@pytest.mark.parametrize(("target", "objects"), [("coco", 2), ("yolo", 1)])
def test_convert(app: typer.Typer, tmp_path: Path, target: str, objects: int) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(
        app, ["data", "convert", str(_with_difficult(tmp_path)), "--to", target, "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    assert f"split train, 1 images, {objects} objects" in result.stdout
    assert "split val, 1 images, 1 objects." in result.stdout
    assert ("1 difficult or crowd objects left out" in result.stdout) == (target == "yolo")
    assert "trainval" not in result.stdout
    assert len(read_dataset(out, "trainval").samples) == 2
    assert len(read_dataset(out, "train").samples[0].objects) == objects


def test_convert_one_split_and_a_trainval_of_its_own(app: typer.Typer, tmp_path: Path) -> None:
    root = voc(tmp_path / "set", {"train": {"a": [DISC]}, "val": {"b": [DISC]}, "trainval": {"a": [DISC], "c": [DISC]}})
    words = ["data", "convert", str(root), "--to", "coco", "--out"]
    assert CliRunner().invoke(app, [*words, str(tmp_path / "x")]).stdout.count("split ") == 3
    assert CliRunner().invoke(app, [*words, str(tmp_path / "y"), "--split", "val"]).stdout.count("split ") == 1


def test_convert_names_what_the_reader_left_out(app: typer.Typer, tmp_path: Path) -> None:
    root = voc(tmp_path / "set", {"train": {"a": [DISC, ("disc", 5, 5, 5, 9)]}})
    result = CliRunner().invoke(app, ["data", "convert", str(root), "--to", "yolo", "--out", str(tmp_path / "out")])
    assert "left out" in result.stdout
    assert "no positive width" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--k", "0..3"], "--k 0..3"),
        (["--k", "many"], "--k many"),
        (["--k", "7..9"], "too few for 7 anchors"),
        (["--levels", "3,x"], "--levels 3,x"),
        (["--size", "0x4"], "--size 0x4"),
        (["--config", "tiny_yolov3", "--levels", "3"], "has 2 levels"),
        (["--config", "ssdlite_mobilenet_v2"], "not lists of anchors"),
    ],
)
def test_anchors_refuses(app: typer.Typer, tmp_path: Path, options: list[str], message: str) -> None:
    words = ["data", "anchors", str(_rectangles(tmp_path)), "--out", str(tmp_path / "out"), *options]
    result = CliRunner().invoke(app, words)
    assert result.exit_code != 0
    assert isinstance(result.exception, EdgedetError)
    assert message in str(result.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["check", "stats"])
def test_user_errors_are_raised_for_the_program_to_print(app: typer.Typer, tmp_path: Path, command: str) -> None:
    result = CliRunner().invoke(app, ["data", command, str(tmp_path / "none")])
    assert result.exit_code != 0
    assert isinstance(result.exception, DataError)


@pytest.mark.parametrize("command", ["synth", "check", "stats", "anchors", "convert"])
def test_help_has_an_example(app: typer.Typer, command: str) -> None:
    result = CliRunner().invoke(app, ["data", command, "--help"])
    assert result.exit_code == 0
    assert f"edgedet data {command}" in result.stdout
