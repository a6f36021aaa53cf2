"""The kinds of priors that a configuration can name."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic
from pydantic import Field, PositiveFloat, PositiveInt

from edgedet.config.part import Part, Share


class SsdPriors(Part):
    """Default boxes of the SSD paper: evenly spaced scales, one list of aspect ratios per level.

    Attributes:
        smallest, largest: scale of the first and last level, as a share of the input's side.
        ratios: for each level the aspect ratios besides 1; the number of lists is the number of levels.
        scales: instead of smallest and largest, the scale of each level and of the one that would follow the last.
        strides_px: for each level the distance of its priors; null for the input's side over the number of cells.
        clip_centres: move priors that are centred outside of the input to its border.
    """

    kind: Literal["ssd"]
    smallest: Share = 0.2
    largest: Share = 0.95
    ratios: tuple[tuple[PositiveFloat, ...], ...] = ((2.0, 3.0),) * 6
    scales: tuple[PositiveFloat, ...] | None = None
    strides_px: tuple[PositiveFloat, ...] | None = None
    clip_centres: bool = False

    @pydantic.model_validator(mode="after")
    def _lengths(self) -> SsdPriors:
        if self.scales is not None and len(self.scales) != len(self.ratios) + 1:
            raise ValueError(f"scales needs one number more than there are levels, {len(self.ratios) + 1}")
        if self.strides_px is not None and len(self.strides_px) != len(self.ratios):
            raise ValueError(f"strides_px needs one number for each of the {len(self.ratios)} levels")
        return self

    @property
    def num_levels(self) -> int:
        return len(self.ratios)


class TensorFlowPriors(Part):
    """Default boxes of TensorFlow's ssd_mobilenet models: 1917 with six levels at 300 px."""

    kind: Literal["tensorflow"]
    smallest: Share = 0.2
    largest: Share = 0.95
    num_levels: Annotated[int, Field(ge=2)] = 6


class PyramidPriors(Part):
    """Anchors of RetinaNet: some sizes an octave at some ratios, twice as large on each level.

    Attributes:
        smallest_px: of the finest level; the paper has four times its stride.
        scales_per_octave, ratios: sizes, and height over width; their product is the number of anchors in a cell.
        corner: centre the anchors on the cells' top left corners, as torchvision does, not in the middle.
    """

    kind: Literal["pyramid"]
    num_levels: PositiveInt = 5
    smallest_px: PositiveFloat = 32.0
    scales_per_octave: PositiveInt = 3
    ratios: tuple[PositiveFloat, ...] = (0.5, 1.0, 2.0)
    corner: bool = False


class AnchorPriors(Part):
    """Anchors as given: for each level, in the network's order of levels, a list of [width, height] in pixels.

    Attributes:
        scales_xy: for each level how many cells wide a box's centre can move (Darknet's scale_x_y); null for 1.
    """

    kind: Literal["anchors"]
    anchors_wh_px: tuple[tuple[tuple[PositiveFloat, PositiveFloat], ...], ...]
    scales_xy: tuple[PositiveFloat, ...] | None = None

    @pydantic.model_validator(mode="after")
    def _lengths(self) -> AnchorPriors:
        if self.scales_xy is not None and len(self.scales_xy) != len(self.anchors_wh_px):
            raise ValueError(f"scales_xy needs one number for each of the {len(self.anchors_wh_px)} levels")
        return self

    @property
    def num_levels(self) -> int:
        return len(self.anchors_wh_px)


class FitPriors(Part):
    """Anchors fitted to the training boxes by k-means with the distance 1 - IoU (YOLOv2 paper, section 2).

    Attributes:
        anchors_per_level: how many for each level, in the network's order of levels; the finest gets the smallest.
        scales_xy: as for "anchors".
    """

    kind: Literal["fit"]
    anchors_per_level: tuple[PositiveInt, ...]
    scales_xy: tuple[PositiveFloat, ...] | None = None

    @pydantic.model_validator(mode="after")
    def _lengths(self) -> FitPriors:
        if self.scales_xy is not None and len(self.scales_xy) != len(self.anchors_per_level):
            raise ValueError(f"scales_xy needs one number for each of the {len(self.anchors_per_level)} levels")
        return self

    @property
    def num_levels(self) -> int:
        return len(self.anchors_per_level)


Priors = Annotated[SsdPriors | TensorFlowPriors | PyramidPriors | AnchorPriors | FitPriors, Field(discriminator="kind")]
