"""Image files as (H, W, 3) uint8 RGB pictures, the way a viewer shows them. The only place that opens images.

- EXIF orientation is applied.
- 16-bit grey becomes 8-bit by round(value / 257). Of 16-bit colour Pillow keeps the high byte, within 1 of that.
- Alpha is dropped, not composited: the stored colours stay, whatever their opacity.
- CMYK becomes RGB by Pillow's plain conversion; colour profiles are ignored. Palette, grey and 1-bit become RGB.
- Of several frames the first counts.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from edgedet.data.turn import TURNS, UPRIGHT, shown_size
from edgedet.errors import DataError
from edgedet.preprocess import UInt8Image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

# What Pillow's decoders raise on damaged files, beside OSError.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
_UNBOUNDED_MODES = ("I", "F")  # 32-bit integers and floats: no value is "white"
T = TypeVar("T")


@dataclass(frozen=True)
class ImageHeader:
    """What a file says about its picture without decoding it.

    Attributes:
        stored_wh: width and height of the pixels as they are stored.
        orientation: EXIF orientation, 1 (as stored) to 8.
    """

    stored_wh: tuple[int, int]
    orientation: int = UPRIGHT

    @property
    def shown_wh(self) -> tuple[int, int]:
        """Width and height after the EXIF rotation."""
        return shown_size(self.stored_wh, self.orientation)


def load_image(path: Path) -> UInt8Image:
    """Decode a picture.

    Args:
        path: an image file of any kind Pillow reads.

    Returns:
        (H, W, 3) uint8 RGB, writable, as shown: see the module's text for every conversion.

    Raises:
        DataError: missing, truncated, unreadable, or of 32-bit pixels.
    """
    return _open(path, _decode)


def read_header(path: Path) -> ImageHeader:
    """Size and orientation without decoding; about 0.1 ms a file.

    Raises:
        DataError: missing, or not an image.
    """
    return _open(path, _header)


def stored_mode(path: Path) -> str:
    """How the file stores its pixels, in Pillow's words ("RGB", "L", "I;16", "RGBA", "CMYK"), without decoding it.

    Raises:
        DataError: missing, or not an image.
    """
    return _open(path, lambda image: image.mode)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels of the picture as it is shown, without decoding it.

    Raises:
        DataError: missing, or not an image.
    """
    return read_header(path).shown_wh


def _open(path: Path, read: Callable[[Image.Image], T]) -> T:
    try:
        with Image.open(path) as image:
            return read(image)
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such image", "Check the path, or remove it from the data set.") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: not an image that can be read", "Save it as JPEG or PNG.") from error
    except _DAMAGE as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        remedy = "Copy or save the file again, or remove it."
        raise DataError(f"{path}: the image cannot be read ({reason})", remedy) from error


def _decode(image: Image.Image) -> UInt8Image:
    if image.mode in _UNBOUNDED_MODES:
        raise ValueError(f"32-bit pixels of mode {image.mode} have no known range; 8 or 16 bits are expected")
    orientation = _header(image).orientation
    image.load()
    if image.mode.startswith("I;16"):
        grey = np.asarray(image).astype(np.uint16)
        rgb = np.repeat(((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)[:, :, None], 3, axis=2)
    else:
        rgb = np.asarray(image.convert("RGB"))
    return np.array(TURNS[orientation].pixels(rgb), order="C")  # a copy: owned, contiguous, writable


def _header(image: Image.Image) -> ImageHeader:
    """Before load(). Pillow itself turns TIFF, and its size is the shown one from the start."""
    if image.format == "TIFF":
        return ImageHeader(image.size)
    if image.format == "PNG" and "exif" not in image.info:
        return ImageHeader(image.size)  # getexif() would decode the whole PNG to look for EXIF behind its pixels
    orientation = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
    return ImageHeader(image.size, orientation if orientation in TURNS else UPRIGHT)
