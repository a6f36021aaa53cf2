"""The SSD paper's recipe (sections 2.2 and 3.6): zoom-out, IoU crop, mirror, then colours.

torchvision's transforms.v2 draw the random numbers and change the colours.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from edgedet.boxes import iou_matrix
from edgedet.config import AugmentConfig
from edgedet.spec import InputSpec
from edgedet.training.augment_window import Another, Picture, Window, chance, mirror, show_window
from edgedet.training.targets import Objects


class IoUCrop(v2.RandomIoUCrop):  # type: ignore[misc]
    """torchvision's crop with the same distribution, but with all trials drawn at once: it tries up to 40 windows per
    image, and one by one that takes longer than the rest of the augmentation.

    One of "the whole image", "any crop" and "a crop with an IoU of at least .1, .3, .5, .7 or .9 with some object" is
    drawn; of the crop's sides none is twice the other; objects whose centre lies outside go (SSD paper, section 2.2).
    """

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        (boxes,) = (item for item in flat_inputs if isinstance(item, tv_tensors.BoundingBoxes))
        height, width = boxes.canvas_size
        xyxy = boxes.as_subclass(Tensor)
        centres = (xyxy[:, :2] + xyxy[:, 2:]) / 2
        canvas = xyxy.new_tensor((width, height))
        while True:
            smallest_iou = self.options[int(torch.randint(len(self.options), ()))]
            if smallest_iou >= 1:
                return {}  # "the whole image" is one of the options
            sides = (canvas * (self.min_scale + (self.max_scale - self.min_scale) * torch.rand(self.trials, 2))).floor()
            start = ((canvas - sides) * torch.rand(self.trials, 2)).floor()
            windows = torch.cat((start, start + sides), dim=1)
            inside = ((centres > windows[:, None, :2]) & (centres < windows[:, None, 2:])).all(dim=2)  # (trials, M)
            overlap = torch.where(inside, iou_matrix(windows, xyxy), -1.0).amax(dim=1)
            aspect = sides[:, 0] / sides[:, 1].clamp(min=1)
            good = (sides >= 1).all(dim=1) & inside.any(dim=1) & (overlap >= smallest_iou)
            good &= (aspect >= self.min_aspect_ratio) & (aspect <= self.max_aspect_ratio)
            if good.any():
                chosen = int(good.nonzero()[0])
                left, top, right, bottom = (int(v) for v in windows[chosen])
                size = {"height": bottom - top, "width": right - left}
                return {"top": top, "left": left, **size, "is_within_crop_area": inside[chosen]}


class SsdRecipe:
    """(3, H, W) uint8 image and its objects in pixels to network pixels and objects in 0..1 of them."""

    def __init__(self, config: AugmentConfig) -> None:
        self.config = config
        self.zoom_out = v2.RandomZoomOut(side_range=(1.0, config.zoom_out_max))
        self.iou_crop = IoUCrop(min_scale=config.iou_crop_min_scale)
        self.photometric = v2.RandomPhotometricDistort(
            brightness=(1 - config.brightness, 1 + config.brightness),
            contrast=(1 - config.contrast, 1 + config.contrast),
            saturation=(1 - config.saturation, 1 + config.saturation),
            hue=(-config.hue, config.hue),
            p=config.photometric_probability,
        )

    def __call__(self, image_u8_chw: Tensor, objects: Objects, spec: InputSpec, another: Another | None) -> Picture:
        window, objects = self._choose_window(Window(0, 0, image_u8_chw.shape[2], image_u8_chw.shape[1]), objects)
        pixels, objects = show_window(image_u8_chw, objects, window, spec)
        flips = chance(self.config.flip_probability), chance(self.config.vertical_flip_probability)
        pixels, objects = mirror(pixels, objects, *flips)
        return self._recolour(pixels), objects

    def _choose_window(self, window: Window, objects: Objects) -> tuple[Window, Objects]:
        if chance(self.config.zoom_out_probability):
            left, top, right, bottom = self.zoom_out.make_params([_on_canvas(objects, window)])["padding"]
            window = Window(-left, -top, window.width + left + right, window.height + top + bottom)
        if len(objects.class_ids) and chance(self.config.iou_crop_probability):
            crop = self.iou_crop.make_params([_on_canvas(objects, window)])
            if crop:
                window = Window(window.x0 + crop["left"], window.y0 + crop["top"], crop["width"], crop["height"])
                objects = objects.select(crop["is_within_crop_area"])
        return window, objects

    def _recolour(self, pixels: Tensor) -> Tensor:
        params = self.photometric.make_params([pixels])
        if not self.config.channel_shuffle:
            params["channel_permutation"] = None
        recoloured: Tensor = self.photometric.transform(pixels, params)
        return recoloured


def _on_canvas(objects: Objects, window: Window) -> tv_tensors.BoundingBoxes:
    """The objects as torchvision's transforms want them: in pixels of the window."""
    boxes = objects.boxes_xyxy - objects.boxes_xyxy.new_tensor((window.x0, window.y0) * 2)
    return tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(window.height, window.width))
