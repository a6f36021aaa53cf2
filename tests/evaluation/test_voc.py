"""VOC average precision against hand-computed and published numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgedet.data.types import Dataset
from edgedet.evaluation import voc
from edgedet.evaluation.tables import DetectionTable
from edgedet.runner import Detections
from tests.evaluation.cases import Hit, Thing, dataset, detections, spot, tables, vector


def voc_aps(
    data: Dataset, found: list[Detections], iou_min: float = 0.5, plus_one: bool = False
) -> tuple[float, float]:
    curve = voc.curves(*tables(data, found), 1, iou_min, plus_one=plus_one)[0]
    return curve.ap_11point(), curve.ap_area()


@pytest.mark.parametrize(
    ("num_objects", "outcomes", "ap07", "ap10"),
    [
        (1, "T", 1.0, 1.0),
        (1, "F", 0.0, 0.0),
        (1, "", 0.0, 0.0),
        (1, "FT", 0.5, 0.5),
        (2, "TF", 6 / 11, 0.5),
        (3, "TFTFT", 0.763636, 0.755556),
        (10, "TTT", 3 / 11, 0.3),  # recall 0.3 does not reach 0.1 * 3
        (10, "TTTTTT", 6 / 11, 0.6),  # nor 0.6 the level 0.1 * 6
    ],
)
def test_hand_vectors(num_objects: int, outcomes: str, ap07: float, ap10: float) -> None:
    assert voc_aps(*vector(num_objects, outcomes)) == pytest.approx((ap07, ap10), abs=5e-7)


def test_a_class_without_objects_is_undefined_not_zero() -> None:
    assert np.isnan(voc_aps(dataset([[]]), detections([[Hit(spot(0), 0.9)]]))).all()


def test_iou_exactly_at_the_threshold_matches() -> None:
    data, half = dataset([[Thing((0, 0, 10, 10))]]), detections([[Hit((0, 0, 10, 5), 0.9)]])
    assert voc_aps(data, half, 0.5) == (1.0, 1.0)
    assert voc_aps(data, half, 0.5000001) == (0.0, 0.0)


def test_the_kits_pixel_widths_change_the_iou() -> None:
    # Pixels 0..9 and 0..4, both inclusive: 10 x 5 of 10 x 10 pixels with +1, 9 x 4 of 9 x 9 without.
    data, half = dataset([[Thing((0, 0, 9, 9))]]), detections([[Hit((0, 0, 9, 4), 0.9)]])
    assert voc_aps(data, half, 0.5, plus_one=True) == (1.0, 1.0)
    assert voc_aps(data, half, 0.5, plus_one=False) == (0.0, 0.0)


def test_a_second_detection_of_an_object_is_a_false_positive() -> None:
    data = dataset([[Thing(spot(0)), Thing(spot(1))]])
    found = detections([[Hit(spot(0), 0.9), Hit(spot(0), 0.8), Hit(spot(1), 0.7)]])
    assert voc_aps(data, found)[1] == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_only_the_best_overlapping_object_is_considered() -> None:
    # The second box overlaps the taken object more (IoU 1) than the free one (IoU 0.6): the kit calls it a duplicate.
    data = dataset([[Thing((0, 0, 10, 10)), Thing((0, 0, 10, 6))]])
    found = detections([[Hit((0, 0, 10, 10), 0.9), Hit((0, 0, 10, 10), 0.8)]])
    matching = voc.match(*tables(data, found))
    assert matching.true_positive.tolist() == [True, False]
    assert matching.ignored.tolist() == [False, False]


def test_difficult_objects_are_neither_required_nor_counted() -> None:
    data = dataset([[Thing(spot(0)), Thing(spot(1), difficult=True), Thing(spot(2), difficult=True)]])
    on_difficult = [Hit(spot(1), 0.95), Hit(spot(1), 0.9), Hit(spot(0), 0.8)]
    assert voc_aps(data, detections([on_difficult])) == (1.0, 1.0)
    assert voc_aps(data, detections([[]])) == (0.0, 0.0)


def test_a_better_overlap_with_a_difficult_object_wins() -> None:
    data = dataset([[Thing((0, 0, 10, 8)), Thing((0, 0, 10, 10), difficult=True)]])
    matching = voc.match(*tables(data, detections([[Hit((0, 0, 10, 10), 0.9)]])))
    assert matching.true_positive.tolist() == [False]
    assert matching.ignored.tolist() == [True]


def test_crowd_regions_swallow_false_positives_inside_them_only() -> None:
    data = dataset([[Thing((0, 0, 100, 100), crowd=True), Thing((0, 0, 10, 10))]])
    inside, object_, outside = (0, 50, 10, 60), (0, 0, 10, 10), (200, 0, 210, 10)
    found = detections([[Hit(inside, 0.9), Hit(object_, 0.8), Hit(object_, 0.7), Hit(outside, 0.6)]])
    matching = voc.match(*tables(data, found))
    assert matching.true_positive.tolist() == [False, True, False, False]
    assert matching.ignored.tolist() == [True, False, True, False]


def test_a_crowd_region_swallows_its_own_class_only() -> None:
    data = dataset([[Thing((0, 0, 100, 100), crowd=True)]], ("a", "b"))
    assert not voc.match(*tables(data, detections([[Hit((50, 50, 60, 60), 0.9, class_id=1)]]))).ignored.any()


def test_other_images_and_classes_do_not_match() -> None:
    data = dataset([[Thing(spot(0))], [Thing(spot(1), class_id=1)]], ("a", "b"))
    found = detections([[Hit(spot(0), 0.9, class_id=1)], [Hit(spot(0), 0.8)]])
    assert not voc.match(*tables(data, found)).true_positive.any()


def test_ties_in_score_keep_the_order_of_the_input() -> None:
    data = dataset([[Thing(spot(0))]])
    false_first = detections([[Hit(spot(5), 0.5), Hit(spot(0), 0.5)]])
    true_first = detections([[Hit(spot(0), 0.5), Hit(spot(5), 0.5)]])
    assert voc_aps(data, false_first)[1] == 0.5
    assert voc_aps(data, true_first)[1] == 1.0


def test_portions_give_the_same_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)

    def box() -> tuple[float, float, float, float]:
        x, y, w, h = rng.integers(0, 20, 2).tolist() + rng.integers(5, 20, 2).tolist()
        return (x, y, x + w, y + h)

    data = dataset([[Thing(box(), int(rng.integers(2))) for _ in range(6)] for _ in range(9)], ("a", "b"))
    found = detections([[Hit(box(), float(rng.random()), int(rng.integers(2))) for _ in range(8)] for _ in range(9)])
    whole = voc.match(*tables(data, found))
    monkeypatch.setattr("edgedet.evaluation.tables.PAIRS_AT_ONCE", 7)
    cut = voc.match(*tables(data, found))
    assert whole.true_positive.any()
    assert np.array_equal(whole.true_positive, cut.true_positive)


# Seven images, x y w h: fifteen objects and twenty-four scored detections, a published worked example.
_GOLDEN_OBJECTS = [
    "25 16 38 56, 129 123 41 62", "123 11 43 55, 38 132 59 45", "16 14 35 48, 123 30 49 44, 99 139 47 47",
    "53 42 40 52, 154 43 31 34", "59 31 44 51, 48 128 34 52", "36 89 52 76, 62 58 44 67", "28 31 55 63, 58 67 50 58",
]  # fmt: skip
_GOLDEN_DETECTIONS = [
    ".88 5 67 31 48, .70 119 111 40 67, .80 124 9 49 67",
    ".71 64 111 64 58, .54 26 140 60 47, .74 19 18 43 35",
    ".18 109 15 77 39, .67 86 63 46 45, .38 160 62 36 53, .91 105 131 47 47, .44 18 148 40 44",
    ".35 83 28 28 26, .78 28 68 42 67, .45 87 89 25 39, .14 10 155 60 26",
    ".62 50 38 28 46, .44 95 11 53 28, .95 29 131 72 29, .23 29 163 72 29",
    ".45 43 48 74 38, .84 17 155 29 35, .43 95 110 25 42",
    ".48 16 20 101 88, .95 33 116 37 49",
]


def _corners(words: str) -> tuple[float, float, float, float]:
    x, y, w, h = (float(word) for word in words.split())
    return (x, y, x + w, y + h)


def _golden(objects: list[str], hits: list[str]) -> tuple[Dataset, list[Detections]]:
    data = dataset([[Thing(_corners(o)) for o in image.split(",")] for image in objects])
    pairs = [[h.strip().split(" ", 1) for h in image.split(",")] for image in hits]
    return data, detections([[Hit(_corners(box), float(score)) for score, box in image] for image in pairs])


def _assert_golden(data: Dataset, found: list[Detections]) -> None:
    assert sum(len(s.objects) for s in data.samples) == 15
    assert sum(len(d) for d in found) == 24
    assert voc_aps(data, found, 0.3, plus_one=True) == pytest.approx((0.268398, 0.245687), abs=5e-7)
    assert voc_aps(data, found, 0.3, plus_one=False)[1] == pytest.approx(0.225397, abs=5e-7)


def test_published_worked_example() -> None:
    _assert_golden(*_golden(_GOLDEN_OBJECTS, _GOLDEN_DETECTIONS))


def test_published_worked_example_from_its_files(shared_data: Path) -> None:
    def lines(folder: str) -> list[str]:
        files = sorted((shared_data / "data" / "map_golden" / folder).glob("*.txt"))
        return [", ".join(f.read_text().replace("person ", "").strip().splitlines()) for f in files]

    _assert_golden(*_golden(lines("groundtruths"), lines("detections")))


def test_tables_of_nothing() -> None:
    found, objects = tables(dataset([[], []]), detections([[], []]))
    assert isinstance(found, DetectionTable)
    assert len(found) == len(objects) == 0
    assert len(voc.match(found, objects).ignored) == 0
