"""YOLO's recipe: jitter, mirror, colours in HSV (YOLOv1 paper, section 2.2; Darknet), mosaic (YOLOv4 paper, 3.3)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from edgedet.config import AugmentConfig
from edgedet.preprocess import placement
from edgedet.spec import InputSpec
from edgedet.training.augment_window import Another, Picture, Window, chance, mirror, show_window, uniform
from edgedet.training.targets import Objects

_CUT = 0.2  # the mosaic's four pictures meet at least this share of each side away from the border (Darknet)
_LEVELS = np.arange(256)
_TURN = 255  # levels of hue that Pillow makes of a whole circle


class YoloRecipe:
    """(3, H, W) uint8 image and its objects in pixels to network pixels and objects in 0..1 of them."""

    def __init__(self, config: AugmentConfig) -> None:
        self.config = config

    def __call__(self, image_u8_chw: Tensor, objects: Objects, spec: InputSpec, another: Another | None) -> Picture:
        """Without `another` there is no mosaic."""
        if another is not None and chance(self.config.mosaic_probability):
            return self._mosaic([(image_u8_chw, objects), *(another() for _ in range(3))], spec)
        window = self._jittered(image_u8_chw.shape[2], image_u8_chw.shape[1])
        return self._finish(*show_window(image_u8_chw, objects, window, spec, self.config.visible_min))

    def _mosaic(self, pictures: list[Picture], spec: InputSpec) -> Picture:
        """Four pictures around a random point, each at the scale it has alone, and a random part of each."""
        across, down = round(uniform(_CUT, 1 - _CUT) * spec.width), round(uniform(_CUT, 1 - _CUT) * spec.height)
        canvas = torch.empty(3, spec.height, spec.width, dtype=torch.uint8)
        found = []
        quarters = [(x, y) for y in ((0, down), (down, spec.height)) for x in ((0, across), (across, spec.width))]
        for (pixels, objects), ((x0, x1), (y0, y1)) in zip(pictures, quarters, strict=True):
            share_wh = (x1 - x0) / spec.width, (y1 - y0) / spec.height
            window = _part(_as_placed(self._jittered(pixels.shape[2], pixels.shape[1]), spec), *share_wh)
            quarter = replace(spec, width=x1 - x0, height=y1 - y0, resize="stretch")
            shown = show_window(pixels, objects, window, quarter, self.config.visible_min)
            canvas[:, y0:y1, x0:x1], part = self._finish(*shown)
            boxes = part.boxes_xyxy * torch.tensor(share_wh * 2)
            found.append(replace(part, boxes_xyxy=boxes + torch.tensor((x0 / spec.width, y0 / spec.height) * 2)))
        return canvas, _joined(found)

    def _jittered(self, width: int, height: int) -> Window:
        """Each edge moved in or out by up to `jitter` of the side; outside of the image is grey (Darknet)."""
        jitter = self.config.jitter
        left, right = (round(uniform(-jitter, jitter) * width) for _ in range(2))
        top, bottom = (round(uniform(-jitter, jitter) * height) for _ in range(2))
        return Window(left, top, max(1, width - left - right), max(1, height - top - bottom))

    def _finish(self, pixels: Tensor, objects: Objects) -> Picture:
        """Mirror and recolour."""
        config = self.config
        pixels, objects = mirror(
            pixels, objects, chance(config.flip_probability), chance(config.vertical_flip_probability)
        )
        hue = uniform(-config.hsv_hue, config.hsv_hue)
        return shift_hsv(pixels, hue, _factor(config.hsv_saturation), _factor(config.hsv_exposure)), objects


def shift_hsv(pixels: Tensor, hue: float, saturation: float, exposure: float) -> Tensor:
    """(3, H, W) uint8 RGB with other colours, by Pillow's 8-bit HSV.

    Args:
        hue: added, in turns of the colour circle.
        saturation, exposure: factors of S and of V; what leaves 0..255 is cut, of V in RGB, as Darknet does.
    """
    if hue == 0 and saturation == 1 and exposure == 1:
        return pixels
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    if hue != 0 or saturation != 1:
        turned = ((_LEVELS + round(hue * _TURN)) % _TURN).tolist()
        image = image.convert("HSV").point([*turned, *_scaled(saturation), *_scaled(1)]).convert("RGB")
    if exposure != 1:
        image = image.point(_scaled(exposure) * 3)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _scaled(factor: float) -> list[int]:
    levels: list[int] = np.minimum(np.rint(_LEVELS * factor), 255).astype(int).tolist()
    return levels


def _factor(strongest: float) -> float:
    """Uniform in 1..strongest, or one over that, with equal chance (Darknet's rand_scale)."""
    factor = uniform(1, strongest)
    return 1 / factor if chance(0.5) else factor


def _as_placed(window: Window, spec: InputSpec) -> Window:
    """The window that, stretched over the network input, shows what the spec's own resize shows of the given one."""
    place = placement(window.width, window.height, spec)
    scale_x, scale_y = place.width / window.width, place.height / window.height
    width, height = round(spec.width / scale_x), round(spec.height / scale_y)
    return Window(window.x0 - round(place.x0 / scale_x), window.y0 - round(place.y0 / scale_y), width, height)


def _part(window: Window, share_w: float, share_h: float) -> Window:
    """A part of a window, anywhere in it."""
    width, height = max(1, round(window.width * share_w)), max(1, round(window.height * share_h))
    x0, y0 = uniform(0, window.width - width), uniform(0, window.height - height)
    return Window(window.x0 + round(x0), window.y0 + round(y0), width, height)


def _joined(parts: list[Objects]) -> Objects:
    return Objects(
        torch.cat([part.boxes_xyxy for part in parts]).clamp(0, 1),
        torch.cat([part.class_ids for part in parts]),
        torch.cat([part.ignored for part in parts]),
    )
