"""Odd pictures: what load_image makes of them, and that image_size agrees without decoding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgedet.data.image import image_size, load_image
from edgedet.errors import DataError
from tests.data.makers import picture, truncate


def _saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    assert image_size(path) == load_image(path).shape[1::-1]
    return path


def _ramp(mode: str, width: int = 16, height: int = 4) -> Image.Image:
    row = np.linspace(0, 255, width).astype(np.uint8)
    return Image.fromarray(np.tile(row, (height, 1))).convert(mode)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    image = load_image(_saved(tmp_path / "grey.png", _ramp("L")))
    assert image.shape == (4, 16, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.asarray(_ramp("L"))[:, :, None].repeat(3, axis=2))


def test_sixteen_bit_grey_is_divided_by_257_and_rounded(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 257, 32768, 65406, 65407, 65535]], dtype=np.uint16)
    image = load_image(_saved(tmp_path / "deep.png", Image.fromarray(values)))
    assert image[0, :, 0].tolist() == [0, 0, 1, 1, 128, 254, 255, 255]
    np.testing.assert_array_equal(image[..., 0], np.rint(values / 257))


def test_sixteen_bit_colour_keeps_the_high_byte(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = struct.pack(">6H", 0xFFFF, 0x8000, 0x00FF, 0x1234, 0x0100, 0x7FFF)  # two RGB pixels
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + pixels))
    (tmp_path / "rgb16.png").write_bytes(content + chunk(b"IEND", b""))
    assert load_image(tmp_path / "rgb16.png").tolist() == [[[255, 128, 0], [0x12, 1, 0x7F]]]


def test_alpha_is_dropped_not_composited(tmp_path: Path) -> None:
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[..., 0], rgba[0, 0, 3] = 200, 255  # one opaque pixel, three that nobody sees
    image = load_image(_saved(tmp_path / "alpha.png", Image.fromarray(rgba)))
    assert (image == [200, 0, 0]).all()


def test_grey_with_alpha(tmp_path: Path) -> None:
    image = load_image(_saved(tmp_path / "la.png", _ramp("LA")))
    np.testing.assert_array_equal(image[..., 1], np.asarray(_ramp("L")))


def test_cmyk_jpeg(tmp_path: Path) -> None:
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # magenta and yellow ink: red
    image = load_image(_saved(tmp_path / "cmyk.jpg", cmyk, quality=95))
    assert np.abs(image.astype(int) - [255, 0, 0]).max() <= 3


def test_palette_and_one_bit(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    assert load_image(_saved(tmp_path / "p.png", palette)).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    bits = Image.new("1", (2, 1))
    bits.putpixel((1, 0), 1)
    assert load_image(_saved(tmp_path / "bits.png", bits)).tolist() == [[[0] * 3, [255] * 3]]


def test_one_pixel_wide(tmp_path: Path) -> None:
    image = load_image(_saved(tmp_path / "thin.png", Image.new("RGB", (1, 9), (1, 2, 3))))
    assert image.shape == (9, 1, 3)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_as_pillow_shows_it(tmp_path: Path, suffix: str, orientation: int) -> None:
    from PIL import ImageOps

    path = picture(tmp_path / f"turned.{suffix}", 24, 16, orientation)
    with Image.open(path) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    np.testing.assert_array_equal(load_image(path), expected)
    assert image_size(path) == ((16, 24) if orientation >= 5 else (24, 16))


def test_exif_orientation_6_by_hand(tmp_path: Path) -> None:
    """Stored left to right, shown top to bottom: a quarter turn clockwise."""
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.array([[[10] * 3, [20] * 3, [30] * 3]], np.uint8)
    Image.fromarray(stored).save(tmp_path / "six.png", exif=exif)
    assert load_image(tmp_path / "six.png")[:, :, 0].tolist() == [[10], [20], [30]]


def test_result_can_be_written_to(tmp_path: Path) -> None:
    image = load_image(picture(tmp_path / "a.jpg", orientation=8))
    image[0, 0] = 7
    assert image.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_truncated_picture_is_an_error_that_names_it(tmp_path: Path, suffix: str) -> None:
    path = picture(tmp_path / f"cut.{suffix}", 200, 200)
    truncate(path)
    with pytest.raises(DataError, match=rf"cut\.{suffix}.*cannot be read.*again"):
        load_image(path)


def test_missing_foreign_and_unbounded_pictures(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jpg.*no such image"):
        load_image(tmp_path / "none.jpg")
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(DataError, match=r"text\.jpg.*not an image.*JPEG or PNG"):
        image_size(tmp_path / "text.jpg")
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"empty\.png"):
        load_image(tmp_path / "empty.png")
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(DataError, match=r"float\.tif.*32-bit"):
        load_image(tmp_path / "float.tif")
    with pytest.raises(DataError):
        load_image(tmp_path)
