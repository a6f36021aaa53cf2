"""Scores in a tree of classes: products and the walk against arithmetic by hand and against Darknet's walk."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from edgedet.class_tree import ROOT, ClassTree, tree_of
from edgedet.decode import Decoder, path_probabilities, tree_scores
from edgedet.spec import DetectorSpec
from tests.small_models import SPECS, TREE

# disc .2, polygon .8: of polygons, triangle .25, quadrangle .75: of these, square .9, rectangle .1.
LOGITS = torch.tensor([0.2, 0.8, 0.25, 0.75, 0.9, 0.1]).log()
WIDE = tree_of({"a": ["b", "c", "d", "e", "f"], "g": {"h": ["i", "j", "k"], "l": None}, "m": None}, "tests")
YOLO, SSD = SPECS["yolov3_tiny_tree"], SPECS["ssdlite_mobilenet_v3_large_tree"]


def test_path_probabilities_by_hand() -> None:
    expected = torch.tensor([0.2, 0.8, 0.2, 0.6, 0.54, 0.06])
    torch.testing.assert_close(path_probabilities(LOGITS, TREE), expected)


def test_scores_by_hand() -> None:
    """t = .5: polygon min(.8, 1 - .6), quadrangle min(.6, 1 - .54); the leaves keep theirs and square wins."""
    expected = torch.tensor([0.2, 0.4, 0.2, 0.46, 0.54, 0.06])
    torch.testing.assert_close(tree_scores(LOGITS, TREE, 0.5), expected)


@pytest.mark.parametrize(
    ("tree_min", "expected", "winner"),
    [
        (0.55, [0.2, 0.5, 0.2, 0.56, 0.54, 0.06], "quadrangle"),  # square's .54 is too little
        (0.7, [0.2, 0.8, 0.2, 0.6, 0.54, 0.06], "polygon"),
        (0.9, [0.2, 0.8, 0.2, 0.6, 0.54, 0.06], "polygon"),  # nothing reaches it: the best uppermost class
        (0.0, [0.2, 0.0, 0.2, 0.0, 0.54, 0.06], "square"),  # leaves only
    ],
)
def test_the_threshold_says_how_deep_the_walk_goes(tree_min: float, expected: list[float], winner: str) -> None:
    scores = tree_scores(LOGITS, TREE, tree_min)
    torch.testing.assert_close(scores, torch.tensor(expected))
    assert TREE.names[int(scores.argmax())] == winner


def walk(probabilities: list[float], tree: ClassTree, tree_min: float) -> int:
    """Darknet's hierarchy_top_prediction: down the best child of each group while the path has more than the threshold.

    Args:
        probabilities: of each class among its siblings.
    """
    groups = {group.parent: group for group in tree.groups}
    place, path = ROOT, 1.0
    while place in groups:
        _, start, stop = groups[place]
        best = max(range(start, stop), key=lambda k: probabilities[k])
        if path * probabilities[best] <= tree_min and place != ROOT:
            return place
        place, path = best, path * probabilities[best]
        if path <= tree_min:
            return place
    return place


@given(
    st.sampled_from((TREE, WIDE)),
    st.floats(0.5, 0.95),
    st.lists(st.floats(-4, 4, width=32), min_size=len(WIDE.names), max_size=len(WIDE.names)),
)
def test_the_best_score_is_where_darknets_walk_ends(tree: ClassTree, tree_min: float, values: list[float]) -> None:
    logits = torch.tensor(values[: len(tree.names)], dtype=torch.float64)
    paths = path_probabilities(logits, tree)
    uppermost = paths[: tree.groups[0].stop].sort(descending=True).values
    assume(bool((paths - tree_min).abs().min() > 1e-9) and bool(uppermost[0] - uppermost[1] > 1e-9))
    siblings = torch.cat([logits[start:stop].softmax(0) for _, start, stop in tree.groups]).tolist()
    assert int(tree_scores(logits, tree, tree_min).argmax()) == walk(siblings, tree, tree_min)


@given(
    st.sampled_from((TREE, WIDE)),
    st.floats(0, 1),
    st.lists(st.floats(-8, 8, width=32), min_size=len(WIDE.names), max_size=len(WIDE.names)),
    st.integers(0, 5),
)
def test_no_score_moves_more_than_paths_do(tree: ClassTree, tree_min: float, values: list[float], moved: int) -> None:
    """What makes files comparable: a small error of a logit never changes a score by more than it changed a path."""
    logits = torch.tensor(values[: len(tree.names)], dtype=torch.float64)
    other = logits.clone()
    other[moved] += 0.01
    change = (tree_scores(logits, tree, tree_min) - tree_scores(other, tree, tree_min)).abs().max()
    assert change <= (path_probabilities(logits, tree) - path_probabilities(other, tree)).abs().max() + 1e-12


def test_children_sum_to_their_parent() -> None:
    torch.manual_seed(0)
    paths = path_probabilities(torch.randn(2, 5, len(WIDE.names)) * 3, WIDE)
    for parent, start, stop in WIDE.groups:
        whole = torch.ones(2, 5) if parent == ROOT else paths[..., parent]
        torch.testing.assert_close(paths[..., start:stop].sum(dim=-1), whole)


def test_decoder_multiplies_by_the_probability_of_an_object() -> None:
    """Objectness 1/4 by a sigmoid; of SSD, background 3 against the uppermost classes' 0.2 + 0.8: 1/4 as well."""
    tree = torch.tensor([0.2, 0.4, 0.2, 0.46, 0.54, 0.06])
    for spec, first in ((YOLO, -math.log(3)), (SSD, math.log(3))):
        scores = Decoder(spec).scores(torch.cat((torch.tensor([first]), LOGITS))[None, None])
        torch.testing.assert_close(scores[0, 0], tree / 4)


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        (replace(YOLO, class_parents=()), "'obj_times_tree' needs a tree"),
        (replace(YOLO, class_parents=(-1,) * 5), "5 numbers for 6 classes"),
        (replace(SPECS["yolov3_tiny"], class_parents=(-1, -1, -1)), "'obj_times_cls' knows no tree"),
        (replace(YOLO, coding=replace(YOLO.coding, tree_min=1.5)), "tree_min is 1.5"),
    ],
)
def test_problems_of_a_spec(spec: DetectorSpec, word: str) -> None:
    assert any(word in problem for problem in spec.problems())


def test_a_spec_without_a_tree_is_written_as_before_there_were_trees() -> None:
    plain = json.dumps(SPECS["yolov3_tiny"].to_dict())
    assert "class_parents" not in plain
    assert "tree_min" not in plain
    assert DetectorSpec.from_json(plain).tree.parents == (ROOT,) * 3
    assert DetectorSpec.from_json(YOLO.to_json()) == YOLO
