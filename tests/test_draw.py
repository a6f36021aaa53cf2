"""Boxes land where they belong, whatever the picture's size; sheets hold every picture."""

from __future__ import annotations

import numpy as np
import pytest

from edgedet.draw import class_colour, contact_sheet, draw_detections


def test_box_is_drawn_on_its_edge_pixels_and_the_input_is_untouched() -> None:
    image = np.zeros((100, 120, 3), np.uint8)
    drawn = draw_detections(image, [(30, 40, 90, 80)], ["x"], class_ids=[0])
    assert image.max() == 0
    colour = class_colour(0)
    assert tuple(drawn[60, 30]) == tuple(drawn[60, 89]) == tuple(drawn[79, 60]) == colour
    assert drawn[60, 29].max() == drawn[60, 90].max() == drawn[80, 60].max() == 0
    assert drawn[60, 60].max() == 0


def test_line_width_grows_with_the_picture() -> None:
    drawn = draw_detections(np.zeros((800, 1000, 3), np.uint8), [(200, 200, 800, 600)], ["x"])
    assert (drawn[400, 150:260].max(axis=1) > 0).sum() == 5


def test_a_score_changes_the_label() -> None:
    image = np.zeros((100, 120, 3), np.uint8)
    plain = draw_detections(image, [(10, 50, 90, 80)], ["x"])
    scored = draw_detections(image, [(10, 50, 90, 80)], ["x"], scores=np.array([0.5], np.float32))
    assert (plain != scored).any()


@pytest.mark.parametrize("size", [(1, 1), (8, 30), (500, 20)])
@pytest.mark.parametrize("box", [(0, 0, 1, 1), (-5, -5, 900, 900), (3, 2, 3.2, 2.1)])
def test_tiny_pictures_and_boxes(size: tuple[int, int], box: tuple[float, ...]) -> None:
    drawn = draw_detections(np.zeros((*size, 3), np.uint8), [box], ["a long label"], [0.123], [7])
    assert drawn.shape == (*size, 3)


def test_no_boxes() -> None:
    image = np.full((9, 9, 3), 5, np.uint8)
    np.testing.assert_array_equal(draw_detections(image, np.zeros((0, 4), np.float32), []), image)


def test_colours_of_twenty_classes_differ() -> None:
    assert len({class_colour(k) for k in range(20)}) == 20


def test_contact_sheet_shrinks_and_places_pictures() -> None:
    big, small = np.full((400, 800, 3), 10, np.uint8), np.full((20, 10, 3), 200, np.uint8)
    sheet = contact_sheet([big, small, small], columns=2, cell_px=100, gap_px=10)
    assert sheet.shape == (230, 230, 3)
    assert (sheet[60, 10:110] == 10).all()  # 800x400 becomes 100x50, in the middle of the first cell
    assert (sheet[50:70, 165:175] == 200).all()
    assert (sheet == 10).all(axis=2).sum() == 100 * 50
    with pytest.raises(ValueError, match="at least one image"):
        contact_sheet([], columns=3)
