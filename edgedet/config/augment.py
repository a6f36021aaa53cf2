"""Augmentation: the fields of a configuration."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic
from pydantic import Field, PositiveFloat, PositiveInt

from edgedet.config.part import Part, Share


class AugmentConfig(Part):
    """Random changes of training images. Numbers called `..._probability` are shares of the images that get the change.

    Attributes:
        recipe: "ssd" (SSD paper, sections 2.2 and 3.6) or "yolo" (YOLOv1 paper, section 2.2, and Darknet).
        flip_probability, vertical_flip_probability: mirror left-right, top-bottom.

        Of recipe "ssd":
        zoom_out_probability, zoom_out_max: put the image on a grey canvas of up to so many times its sides; 4 times
            the sides are the paper's 16 times the area.
        iou_crop_probability: of the crop: the whole image, any part, or one with an IoU of at least .1, .3, .5, .7
            or .9 with an object. iou_crop_min_scale: its smallest side as a share of the image's.
        photometric_probability: of each of brightness, contrast, saturation and hue, with the strengths that follow.
        channel_shuffle: permute R, G and B with the same probability.

        Of recipe "yolo":
        jitter: each edge of the image moves in or out by up to this share of its side; what was outside is grey.
        hsv_hue: the hue turns by up to this share of the circle, both ways.
        hsv_saturation, hsv_exposure: saturation and value are multiplied or divided by up to this.
        mosaic_probability: of four pictures around a random point in place of one (YOLOv4 paper, section 3.3).
        visible_min: objects of which a cut leaves a smaller share of the area are dropped.

        multi_scale: smallest and largest side of the network input in training, as shares of the input's own sides
            (YOLOv2 paper, section 2: 320 to 608 px for an input of 416 is [0.77, 1.47]); null for one size. The
            detector that is saved has the input's own size.
        multi_scale_every, multi_scale_step_px: batches until another size is drawn, and between two sizes.
    """

    recipe: Literal["ssd", "yolo"] = "ssd"
    flip_probability: Share = 0.5
    vertical_flip_probability: Share = 0.0
    zoom_out_probability: Share = 0.5
    zoom_out_max: Annotated[float, Field(ge=1, le=8)] = 4.0
    iou_crop_probability: Share = 1.0
    iou_crop_min_scale: Annotated[float, Field(gt=0, le=1)] = 0.3
    photometric_probability: Share = 0.5
    brightness: Share = 0.125
    contrast: Share = 0.5
    saturation: Share = 0.5
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    channel_shuffle: bool = False
    jitter: Annotated[float, Field(ge=0, lt=0.5)] = 0.2
    hsv_hue: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    hsv_saturation: Annotated[float, Field(ge=1)] = 1.5
    hsv_exposure: Annotated[float, Field(ge=1)] = 1.5
    mosaic_probability: Share = 0.0
    visible_min: Share = 0.1
    multi_scale: tuple[PositiveFloat, PositiveFloat] | None = None
    multi_scale_every: PositiveInt = 10
    multi_scale_step_px: PositiveInt = 32

    @pydantic.model_validator(mode="after")
    def _of_its_recipe(self) -> AugmentConfig:
        for recipe, names in RECIPE_FIELDS.items():
            strange = sorted(self.model_fields_set & names) if recipe != self.recipe else []
            if strange:
                raise ValueError(
                    f"recipe {self.recipe} has no {strange[0]}, which belongs to recipe {recipe}: leave it out"
                )
        if self.multi_scale and not self.multi_scale[0] <= 1 <= self.multi_scale[1]:
            raise ValueError("multi_scale is a smallest share of at most 1 and a largest of at least 1")
        return self


# What only one recipe of augmentation reads.
RECIPE_FIELDS = {
    "ssd": frozenset(
        {
            "zoom_out_probability", "zoom_out_max", "iou_crop_probability", "iou_crop_min_scale",
            "photometric_probability", "brightness", "contrast", "saturation", "hue", "channel_shuffle",
        }
    ),
    "yolo": frozenset({"jitter", "hsv_hue", "hsv_saturation", "hsv_exposure", "mosaic_probability", "visible_min"}),
}  # fmt: skip
