"""What runtimes' operators do by themselves; docs/nms.md says it in words. Each line here is a reason for a setting."""

from __future__ import annotations

import numpy as np
import pytest

from tests.nms.bare_operators import OPERATORS, Pairs, custom_regular, run_node
from tests.nms.onnx_vectors import VECTORS

# TFLite's own test of NON_MAX_SUPPRESSION_V4: IoU of the first two is exactly 1/2.
GOLDEN = np.array([[0, 0, 1, 2], [0, 0, 1, 1], [10, 10, 11, 11]], np.float32) / 16
SCORES = np.array([[0.9], [0.5], [0.25]], np.float32)
_SAME = [[0.0, 0, 0.5, 0.5]] * 2
_ALL, _TWO_BOXES = [0, 1, 2], [[0.0, 0, 0.25, 0.25], [0.5, 0.5, 1, 1]]
TORCH, ONNX, FAST, REGULAR, V4 = OPERATORS


@pytest.mark.parametrize(
    ("iou", "score", "kept"),
    [
        (0.5, 0.1, {TORCH: _ALL, ONNX: _ALL, FAST: _ALL, REGULAR: _ALL, V4: [0, 2]}),  # IoU on the threshold
        (0.51, 0.1, {TORCH: _ALL, ONNX: _ALL, FAST: _ALL, REGULAR: _ALL, V4: _ALL}),
        (0.51, 0.25, {TORCH: _ALL, ONNX: [0, 1], FAST: _ALL, REGULAR: _ALL, V4: [0, 1]}),  # score on the threshold
        (0.4, 0.1, {name: [0, 2] for name in OPERATORS}),
    ],
)
def test_golden_case(iou: float, score: float, kept: dict[str, list[int]]) -> None:
    found = {name: [row for row, _ in operator(GOLDEN, SCORES, iou, score)] for name, operator in OPERATORS.items()}
    assert found == kept


@pytest.mark.parametrize(
    ("name", "boxes", "scores", "kept"),
    [
        (
            "two classes on one object",
            _SAME,
            [[0.9, 0.1], [0.1, 0.8]],
            {ONNX: [(0, 0), (1, 1)], FAST: [(0, 0)], REGULAR: [(0, 0), (1, 1)]},
        ),
        (
            "labels of one box",
            _SAME[:1],
            [[0.9, 0.8]],
            {ONNX: [(0, 0), (0, 1)], FAST: [(0, 0)], REGULAR: [(0, 0), (0, 1)]},
        ),
        (
            "order",
            _TWO_BOXES,
            [[0, 0.9], [0.5, 0]],
            {ONNX: [(1, 0), (0, 1)], FAST: [(0, 1), (1, 0)], REGULAR: [(0, 1), (1, 0)]},
        ),
        (
            "order of equal scores",
            _TWO_BOXES,
            [[0, 0.5], [0.5, 0]],
            {ONNX: [(1, 0), (0, 1)], FAST: [(0, 1), (1, 0)], REGULAR: [(1, 0), (0, 1)]},
        ),
        ("equal scores on one object", _SAME, [[0.5], [0.5]], {name: [(0, 0)] for name in OPERATORS}),
        (
            "zero area",
            [[0.1, 0.1, 0.1, 0.5]] * 2,
            [[0.9], [0.8]],
            {name: [(0, 0), (1, 0)] for name in OPERATORS if name != V4},
        ),
        (
            "inverted",
            [[0, 0, 0.5, 0.5], [0.5, 0.5, 0, 0]],
            [[0.9], [0.8]],
            {TORCH: [(0, 0), (1, 0)], ONNX: [(0, 0)], V4: [(0, 0)]},
        ),
    ],
)
def test_behaviour(name: str, boxes: list[list[float]], scores: list[list[float]], kept: dict[str, Pairs]) -> None:
    arguments = np.array(boxes, np.float32), np.array(scores, np.float32), 0.5, 0.25
    assert {operator: OPERATORS[operator](*arguments) for operator in kept} == kept


@pytest.mark.parametrize("operator", [FAST, REGULAR])
def test_the_custom_operator_fails_on_an_inverted_box(operator: str) -> None:
    boxes = np.array([[0.5, 0, 0, 0.5]], np.float32)
    with pytest.raises(RuntimeError, match="ValidateBoxes"):
        OPERATORS[operator](boxes, np.array([[0.9]], np.float32), 0.5, 0.25)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_regular_suppression_loses_the_class_whose_number_is_that_of_the_threads(threads: int) -> None:
    boxes = np.array([[0.1 * k, 0, 0.1 * k + 0.05, 0.05] for k in range(5)], np.float32)
    found = custom_regular(boxes, np.eye(5, dtype=np.float32) * 0.9, 0.5, 0.25, threads)
    assert sorted(label for _, label in found) == [k for k in range(5) if k != threads or threads == 1]


def test_onnx_has_ten_vectors() -> None:
    assert len(VECTORS) >= 10


@pytest.mark.parametrize("name", VECTORS)
def test_onnx_runtime_keeps_what_onnx_says(name: str) -> None:
    node, inputs, selected = VECTORS[name]
    found = run_node(node, dict(zip(node.input, inputs, strict=True)))
    np.testing.assert_array_equal(found, selected)
