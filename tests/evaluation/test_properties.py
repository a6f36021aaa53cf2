"""What must hold for every data set and every list of detections."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedet.data.types import Dataset
from edgedet.evaluation import evaluate_detections
from edgedet.runner import Detections
from tests.evaluation.cases import Box, Hit, Thing, dataset, detections

Case = tuple[list[list[Thing]], list[list[Hit]]]  # images, and the detections in each
NAMES = ("a", "b")
FEW = settings(max_examples=40, deadline=None)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x, y = draw(st.integers(0, 60)), draw(st.integers(0, 60))
    return (x, y, x + draw(st.integers(1, 120)), y + draw(st.integers(1, 120)))


@st.composite
def image_things(draw: st.DrawFn) -> list[Thing]:
    """No two equal boxes: VOC compares a detection with its best object only, so a copy could never be found."""
    unique = draw(st.lists(boxes(), max_size=5, unique=True))
    return [Thing(box, draw(st.integers(0, 1)), difficult=draw(st.integers(0, 4)) == 0) for box in unique]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Images with at least one object to find, and detections with scores that all differ."""
    images = [[Thing(draw(boxes()))], *draw(st.lists(image_things(), max_size=4))]
    counts = [draw(st.integers(0, 5)) for _ in images]
    scores = iter(draw(st.permutations([0.05 + 0.9 * i / 40 for i in range(sum(counts))])))

    def hit(things: list[Thing]) -> Hit:
        if things and draw(st.booleans()):
            thing = draw(st.sampled_from(things))
            x1, y1, x2, y2 = thing.box
            return Hit((x1, y1, x2 + draw(st.integers(0, 8)), y2), next(scores), thing.class_id)
        return Hit(draw(boxes()), next(scores), draw(st.integers(0, 1)))

    return images, [[hit(things) for _ in range(n)] for things, n in zip(images, counts, strict=True)]


def metrics(images: list[list[Thing]], hits: list[list[Hit]]) -> dict[str, float]:
    return evaluate_detections(dataset(images, NAMES), detections(hits)).metrics


def averages(values: dict[str, float]) -> np.ndarray:
    return np.array([v for k, v in sorted(values.items()) if "_ap" in k or k.endswith("_map")])


@FEW
@given(cases())
def test_perfect_detections_give_one(case: Case) -> None:
    images, _ = case
    perfect = [[Hit(t.box, 0.9, t.class_id) for t in things] for things in images]
    values = averages(metrics(images, perfect))
    assert values[~np.isnan(values)] == pytest.approx(1.0)


@FEW
@given(cases())
def test_numbers_lie_in_0_to_1(case: Case) -> None:
    values = metrics(*case)
    assert all(0 <= v <= 1 or np.isnan(v) for v in values.values())
    assert values["coco_ap"] <= values["coco_ap50"] + 1e-12
    assert not np.isnan(values["coco_ap50"])


@FEW
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_images_does_not_matter(case: Case, random) -> None:  # type: ignore[no-untyped-def]
    pairs = list(zip(*case, strict=True))
    random.shuffle(pairs)
    shuffled = metrics([things for things, _ in pairs], [hits for _, hits in pairs])
    assert shuffled == pytest.approx(metrics(*case), abs=1e-12, nan_ok=True)


@FEW
@given(cases(), st.floats(0.01, 0.99), st.integers(0, 1))
def test_a_false_alarm_never_helps(case: Case, score: float, class_id: int) -> None:
    images, hits = case
    far = Hit((500, 500, 600, 600), score, class_id)
    before, after = averages(metrics(images, hits)), averages(metrics(images, [[*hits[0], far], *hits[1:]]))
    assert (np.isnan(before) == np.isnan(after)).all()
    assert not (after > before + 1e-12).any()


@FEW
@given(cases())
def test_a_false_alarm_below_all_scores_changes_nothing(case: Case) -> None:
    images, hits = case
    last = Hit((500, 500, 600, 600), 0.001)
    after = metrics(images, [[*hits[0], last], *hits[1:]])
    assert averages(after) == pytest.approx(averages(metrics(images, hits)), abs=1e-12, nan_ok=True)


@FEW
@given(cases())
def test_only_the_order_of_scores_matters(case: Case) -> None:
    images, hits = case
    squared = [[replace(hit, score=hit.score**2) for hit in image] for image in hits]
    assert metrics(images, squared) == pytest.approx(metrics(images, hits), abs=1e-12, nan_ok=True)


@FEW
@given(cases())
def test_every_object_and_shown_box_is_in_the_confusion_matrix(case: Case) -> None:
    data, found = dataset(case[0], NAMES), detections(case[1])
    counts = evaluate_detections(data, found).confusion.counts
    assert counts[:-1].sum(axis=1).tolist() == _required_by_class(data)
    assert counts[:, :-1].sum() <= sum(int((d.scores >= 0.3).sum()) for d in found)


def _required_by_class(data: Dataset) -> list[int]:
    ids = np.concatenate([s.objects.class_ids[~s.objects.difficult] for s in data.samples])
    return np.bincount(ids, minlength=len(data.class_names)).tolist()


def test_no_detections_give_zero() -> None:
    none = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))
    values = evaluate_detections(dataset([[Thing((0, 0, 9, 9))]]), [none]).metrics
    assert values["coco_ap"] == values["voc07_map"] == values["voc10_map"] == 0
