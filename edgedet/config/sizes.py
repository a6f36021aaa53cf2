"""The network inputs of multi-scale training (YOLOv2 paper, section 2)."""

from __future__ import annotations

from dataclasses import replace

from edgedet.config.augment import AugmentConfig
from edgedet.spec import InputSpec


def training_inputs(augment: AugmentConfig, image: InputSpec) -> tuple[InputSpec, ...]:
    """The network inputs of a run, smallest first: the configuration's own, and others whole steps away from it.

    Where the input is not square, its height goes in steps, and its width in the steps that keep the shape best.
    """
    if augment.multi_scale is None:
        return (image,)
    step, (low, high) = augment.multi_scale_step_px, augment.multi_scale
    # A twentieth of a step forgives rounded shares: 0.77 times 416 px stands for 320 px.
    below, above = (int(image.height * share / step + 0.05) for share in (1 - low, high - 1))
    sizes = []
    for steps in range(-below, above + 1):
        wider = round(steps * image.width / image.height)
        sizes.append(replace(image, height=image.height + steps * step, width=image.width + wider * step))
    return tuple(sizes)
