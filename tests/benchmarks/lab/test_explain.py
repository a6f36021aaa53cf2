"""Damage that is known, because it was made by hand: each cause, each kind of change, and none at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgedet.benchmarks.lab.damage_page import write_damage
from edgedet.benchmarks.lab.explain import explain
from edgedet.errors import ConfigError, DataError
from tests.benchmarks.lab.by_hand import Row, hand_runner, one_picture

PLACE = (20.0, 20.0, 60.0, 60.0)
FAR = (120.0, 120.0, 160.0, 160.0)


def disc(box: tuple[float, float, float, float], score: float) -> Row:
    return box, (score, 0.0, 0.0)


def moved(by_px: float) -> tuple[float, float, float, float]:
    """PLACE, to the right."""
    return PLACE[0] + by_px, PLACE[1], PLACE[2] + by_px, PLACE[3]


WHOLE = [disc(PLACE, 0.8), disc(FAR, 0.9)]


def test_the_same_file_has_no_damage(tmp_path: Path) -> None:
    data = one_picture(tmp_path, [(PLACE, 0), (FAR, 0)])
    damage = explain(hand_runner(WHOLE), hand_runner(WHOLE), data)
    assert damage.changes == ()
    assert len(damage.kept) == 2
    assert damage.kept.iou.tolist() == pytest.approx([1, 1])
    assert all(row.change == 0 for row in damage.ap if row.objects)
    assert damage.worst_images(5) == []
    assert damage.calibration_a.error == damage.calibration_b.error


@pytest.mark.parametrize("readable", [True, False])
def test_score_below_the_threshold(tmp_path: Path, readable: bool) -> None:
    data = one_picture(tmp_path, [(PLACE, 0), (FAR, 0)])
    damage = explain(hand_runner(WHOLE), hand_runner([disc(PLACE, 0.2), disc(FAR, 0.9)], readable), data)
    (change,) = damage.changes
    assert (change.kind, change.cause.kind, change.right) == ("lost", "score", True)
    assert change.cause.score == pytest.approx(0.2)
    (same,) = {row.same_recall.score for row in damage.points if row.class_name == "disc" and row.same_recall}
    assert same == pytest.approx(0.2)  # shown from there on, both are found again


@pytest.mark.parametrize("readable", [True, False])
def test_a_box_that_moved(tmp_path: Path, readable: bool) -> None:
    """By 20 of 40 px the overlap is a third: lost here, new there."""
    data = one_picture(tmp_path, [(PLACE, 0), (FAR, 0)])
    damage = explain(hand_runner(WHOLE), hand_runner([disc(moved(20), 0.8), disc(FAR, 0.9)], readable), data)
    assert [(change.kind, change.cause.kind) for change in damage.changes] == [("lost", "box"), ("new", "box")]
    assert damage.changes[0].cause.box_xyxy_px == pytest.approx(moved(20))
    assert [change.right for change in damage.changes] == [True, False]


def test_a_box_that_another_one_suppressed(tmp_path: Path) -> None:
    """Three boxes in a row, each overlapping the next by 0.6: the middle one wins in B, and takes the others along."""
    data = one_picture(tmp_path, [(PLACE, 0), (moved(24), 0)])
    row = [disc(PLACE, 0.9), disc(moved(24), 0.8)]
    before = hand_runner([*row, disc(moved(12), 0.1)], iou_max=0.4)
    after = hand_runner([*row, disc(moved(12), 0.95)], iou_max=0.4)
    damage = explain(before, after, data)
    assert len(damage.kept) == 1  # the middle one is near enough to be the first or the second
    (change,) = damage.changes
    assert (change.kind, change.cause.kind) == ("lost", "suppression")
    assert change.cause.box_xyxy_px == pytest.approx(moved(12))
    assert change.cause.score == pytest.approx(0.8)


def test_suppression_without_heads_shows_where_two_boxes_became_one(tmp_path: Path) -> None:
    data = one_picture(tmp_path, [(PLACE, 0)])
    before = hand_runner([disc(PLACE, 0.9), disc(moved(12), 0.8)], iou_max=0.7)
    damage = explain(before, hand_runner([disc(moved(4), 0.9)], readable=False, iou_max=0.7), data)
    (change,) = damage.changes
    assert (change.kind, change.cause.kind) == ("lost", "suppression")


@pytest.mark.parametrize("readable", [True, False])
def test_a_label_that_flipped(tmp_path: Path, readable: bool) -> None:
    data = one_picture(tmp_path, [(PLACE, 0), (FAR, 0)])
    after = hand_runner([(PLACE, (0.5, 0.7, 0.0)), disc(FAR, 0.9)], readable)
    damage = explain(hand_runner(WHOLE), after, data)
    (change,) = damage.changes
    assert (change.kind, change.cause.kind, change.class_a, change.class_b) == ("flipped", "class", 0, 1)


def test_boxes_cut_off_by_the_limit(tmp_path: Path) -> None:
    data = one_picture(tmp_path, [(PLACE, 0), (FAR, 0)])
    damage = explain(hand_runner(WHOLE), hand_runner(WHOLE, max_detections=1), data)
    (change,) = damage.changes
    assert (change.kind, change.cause.kind, change.cause.score) == ("lost", "limit", pytest.approx(0.8))


def test_new_detections_have_the_cause_that_hid_them_before(tmp_path: Path) -> None:
    data = one_picture(tmp_path, [(FAR, 0)])
    damage = explain(hand_runner([disc(PLACE, 0.25), disc(FAR, 0.9)]), hand_runner(WHOLE), data)
    (change,) = damage.changes
    assert (change.kind, change.cause.kind, change.right) == ("new", "score", False)
    assert change.cause.score == pytest.approx(0.25)


def test_a_file_that_detects_nothing(tmp_path: Path) -> None:
    """The int8 file everybody fears: all is lost, and the report says so, heads readable or not."""
    data = one_picture(tmp_path, [(PLACE, 0), (FAR, 0)])
    for readable, cause in ((True, "score"), (False, "unknown")):
        damage = explain(hand_runner(WHOLE), hand_runner([disc(PLACE, 0.0), disc(FAR, 0.0)], readable), data)
        assert damage.causes("lost") == {cause: 2}
        assert (damage.shown_a, damage.shown_b) == (2, 0)
        (overall, one_class) = damage.points
        assert overall.same_recall is None
        assert one_class.b.recall == 0
        written = write_damage(damage, tmp_path / cause)
        assert all(path.stat().st_size for path in written)


def test_an_image_at_the_border_is_compared_as_it_was_suppressed(tmp_path: Path) -> None:
    """Cut to the picture the two boxes overlap by more than iou_max, whole by less: neither suppresses the other."""
    edge, wider = (-40.0, 20.0, 20.0, 60.0), (-4.0, 20.0, 20.0, 60.0)
    data = one_picture(tmp_path, [((0.0, 20.0, 20.0, 60.0), 0)])
    runner = hand_runner([disc(edge, 0.9), disc(wider, 0.8)])
    damage = explain(runner, hand_runner([disc(edge, 0.9), disc(wider, 0.2)]), data)
    assert [(change.kind, change.cause.kind) for change in damage.changes] == [("lost", "score")]


def test_ap_by_class_and_size(tmp_path: Path) -> None:
    """A small disc is lost, a medium square stays: AP of small objects and of discs falls from 1 to 0."""
    small, medium = (10.0, 10.0, 30.0, 30.0), (100.0, 100.0, 150.0, 150.0)
    data = one_picture(tmp_path, [(small, 0), (medium, 1)])
    square = (medium, (0.0, 0.9, 0.0))
    damage = explain(hand_runner([disc(small, 0.9), square]), hand_runner([disc(small, 0.0), square]), data)
    changes = {(row.class_name, row.size): row.change for row in damage.ap if row.objects}
    assert changes == pytest.approx(
        {("", "all"): -0.5, ("", "small"): -1, ("", "medium"): 0, ("disc", "all"): -1, ("disc", "small"): -1}
        | {("square", "all"): 0, ("square", "medium"): 0}
    )


def test_thresholds_and_classes_that_do_not_fit(tmp_path: Path) -> None:
    data = one_picture(tmp_path, [(PLACE, 0)])
    with pytest.raises(ConfigError, match=r"0\.2 baked in"):
        explain(hand_runner(WHOLE), hand_runner(WHOLE, score_min=0.2), data, score_min=0.1)
    with pytest.raises(DataError, match="has no class 'triangle'"):
        explain(hand_runner(WHOLE), hand_runner(WHOLE), replace(data, class_names=("disc", "square")))


def test_the_folder(tmp_path: Path) -> None:
    data = one_picture(tmp_path, [(PLACE, 0), (FAR, 0)])
    damage = explain(hand_runner(WHOLE), hand_runner([(PLACE, (0.5, 0.7, 0.0)), disc(FAR, 0.1)]), data)
    out = tmp_path / "damage"
    out.mkdir()
    (out / "worst_9.png").write_bytes(b"of an earlier report")
    write_damage(damage, out)
    names = {"damage.html", "damage.json", "ap.png", "causes.png", "scores.png", "calibration.png", "worst_1.png"}
    assert {path.name for path in out.iterdir()} == names
    value = json.loads((out / "damage.json").read_text())
    assert value["schema"] == 1
    assert value["changes"]["lost"] == {"count": 1, "right": 1, "causes": {"score": 1}}
    assert value["changes"]["flipped"] == {"count": 1, "right": 1, "causes": {"class": 1}}
    assert {row["class_b"] for row in value["detections"]} == {None, "square"}
    page = (out / "damage.html").read_text()
    assert "lost disc 0.90 (score 0.10)" in page
    assert not any(word in page for word in ("http://", "https://", 'src="worst'))
