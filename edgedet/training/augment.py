"""Training augmentation: where to look (zoom-out, IoU crop), resize, mirror, then colours.

torchvision's transforms.v2 draw the random numbers and change the colours. Zoom-out and crop are drawn as a window over
the image first and applied once, at the network's size: the pixels come from the same resize as everywhere else
(edgedet.preprocess.resize_bilinear), and no canvas of many times the image's size is ever filled.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from edgedet.boxes import clip_xyxy, iou_matrix
from edgedet.config import AugmentConfig
from edgedet.preprocess import placement, resize_bilinear
from edgedet.spec import InputSpec
from edgedet.training.targets import Objects

_MIN_SIDE_PX = 1.0  # of a box in the network input; what a crop leaves smaller than this teaches nothing


class Window(NamedTuple):
    """The part of the plane that becomes the network input, in pixels of the image; it may reach beyond the image."""

    x0: int
    y0: int
    width: int
    height: int


class IoUCrop(v2.RandomIoUCrop):  # type: ignore[misc]
    """torchvision's crop with the same distribution, but with all trials drawn at once: it tries up to 40 windows per
    image, and one by one that takes longer than the rest of the augmentation.
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


class Augment:
    """(3, H, W) uint8 image and its objects in pixels to the network's pixels and objects in 0..1 of it.

    Draws from torch's global generator: seed it to repeat an image.

    Args:
        config: probabilities and strengths; None for none at all, as validation sees images.
        image: size and resize mode of the network input.
    """

    def __init__(self, config: AugmentConfig | None, image: InputSpec) -> None:
        self.config = config
        self.image = image
        if config is None:
            return
        self.zoom_out = v2.RandomZoomOut(side_range=(1.0, config.zoom_out_max))
        self.iou_crop = IoUCrop(min_scale=config.iou_crop_min_scale)
        self.photometric = v2.RandomPhotometricDistort(
            brightness=(1 - config.brightness, 1 + config.brightness),
            contrast=(1 - config.contrast, 1 + config.contrast),
            saturation=(1 - config.saturation, 1 + config.saturation),
            hue=(-config.hue, config.hue),
            p=config.photometric_probability,
        )

    def __call__(self, image_u8_chw: Tensor, objects: Objects) -> tuple[Tensor, Objects]:
        height, width = image_u8_chw.shape[-2:]
        window = Window(0, 0, width, height)
        if self.config is not None:
            window, objects = self._choose_window(window, objects)
        pixels, objects = show_window(image_u8_chw, objects, window, self.image)
        if self.config is not None:
            pixels, objects = self._mirror(pixels, objects)
            pixels = self._recolour(pixels)
        return pixels, objects

    def _choose_window(self, window: Window, objects: Objects) -> tuple[Window, Objects]:
        assert self.config is not None
        if _chance(self.config.zoom_out_probability):
            left, top, right, bottom = self.zoom_out.make_params([_on_canvas(objects, window)])["padding"]
            window = Window(-left, -top, window.width + left + right, window.height + top + bottom)
        if len(objects.class_ids) and _chance(self.config.iou_crop_probability):
            crop = self.iou_crop.make_params([_on_canvas(objects, window)])
            if crop:
                window = Window(window.x0 + crop["left"], window.y0 + crop["top"], crop["width"], crop["height"])
                objects = objects.select(crop["is_within_crop_area"])
        return window, objects

    def _mirror(self, pixels: Tensor, objects: Objects) -> tuple[Tensor, Objects]:
        assert self.config is not None
        x0, y0, x1, y1 = objects.boxes_xyxy.unbind(1)
        if _chance(self.config.flip_probability):
            pixels, (x0, x1) = pixels.flip(-1), (1 - x1, 1 - x0)
        if _chance(self.config.vertical_flip_probability):
            pixels, (y0, y1) = pixels.flip(-2), (1 - y1, 1 - y0)
        return pixels, Objects(torch.stack((x0, y0, x1, y1), dim=1), objects.class_ids, objects.ignored)

    def _recolour(self, pixels: Tensor) -> Tensor:
        assert self.config is not None
        params = self.photometric.make_params([pixels])
        if not self.config.channel_shuffle:
            params["channel_permutation"] = None
        recoloured: Tensor = self.photometric.transform(pixels, params)
        return recoloured


def show_window(image_u8_chw: Tensor, objects: Objects, window: Window, spec: InputSpec) -> tuple[Tensor, Objects]:
    """Resize the part of the image inside a window into the network input; what lies outside the image is grey.

    Args:
        image_u8_chw: (3, H, W) uint8.
        objects: boxes in pixels of the image; boxes are cut at the window and dropped where nothing is left.

    Returns:
        (3, spec.height, spec.width) uint8 pixels and objects in 0..1 of them.
    """
    height, width = image_u8_chw.shape[-2:]
    place = placement(window.width, window.height, spec)
    scale_x, scale_y = place.width / window.width, place.height / window.height
    # The visible part of the image, in pixels of the image, and where it comes to lie, in whole pixels of the network.
    x0, y0 = max(0, window.x0), max(0, window.y0)
    x1, y1 = min(width, window.x0 + window.width), min(height, window.y0 + window.height)
    left, right = _span(place.x0, scale_x, x0 - window.x0, x1 - window.x0, spec.width)
    top, bottom = _span(place.y0, scale_y, y0 - window.y0, y1 - window.y0, spec.height)
    visible = resize_bilinear(image_u8_chw[:, y0:y1, x0:x1], bottom - top, right - left)
    if visible.shape[-2:] == (spec.height, spec.width):
        pixels = visible
    else:
        pixels = torch.full((3, spec.height, spec.width), spec.pad_value, dtype=torch.uint8)
        pixels[:, top:bottom, left:right] = visible
    boxes = clip_xyxy(objects.boxes_xyxy - objects.boxes_xyxy.new_tensor((x0, y0, x0, y0)), x1 - x0, y1 - y0)
    boxes = boxes * boxes.new_tensor(((right - left) / (x1 - x0), (bottom - top) / (y1 - y0)) * 2)
    boxes = boxes + boxes.new_tensor((left, top, left, top))
    large_enough = ((boxes[:, 2:] - boxes[:, :2]) >= _MIN_SIDE_PX).all(dim=1)
    boxes = boxes / boxes.new_tensor((spec.width, spec.height) * 2)
    return pixels, Objects(boxes, objects.class_ids, objects.ignored).select(large_enough)


def _span(origin: float, scale: float, start: float, end: float, size: int) -> tuple[int, int]:
    """Whole pixels that an interval covers in the network input, at least one."""
    low = min(size - 1, max(0, round(origin + start * scale)))
    return low, min(size, max(low + 1, round(origin + end * scale)))


def _on_canvas(objects: Objects, window: Window) -> tv_tensors.BoundingBoxes:
    """The objects as torchvision's transforms want them: in pixels of the window."""
    boxes = objects.boxes_xyxy - objects.boxes_xyxy.new_tensor((window.x0, window.y0) * 2)
    return tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(window.height, window.width))


def _chance(probability: float) -> bool:
    return float(torch.rand(())) < probability
