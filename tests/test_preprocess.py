"""Pixels in and boxes back: golden values for the kernel, and the inverse for both resize modes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgedet.preprocess import normalise, normalise_hwc, placement, resize_bilinear, to_image_px, to_network_pixels
from edgedet.spec import InputSpec

STRETCH = InputSpec(height=32, width=64)
LETTERBOX = replace(STRETCH, resize="letterbox")


def test_half_pixel_centres_by_hand() -> None:
    """Two pixels to four: centres at -.25, .25, .75, 1.25 of the source, edges repeated."""
    row = torch.tensor([[[0, 100]]] * 3, dtype=torch.uint8)
    assert resize_bilinear(row, 1, 4)[0].tolist() == [[0, 25, 75, 100]]


def test_no_antialiasing() -> None:
    """8 pixels to 2: samples at source 1.5 and 5.5 only, so a line elsewhere vanishes (an average would show it)."""
    row = torch.zeros(3, 1, 8, dtype=torch.uint8)
    row[:, 0, 4] = 255
    assert resize_bilinear(row, 1, 2)[0].tolist() == [[0, 0]]
    row[:, 0, 5] = 200
    assert resize_bilinear(row, 1, 2)[0].tolist() == [[0, 100]]


def test_same_size_is_untouched() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    assert torch.equal(to_network_pixels(image, STRETCH), torch.from_numpy(image).permute(2, 0, 1))


def test_normalise_by_hand() -> None:
    assert normalise(torch.tensor([0, 127, 255], dtype=torch.uint8), STRETCH).tolist() == pytest.approx(
        [-1.0, -0.5 / 127.5, 1.0]
    )


def test_normalise_makes_no_pass_that_changes_nothing() -> None:
    pixels = torch.tensor([0.0, 127.0, 255.0])
    assert normalise(pixels, replace(STRETCH, mean=0.0, std=1.0)) is pixels
    assert normalise(pixels, replace(STRETCH, mean=5.0, std=1.0)).tolist() == [-5.0, 122.0, 250.0]
    assert normalise(pixels, replace(STRETCH, mean=0.0, std=255.0)).tolist() == pytest.approx([0, 127 / 255, 1])


def test_letterbox_is_centred_and_padded() -> None:
    image = np.full((40, 40, 3), 200, dtype=np.uint8)
    pixels = to_network_pixels(image, LETTERBOX)
    assert placement(40, 40, LETTERBOX) == (16, 0, 32, 32)
    assert (pixels[:, :, :16] == 114).all()
    assert (pixels[:, :, 16:48] == 200).all()
    assert (pixels[:, :, 48:] == 114).all()


@pytest.mark.parametrize("spec", [STRETCH, LETTERBOX])
def test_whole_image_maps_to_itself(spec: InputSpec) -> None:
    width, height = 300, 90
    place = placement(width, height, spec)
    corners = torch.tensor([[place.x0, place.y0, place.x0 + place.width, place.y0 + place.height]])
    unit = corners / torch.tensor([spec.width, spec.height] * 2)
    torch.testing.assert_close(to_image_px(unit, width, height, spec), torch.tensor([[0.0, 0, width, height]]))


@given(st.integers(1, 2000), st.integers(1, 2000), st.sampled_from([STRETCH, LETTERBOX]))
def test_placement_always_fits(width: int, height: int, spec: InputSpec) -> None:
    x0, y0, w, h = placement(width, height, spec)
    assert w >= 1
    assert h >= 1
    assert 0 <= x0 <= x0 + w <= spec.width
    assert 0 <= y0 <= y0 + h <= spec.height


@pytest.mark.parametrize("shape", [(1, 1), (7, 31), (500, 20), (20, 500)])
@pytest.mark.parametrize("spec", [STRETCH, LETTERBOX])
def test_any_size_goes_in(shape: tuple[int, int], spec: InputSpec) -> None:
    pixels = to_network_pixels(np.full((*shape, 3), 9, dtype=np.uint8), spec)
    assert pixels.shape == (3, 32, 64)
    assert pixels.dtype == torch.uint8
    assert 9 in pixels


@given(st.floats(-10, 300), st.floats(0.01, 300))
def test_normalising_into_nhwc_gives_the_very_same_numbers(mean: float, std: float) -> None:
    spec = replace(STRETCH, mean=mean, std=std)
    pixels = torch.arange(256, dtype=torch.uint8).repeat(3).reshape(3, 16, 16)
    pixels[1] = pixels[1].flip(0)
    out = np.empty((16, 16, 3), np.float32)
    normalise_hwc(pixels, spec, out)
    assert torch.equal(torch.from_numpy(out).permute(2, 0, 1), normalise(pixels, spec))
