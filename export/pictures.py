"""Pictures made on the spot, for comparing a file with its model when no photographs are given."""

from __future__ import annotations

import numpy as np

from edgedet.preprocess import UInt8Image

_SIZES_HW = ((240, 320), (300, 200), (97, 131), (180, 180))


def generated_pictures() -> list[UInt8Image]:
    """Four RGB pictures of different shapes: gradients, discs, squares of all sizes, and noise. Always the same."""
    return [picture(np.random.default_rng(seed), *size) for seed, size in enumerate(_SIZES_HW)]


def picture(rng: np.random.Generator, height: int, width: int) -> UInt8Image:
    """(height, width, 3), another one for each state of the generator."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    image = np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (width + height)], axis=-1)
    for index in range(10):
        centre_y, centre_x = rng.uniform(0, height), rng.uniform(0, width)
        radius = rng.uniform(4, min(height, width) / 3)
        if index % 2:
            inside = (y - centre_y) ** 2 + (x - centre_x) ** 2 < radius**2
        else:
            inside = np.maximum(np.abs(y - centre_y), np.abs(x - centre_x)) < radius
        image[inside] = rng.uniform(0, 255, 3)
    return np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
