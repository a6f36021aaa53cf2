"""The eight EXIF orientations: what each does to pixels and to boxes.

Source: Exif 2.32, tag 0x0112. The orientation says how the stored pixels must be turned to be shown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Corners = tuple[float, float, float, float]
UPRIGHT = 1


@dataclass(frozen=True)
class Turn:
    """One orientation: optional transpose first, then mirroring of the shown axes."""

    transposed: bool
    mirror_x: bool
    mirror_y: bool

    def pixels(self, stored: Pixels) -> Pixels:
        """(H, W, 3) as stored to (H', W', 3) as shown, a view."""
        shown = stored.transpose(1, 0, 2) if self.transposed else stored
        return shown[:: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1]

    def corners(self, xyxy_px: Corners, stored_wh: tuple[int, int]) -> Corners:
        """A box in pixels of the stored picture to pixels of the shown one; continuous 0-based corners."""
        x1, y1, x2, y2 = xyxy_px
        width, height = stored_wh
        if self.transposed:
            x1, y1, x2, y2 = y1, x1, y2, x2
            width, height = height, width
        if self.mirror_x:
            x1, x2 = width - x2, width - x1
        if self.mirror_y:
            y1, y2 = height - y2, height - y1
        return x1, y1, x2, y2


TURNS: dict[int, Turn] = {
    UPRIGHT: Turn(False, False, False),
    2: Turn(False, True, False),
    3: Turn(False, True, True),
    4: Turn(False, False, True),
    5: Turn(True, False, False),
    6: Turn(True, True, False),
    7: Turn(True, True, True),
    8: Turn(True, False, True),
}


def shown_size(stored_wh: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Width and height of the picture after turning."""
    return (stored_wh[1], stored_wh[0]) if TURNS[orientation].transposed else stored_wh
