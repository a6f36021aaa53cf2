"""Dividing by the standard deviation inside the first layer, for formats whose files take pixels: one pass fewer."""

from __future__ import annotations

import copy
import dataclasses

import torch
from torch import nn

from edgedet.export.deployable import Deployable
from edgedet.export.layers import layers_of
from edgedet.quantization.stem import stem_of


def fold_std(deployable: Deployable) -> Deployable:
    """The same function of pixels, whose first layer takes pixels less their mean and has 1 / std in its weights.

    (x - mean) / std of zero padding is still zero, so nothing changes but the order of products; subtracting the mean
    there as well would not leave the padding what it is. Where the first layer is no plain convolution of the image,
    `deployable` comes back as it is.
    """
    stem = stem_of([(layer.name, layer.weight, layer.groups) for layer in layers_of(deployable)])
    # A subclass adds something of its own to the image first (edgedet.models.input_shift).
    if deployable.input.std == 1 or not stem or type(deployable.network.get_submodule(stem[0])) is not nn.Conv2d:
        return deployable
    folded = copy.deepcopy(deployable)
    first = folded.network.get_submodule(stem[0])
    assert isinstance(first, nn.Conv2d)
    with torch.no_grad():
        first.weight.mul_(1.0 / deployable.input.std)
    folded.input = dataclasses.replace(deployable.input, std=1.0)
    return folded
