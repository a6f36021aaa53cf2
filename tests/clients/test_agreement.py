"""The criterion itself, on boxes whose IoU is known."""

from __future__ import annotations

import numpy as np
import pytest

from tests.clients.agreement import LIMITS, Agreement, Limits, Named, Pair, agree

STRICT = LIMITS["fp32"]


def _named(*rows: tuple[float, float, float, float, float, str]) -> Named:
    boxes = np.array([row[:4] for row in rows], np.float32).reshape(-1, 4)
    return Named(boxes, np.array([row[4] for row in rows], np.float32), [row[5] for row in rows])


def _agree(reference: Named, client: Named, rounding_px: float = 0.0) -> Agreement:
    return agree([Pair(reference, client, (2.0, 2.0))], rounding_px)


def test_equal_detections_agree_and_errors_are_in_network_pixels() -> None:
    found = _agree(_named((0, 0, 100, 100, 0.9, "a")), _named((0, 0, 102, 100, 0.895, "a")))

    assert (found.counted, found.matched) == (2, 2)
    assert found.corner_error_px == pytest.approx(1.0)  # 2 px of an image that is shrunk by 2
    assert found.score_error == pytest.approx(0.005, abs=1e-6)
    assert found.holds(STRICT)


@pytest.mark.parametrize(
    ("client", "matched"),
    [
        ((0, 0, 100, 95, 0.9, "a"), 2),  # IoU exactly 0.95
        ((0, 0, 100, 94, 0.9, "a"), 0),
        ((0, 0, 100, 100, 0.9, "b"), 0),
        ((0, 0, 100, 100, 0.2, "a"), 1),  # only the reference's is above 0.3, and it has a partner
    ],
)
def test_what_is_a_pair(client: tuple[float, float, float, float, float, str], matched: int) -> None:
    assert _agree(_named((0, 0, 100, 100, 0.9, "a")), _named(client)).matched == matched


def test_an_extra_box_a_missing_box_and_a_duplicate_are_faults() -> None:
    one, two = _named((0, 0, 100, 100, 0.9, "a")), _named((0, 0, 100, 100, 0.9, "a"), (0, 0, 100, 99, 0.8, "a"))

    assert _agree(one, two).share == _agree(two, one).share == pytest.approx(2 / 3)
    assert not _agree(one, two).holds(STRICT)
    assert not _agree(one, _named()).holds(STRICT)


def test_nothing_found_on_both_sides_proves_nothing() -> None:
    assert not _agree(_named(), _named()).holds(STRICT)


def test_a_score_that_is_off_fails() -> None:
    assert not _agree(_named((0, 0, 10, 10, 0.9, "a")), _named((0, 0, 10, 10, 0.88, "a"))).holds(STRICT)


def test_rounding_is_allowed_only_as_far_as_it_goes() -> None:
    exact, rounded = _named((0.9, 0.9, 20.9, 20.9, 0.9, "a")), _named((0, 0, 20, 20, 0.9, "a"))

    assert _agree(exact, rounded).matched == 0
    assert _agree(exact, rounded, rounding_px=1.0).matched == 2
    assert _agree(exact, rounded, rounding_px=0.1).matched == 0


def test_some_scores_may_be_off_where_the_limits_say_so() -> None:
    rows = [(100.0 * k, 0, 100.0 * k + 50, 50, 0.9, "a") for k in range(4)]
    found = _agree(_named(*rows), _named(*rows[:3], (*rows[3][:4], 0.8, "a")))

    assert found.score_error == pytest.approx(0.1)
    assert found.holds(Limits(0.01, scores_within=0.75))
    assert not found.holds(Limits(0.01, scores_within=0.76))


def test_half_precision_must_match_as_often_as_single_but_for_one_tie() -> None:
    assert LIMITS["fp16"].share == LIMITS["fp32"].share == 0.99

    rows = [(100.0 * k, 0, 100.0 * k + 50, 50, 0.9, "a") for k in range(4)]
    moved = [(x0, 500.0, x1, 550.0, *rest) for x0, _, x1, _, *rest in rows]
    one, two = [_agree(_named(*rows), _named(*rows[k:], *moved[:k])) for k in (1, 2)]
    assert one.holds(LIMITS["fp16"])
    assert not one.holds(LIMITS["fp32"])
    assert not two.holds(LIMITS["fp16"])


def test_boxes_at_the_left_and_top_edge_can_be_left_out() -> None:
    reference = _named((0, 30, 50, 80, 0.9, "a"), (30, 30, 80, 80, 0.9, "a"))
    moved = _named((0, 30, 90, 80, 0.9, "a"), (30, 30, 80, 80, 0.9, "a"))
    pair = Pair(reference, moved, (1.0, 1.0))

    assert agree([pair]).share == 0.5
    assert agree([pair.with_edges(False)]) == Agreement(2, 2, (0.0,), 0.0)
