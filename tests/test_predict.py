"""Predictions of pictures, folders and videos: the JSON's numbers, what is written, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from edgedet.errors import ConfigError, DataError, EdgedetError
from edgedet.predict import Outcome, predict
from edgedet.runner import Runner, UnitDetections
from edgedet.spec import NmsSpec
from edgedet.video import Frame, VideoWriter, open_video
from tests.small_models import small_spec


class FixedRunner(Runner):
    """Finds the same everywhere: a triangle in the left half (0.75), a disc in the lower right quarter (0.125)."""

    def __init__(self) -> None:
        spec = small_spec("ssdlite_mobilenet_v2", nms=NmsSpec(score_min=0.0625))
        super().__init__(Path("fixed.pt"), spec, "torch", "fp32", "by hand")

    def infer(self, network_pixels: Tensor) -> UnitDetections:
        boxes = np.array([[0, 0, 0.5, 1], [0.5, 0.5, 1, 1]], np.float32)
        return UnitDetections(boxes, np.array([0.75, 0.125], np.float32), np.array([2, 0]))


def save(path: Path, width: int = 80, height: int = 60, **options: object) -> Path:
    Image.new("RGB", (width, height), (90, 120, 60)).save(path, **options)  # type: ignore[arg-type]
    return path


def run(source: Path, out: Path, score_min: float | None = None) -> list[Outcome]:
    return list(predict(FixedRunner(), source, out, score_min, progress=False))


def test_json_is_in_pixels_of_the_original(tmp_path: Path) -> None:
    source = save(tmp_path / "photo.png")
    (outcome,) = run(source, tmp_path / "out")
    assert json.loads(json.dumps([p.to_json() for p in outcome.predictions])) == [
        {
            "image": str(source),
            "width_px": 80,
            "height_px": 60,
            "detections": [
                {"box_xyxy_px": [0.0, 0.0, 40.0, 60.0], "score": 0.75, "class_id": 2, "class_name": "triangle"},
                {"box_xyxy_px": [40.0, 30.0, 80.0, 60.0], "score": 0.125, "class_id": 0, "class_name": "disc"},
            ],
        }
    ]


def test_an_exif_rotated_picture_is_measured_as_shown(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown a quarter turn clockwise
    (outcome,) = run(save(tmp_path / "photo.jpg", exif=exif), tmp_path / "out")
    entry = outcome.predictions[0].to_json()
    assert (entry["width_px"], entry["height_px"]) == (60, 80)
    assert entry["detections"][0]["box_xyxy_px"] == [0.0, 0.0, 30.0, 80.0]
    assert outcome.written is not None
    assert Image.open(outcome.written).size == (60, 80)


@pytest.mark.parametrize(
    ("name", "written", "kind"),
    [
        ("a.jpg", "a.jpg", "JPEG"),
        ("b.PNG", "b.PNG", "PNG"),
        ("c.bmp", "c.bmp.png", "PNG"),
        ("d.webp", "d.webp.png", "PNG"),
    ],
)
def test_pictures_are_written_with_boxes(tmp_path: Path, name: str, written: str, kind: str) -> None:
    source = save(tmp_path / name)
    (outcome,) = run(source, tmp_path / "out")
    assert outcome.written == tmp_path / "out" / written
    drawn = Image.open(outcome.written)
    assert drawn.format == kind
    changed = np.abs(np.asarray(drawn.convert("RGB"), int) - np.asarray(Image.open(source).convert("RGB"), int)) > 60
    assert changed.any()
    assert not changed[40:, 50:].any()  # a score of 0.125 is in the JSON, but not drawn unless asked for


def test_a_threshold_cuts_the_json_and_draws_the_rest(tmp_path: Path) -> None:
    source = save(tmp_path / "photo.png")
    (cut,) = run(source, tmp_path / "cut", score_min=0.5)
    (low,) = run(source, tmp_path / "low", score_min=0.0625)
    assert [len(o.predictions[0].detections) for o in (cut, low)] == [1, 2]
    assert cut.written is not None
    assert low.written is not None
    assert (np.asarray(Image.open(cut.written)) != np.asarray(Image.open(low.written)))[40:, 50:].any()


@pytest.mark.parametrize("score_min", [0.05, 1.5])
def test_a_threshold_below_the_baked_one_is_refused(tmp_path: Path, score_min: float) -> None:
    source = save(tmp_path / "photo.png")
    with pytest.raises(ConfigError, match=r"fixed\.pt has 0\.0625 baked in.*export the file again"):
        run(source, tmp_path / "out", score_min=score_min)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_a_damaged_picture(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    save(photos / "a.png")
    whole = save(photos / "b.jpg", 400, 300).read_bytes()
    (photos / "b.jpg").write_bytes(whole[: len(whole) // 2])
    save(photos / "c.png")
    (photos / "notes.txt").write_text("not looked at")
    first, damaged, last = run(photos, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]
    assert first.error is last.error is None
    assert isinstance(damaged.error, DataError)
    assert "b.jpg" in str(damaged.error)
    assert damaged.predictions == ()


def test_a_picture_without_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    none = UnitDetections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))
    monkeypatch.setattr(FixedRunner, "infer", lambda self, pixels: none)
    source = save(tmp_path / "photo.png")
    (outcome,) = run(source, tmp_path / "out")
    assert outcome.predictions[0].to_json()["detections"] == []
    assert outcome.written is not None
    assert np.array_equal(np.asarray(Image.open(outcome.written)), np.asarray(Image.open(source)))


def test_sources_are_never_overwritten(tmp_path: Path) -> None:
    before = save(tmp_path / "photo.png").read_bytes()
    with pytest.raises(ConfigError, match="would be overwritten"):
        run(tmp_path, tmp_path)
    assert (tmp_path / "photo.png").read_bytes() == before


def test_nothing_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone: there is no such"):
        run(tmp_path / "gone", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no pictures or videos"):
        run(tmp_path / "empty", tmp_path / "out")


def test_a_folder_that_cannot_be_written_stops_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    save(tmp_path / "photo.png")
    with pytest.raises((EdgedetError, OSError)):
        run(tmp_path / "photo.png", tmp_path / "file" / "out")


def test_a_video_gives_an_entry_per_frame(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="not run: PyAV is not installed")
    source = tmp_path / "clip.mov"
    with VideoWriter(source, Fraction(10)) as writer:
        for i in range(4):
            writer.write(Frame(np.full((48, 64, 3), 90, np.uint8), i / 10))
    (outcome,) = run(source, tmp_path / "out")
    entries = [p.to_json() for p in outcome.predictions]
    assert [e["frame"] for e in entries] == [0, 1, 2, 3]
    assert [e["time_s"] for e in entries] == pytest.approx([0.0, 0.1, 0.2, 0.3], abs=1e-3)
    assert {e["image"] for e in entries} == {str(source)}
    assert entries[0]["detections"][0]["box_xyxy_px"] == [0.0, 0.0, 32.0, 48.0]
    assert outcome.written == tmp_path / "out" / "clip.mov.mp4"
    with open_video(outcome.written) as video:
        frames = list(video.frames)
    assert [f.time_s for f in frames] == pytest.approx([0.0, 0.1, 0.2, 0.3], abs=1e-3)
    assert abs(frames[0].pixels.astype(int) - 90).max() > 40  # a box is drawn


def test_a_damaged_video_leaves_nothing_behind(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="not run: PyAV is not installed")
    (tmp_path / "clip.mp4").write_bytes(b"\0" * 500)
    (outcome,) = run(tmp_path / "clip.mp4", tmp_path / "out")
    assert isinstance(outcome.error, DataError)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_class_names_come_from_the_file(tmp_path: Path) -> None:
    runner = FixedRunner()
    runner.spec = replace(runner.spec, class_names=("x", "y", "z"))
    (outcome,) = predict(runner, save(tmp_path / "photo.png"), tmp_path / "out", progress=False)
    assert [d["class_name"] for d in outcome.predictions[0].to_json()["detections"]] == ["z", "x"]
