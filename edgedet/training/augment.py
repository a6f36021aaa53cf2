"""Training augmentation: from an image and its objects to what the network sees, by the recipe of the configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from edgedet.config import AugmentConfig
from edgedet.spec import InputSpec
from edgedet.training.augment_ssd import SsdRecipe
from edgedet.training.augment_window import Another, Picture, Window, show_window
from edgedet.training.augment_yolo import YoloRecipe
from edgedet.training.targets import Objects

Recipe = Callable[[Tensor, Objects, InputSpec, Another | None], Picture]


class Augment:
    """(3, H, W) uint8 image and its objects in pixels to the network's pixels and objects in 0..1 of it.

    Draws from torch's global generator: seed it to repeat an image.

    Args:
        config: recipe, probabilities and strengths; None for none at all, as validation sees images.
        image: size and resize mode of the network input.
    """

    def __init__(self, config: AugmentConfig | None, image: InputSpec) -> None:
        self.image = image
        self.recipe: Recipe = _Plain() if config is None else _RECIPES[config.recipe](config)

    def __call__(
        self, image_u8_chw: Tensor, objects: Objects, size_hw: tuple[int, int] | None = None,
        another: Another | None = None,
    ) -> Picture:  # fmt: skip
        """Augment one image.

        Args:
            size_hw: network input of this batch, where it is not the usual one.
            another: gives one more image with its objects in pixels, drawn at random, for recipes that mix images.
        """
        spec = replace(self.image, height=size_hw[0], width=size_hw[1]) if size_hw else self.image
        return self.recipe(image_u8_chw, objects, spec, another)


class _Plain:
    """No change at all: the whole image as every runner resizes it."""

    def __call__(self, image_u8_chw: Tensor, objects: Objects, spec: InputSpec, another: Another | None) -> Picture:
        return show_window(image_u8_chw, objects, Window(0, 0, image_u8_chw.shape[2], image_u8_chw.shape[1]), spec)


# What `augment.recipe` names.
_RECIPES: dict[str, Callable[[AugmentConfig], Recipe]] = {"ssd": SsdRecipe, "yolo": YoloRecipe}
