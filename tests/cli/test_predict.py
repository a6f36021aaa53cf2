"""`edgedet predict` from the command line: lines, JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from PIL import Image

import edgedet.cli as cli
from edgedet.cli import predict as command
from edgedet.model_file import save_model
from tests.small_models import small_model, small_spec


@pytest.fixture(autouse=True)
def only_predict(monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer()

    @app.callback()
    def root() -> None: ...

    command.register(app)
    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(cli, "_register_commands", lambda: None)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = small_spec("ssdlite_mobilenet_v3_small")
    path = tmp_path_factory.mktemp("model") / "model.pt"
    save_model(path, small_model(spec), spec)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for name, size in (("a.jpg", (160, 90)), ("b.png", (70, 110))):
        Image.effect_noise(size, 90).convert("RGB").save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def test_a_folder(tmp_path: Path, model: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, report = tmp_path / "out", tmp_path / "boxes.json"
    assert cli.main(["predict", str(model), str(photos), "--out", str(out), "--json", str(report)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [str(photos / "a.jpg"), str(photos / "b.png")]
    assert lines[0].endswith(f"-> {out / 'a.jpg'}")
    entries = json.loads(report.read_text())
    assert [(e["image"], e["width_px"], e["height_px"]) for e in entries] == [
        (str(photos / "a.jpg"), 160, 90), (str(photos / "b.png"), 70, 110),
    ]  # fmt: skip
    for entry in entries:
        for found in entry["detections"]:
            assert set(found) == {"box_xyxy_px", "score", "class_id", "class_name"}
            x1, y1, x2, y2 = found["box_xyxy_px"]
            assert 0 <= x1 < x2 <= entry["width_px"]
            assert 0 <= y1 < y2 <= entry["height_px"]
    assert any(entry["detections"] for entry in entries)


def test_a_damaged_picture_is_named_and_the_rest_done(
    tmp_path: Path, model: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "aa.jpg").write_bytes(b"\xff\xd8\xff damaged")
    out, report = tmp_path / "out", tmp_path / "boxes.json"
    assert cli.main(["predict", str(model), str(photos), "--out", str(out), "--json", str(report)]) == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert next(line for line in captured.err.splitlines() if "aa.jpg" in line).startswith("error: ")
    assert len(json.loads(report.read_text())) == 2
    assert sorted(p.name for p in out.iterdir()) == ["a.jpg", "b.png"]


def test_a_threshold_below_the_files_own_is_refused_with_the_reason(
    tmp_path: Path, model: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["predict", str(model), str(photos), "--out", str(tmp_path / "out"), "--score-min"]
    assert cli.main([*arguments, "0.01"]) == 1
    assert "0.05 baked in" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert cli.main([*arguments, "0.05"]) == 0
