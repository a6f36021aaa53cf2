"""Pixels to network input and back. Data loading, calibration and every runner use this and nothing else.

The kernel is half-pixel bilinear WITHOUT antialiasing, rounded to 8 bits: what camera pipelines, Vision and the Android
task libraries hand to a network.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from edgedet.spec import InputSpec

UInt8Image = npt.NDArray[np.uint8]


class Placement(NamedTuple):
    """Where the image lies in the network input, in its pixels: x0, y0, width, height. Stretch fills everything."""

    x0: float
    y0: float
    width: float
    height: float


def placement(image_width: int, image_height: int, spec: InputSpec) -> Placement:
    """Stretch: the whole input. Letterbox: the largest centred rectangle of the image's shape, in whole pixels."""
    if spec.resize == "stretch":
        return Placement(0, 0, spec.width, spec.height)
    scale = min(spec.width / image_width, spec.height / image_height)
    width = min(spec.width, max(1, round(image_width * scale)))
    height = min(spec.height, max(1, round(image_height * scale)))
    return Placement((spec.width - width) // 2, (spec.height - height) // 2, width, height)


def resize_bilinear(image_u8_chw: Tensor, height: int, width: int) -> Tensor:
    """(3, H, W) uint8 to (3, height, width) uint8, half-pixel centres, no antialiasing, rounded half to even."""
    if image_u8_chw.shape[-2:] == (height, width):
        return image_u8_chw
    resized = F.interpolate(
        image_u8_chw[None].float(), size=(height, width), mode="bilinear", align_corners=False, antialias=False
    )
    return resized[0].round().clamp(0, 255).to(torch.uint8)


def to_network_pixels(image_u8_hwc: UInt8Image, spec: InputSpec) -> Tensor:
    """An RGB image to the (3, height, width) uint8 pixels that the network sees before normalisation.

    Args:
        image_u8_hwc: (H, W, 3) uint8 RGB.
    """
    image = torch.from_numpy(np.ascontiguousarray(image_u8_hwc)).permute(2, 0, 1)
    x0, y0, width, height = (int(v) for v in placement(image.shape[2], image.shape[1], spec))
    resized = resize_bilinear(image, height, width)
    if spec.resize == "stretch":
        return resized
    canvas = torch.full((3, spec.height, spec.width), spec.pad_value, dtype=torch.uint8)
    canvas[:, y0 : y0 + height, x0 : x0 + width] = resized
    return canvas


def normalise(pixels: Tensor, spec: InputSpec) -> Tensor:
    """(..., 3, H, W) pixel values 0..255 to float (value - mean) / std; no pass over the image that changes nothing."""
    centred = pixels.float() - spec.mean if spec.mean else pixels.float()
    return centred * (1.0 / spec.std) if spec.std != 1 else centred


def normalise_hwc(pixels: Tensor, spec: InputSpec, out: npt.NDArray[np.float32]) -> None:
    """Exactly the numbers of `normalise`, for (3, H, W) uint8 pixels, written into `out` (H, W, 3).

    Plane by plane into memory that is there already: a third of the time of turning the axes round in torch, which for
    a small network was 3 % of its latency.
    """
    for channel, plane in enumerate(pixels.numpy()):
        out[:, :, channel] = plane
    np.subtract(out, np.float32(spec.mean), out=out)
    np.multiply(out, np.float32(1.0 / spec.std), out=out)


def to_image_px(boxes_xyxy_unit: Tensor, image_width: int, image_height: int, spec: InputSpec) -> Tensor:
    """The inverse for boxes: (M, 4) xyxy in 0..1 of the network input to pixels of the original image, not clipped."""
    place = placement(image_width, image_height, spec)
    size = boxes_xyxy_unit.new_tensor((spec.width, spec.height) * 2)
    origin = boxes_xyxy_unit.new_tensor((place.x0, place.y0) * 2)
    scale = boxes_xyxy_unit.new_tensor((image_width / place.width, image_height / place.height) * 2)
    return (boxes_xyxy_unit * size - origin) * scale
