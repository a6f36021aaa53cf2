"""The best epoch and the patience, by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from edgedet.training.best import Best, best_of


def lines(*values: float | None) -> list[dict[str, Any]]:
    """One epoch each; None without validation, NaN with one that gave no such metric."""
    vals = [None if v is None else {} if math.isnan(v) else {"coco_ap": v} for v in values]
    return [{"epoch": epoch, "val": val} for epoch, val in enumerate(vals, start=1)]


@pytest.mark.parametrize(
    ("values", "min_delta", "expected"),
    [
        ((), 0.0, Best(0, -math.inf, 0)),
        ((None, None), 0.0, Best(0, -math.inf, 0)),
        ((0.1, 0.2, 0.3), 0.0, Best(3, 0.3, 0)),
        ((0.1, 0.3, 0.2, 0.3), 0.0, Best(2, 0.3, 2)),  # an equal value is no gain, and the first of equals is the best
        ((None, 0.3, None, 0.2), 0.0, Best(2, 0.3, 1)),
        ((0.1, 0.15, 0.19), 0.1, Best(3, 0.19, 2)),  # the best by value, but the wait has not ended
        ((0.1, 0.15, 0.21), 0.1, Best(3, 0.21, 0)),
        ((math.nan, math.nan), 0.0, Best(0, -math.inf, 2)),
        ((0.0,), 0.0, Best(1, 0.0, 0)),
    ],
)
def test_best(values: tuple[float | None, ...], min_delta: float, expected: Best) -> None:
    assert best_of(lines(*values), "coco_ap", min_delta) == expected
