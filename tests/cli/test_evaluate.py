"""`edgedet eval` from the command line: table, JSON, plots, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

import edgedet.cli as cli
from edgedet.cli import evaluate as command
from edgedet.model_file import save_model
from tests.small_models import CLASS_NAMES, small_model, small_spec

_BOX = "<xmin>{x}</xmin><ymin>5</ymin><xmax>{far}</xmax><ymax>45</ymax>"
_OBJECT = f"<object><name>{{name}}</name><bndbox>{_BOX}</bndbox></object>"
_ANNOTATION = "<annotation><size><width>160</width><height>96</height><depth>3</depth></size>{objects}</annotation>"


@pytest.fixture(autouse=True)
def only_eval(monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer()

    @app.callback()
    def root() -> None: ...

    command.register(app)
    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(cli, "_register_commands", lambda: None)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = small_spec("ssdlite_mobilenet_v3_small")
    path = tmp_path_factory.mktemp("model") / "model.pt"
    save_model(path, small_model(spec), spec)
    return path


def write_voc(root: Path, class_names: tuple[str, ...], count: int = 3) -> Path:
    """Pictures with one object of each class side by side, all in the split "test"."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    objects = "".join(_OBJECT.format(name=name, x=5 + 50 * k, far=45 + 50 * k) for k, name in enumerate(class_names))
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 256, (96, 160, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{i}.jpg")
        (root / "Annotations" / f"{i}.xml").write_text(_ANNOTATION.format(objects=objects))
    (root / "ImageSets/Main/test.txt").write_text("\n".join(str(i) for i in range(count)) + "\n")
    return root


def test_table_json_and_plots(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_voc(tmp_path / "data", CLASS_NAMES)
    arguments = ["--data", str(data), "--json", str(tmp_path / "eval.json"), "--plots", str(tmp_path / "plots")]
    assert cli.main(["eval", str(model), *arguments]) == 0
    printed = capsys.readouterr().out
    assert [word for word in ("model.pt", "fp32", "torch", "AP50", "VOC07", *CLASS_NAMES) if word not in printed] == []
    form = json.loads((tmp_path / "eval.json").read_text())
    assert (form["schema"], form["images"], form["split"], form["precision"]) == (1, 3, "test", "fp32")
    assert form["artifact"] == str(model)
    assert form["per_class"]["disc"]["objects"] == 3
    assert f"{form['metrics']['coco_ap']:.4f}" in printed
    assert sorted(p.name for p in (tmp_path / "plots").iterdir()) == ["confusion.png", "precision_recall.png"]


def test_fewer_images(tmp_path: Path, model: Path) -> None:
    data = write_voc(tmp_path / "data", CLASS_NAMES)
    arguments = ["--data", str(data), "--json", str(tmp_path / "eval.json"), "--max-images", "2"]
    assert cli.main(["eval", str(model), *arguments]) == 0
    assert json.loads((tmp_path / "eval.json").read_text())["images"] == 2


@pytest.mark.parametrize("names", [("disc", "square"), (*CLASS_NAMES, "star")])
def test_other_classes_are_refused_by_name(
    tmp_path: Path, model: Path, names: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_voc(tmp_path / "data", names)
    assert cli.main(["eval", str(model), "--data", str(data), "--json", str(tmp_path / "eval.json")]) == 1
    error = capsys.readouterr().err
    assert "'triangle'" in error or "'star'" in error
    assert not (tmp_path / "eval.json").exists()


def test_a_missing_model_and_a_damaged_picture(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_voc(tmp_path / "data", CLASS_NAMES)
    assert cli.main(["eval", str(tmp_path / "gone.pt"), "--data", str(data)]) == 1
    assert "gone.pt: there is no such file" in capsys.readouterr().err
    picture = data / "JPEGImages" / "1.jpg"
    picture.write_bytes(picture.read_bytes()[:900])
    assert cli.main(["eval", str(model), "--data", str(data)]) == 1
    error = capsys.readouterr().err
    assert "1.jpg" in error
    assert "Traceback" not in error
