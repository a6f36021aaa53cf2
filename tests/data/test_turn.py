"""Boxes turn with their pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedet.data.turn import TURNS, shown_size


@pytest.mark.parametrize("orientation", TURNS)
@settings(deadline=None)
@given(data=st.data())
def test_box_covers_the_same_pixels_before_and_after(orientation: int, data: st.DataObject) -> None:
    width, height = data.draw(st.integers(2, 12)), data.draw(st.integers(2, 12))
    x1, y1 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x2, y2 = data.draw(st.integers(x1 + 1, width)), data.draw(st.integers(y1 + 1, height))
    stored = np.zeros((height, width, 3), np.uint8)
    stored[y1:y2, x1:x2] = 1
    shown = TURNS[orientation].pixels(stored)
    assert shown.shape[1::-1] == shown_size((width, height), orientation)
    u1, v1, u2, v2 = (int(v) for v in TURNS[orientation].corners((x1, y1, x2, y2), (width, height)))
    assert shown[v1:v2, u1:u2].all()
    assert shown.sum() == 3 * (u2 - u1) * (v2 - v1) == stored.sum()


def test_orientation_6_by_hand() -> None:
    """40 wide, 30 high, turned clockwise: the left edge becomes the top, the bottom becomes the left."""
    assert TURNS[6].corners((1, 2, 11, 7), (40, 30)) == (23, 1, 28, 11)
