"""Formulas that turn a configuration into LevelSpecs, i.e. into final numbers. Used once, when a model is created."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgedet.spec import LevelSpec

Anchors = Sequence[tuple[float, float]]


def ssd_scales(count: int, smallest: float, largest: float) -> list[float]:
    """s_k of the SSD paper, section 2.2: `count` evenly spaced shares of the input's side."""
    if count == 1:
        return [smallest]
    return [smallest + (largest - smallest) * k / (count - 1) for k in range(count)]


def ssd_anchors_wh_px(
    scales: Sequence[float], ratios: Sequence[Sequence[float]], height: int, width: int, next_after_last: float = 1.0
) -> list[list[tuple[float, float]]]:
    """Default boxes of each level: s, sqrt(s * s'), then s at each ratio and its inverse, clipped to the input.

    This is torchvision's order (DefaultBoxGenerator): square of scale s, square of the geometric mean with the next
    scale, then for each ratio r a box of width s*sqrt(r), height s/sqrt(r) and its transpose.
    """
    levels = []
    for k, scale in enumerate(scales):
        following = scales[k + 1] if k + 1 < len(scales) else next_after_last
        shares = [(scale, scale), (math.sqrt(scale * following),) * 2]
        for ratio in ratios[k]:
            root = math.sqrt(ratio)
            shares += [(scale * root, scale / root), (scale / root, scale * root)]
        levels.append([(min(w, 1.0) * width, min(h, 1.0) * height) for w, h in shares])
    return levels


def make_levels(
    grids_hw: Sequence[tuple[int, int]], anchors_wh_px: Sequence[Anchors], height: int, width: int
) -> tuple[LevelSpec, ...]:
    """Levels whose grids cover the input evenly: the stride is the input's side over the number of cells."""
    return tuple(
        LevelSpec((width / grid_w, height / grid_h), grid_h, grid_w, tuple((float(w), float(h)) for w, h in anchors))
        for (grid_h, grid_w), anchors in zip(grids_hw, anchors_wh_px, strict=True)
    )
