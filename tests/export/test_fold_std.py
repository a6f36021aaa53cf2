"""Dividing by the standard deviation inside the first layer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from edgedet.export.deployable import Deployable
from edgedet.export.fold_std import fold_std
from edgedet.export.layers import layers_of
from edgedet.model_file import weights_sha256
from tests.small_models import SPECS, small_model

SHIFTED = [name for name, spec in SPECS.items() if spec.network.input_shift]  # their first layer adds to the image


@pytest.mark.parametrize("name", sorted(set(SPECS) - set(SHIFTED)))
def test_the_first_layer_takes_pixels_less_their_mean_and_nothing_else_changes(name: str) -> None:
    spec = SPECS[name]
    deployable = Deployable(small_model(spec), spec)
    before = weights_sha256(deployable.network.state_dict())
    folded = fold_std(deployable)
    pixels = torch.randint(0, 256, (2, 3, spec.input.height, spec.input.width)).float()
    with torch.no_grad():
        pairs = zip(folded.raw(pixels), deployable.raw(pixels), strict=True)
        for got, want in pairs:
            torch.testing.assert_close(got, want, atol=1e-4 * float(want.std()), rtol=1e-4)
    first, *others = zip(layers_of(folded), layers_of(deployable), strict=True)
    torch.testing.assert_close(first[0].weight * spec.input.std, first[1].weight)
    assert all(torch.equal(new.weight, old.weight) for new, old in others)
    assert folded.input == replace(spec.input, std=1.0)
    assert folded.spec == spec
    assert weights_sha256(deployable.network.state_dict()) == before


def test_nothing_to_fold() -> None:
    spec = replace(SPECS["yolov3_tiny"], input=replace(SPECS["yolov3_tiny"].input, mean=0.0, std=1.0))
    deployable = Deployable(small_model(spec), spec)
    assert fold_std(deployable) is deployable


@pytest.mark.parametrize("name", SHIFTED)
def test_a_first_layer_that_adds_to_the_image_is_left_alone(name: str) -> None:
    deployable = Deployable(small_model(SPECS[name]), SPECS[name])
    assert fold_std(deployable) is deployable


def test_a_first_layer_that_does_not_read_the_image_by_itself_is_left_alone() -> None:
    spec = SPECS["yolov3_tiny"]
    deployable = Deployable(small_model(spec), spec)
    deployable.network = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 8, 1))
    assert fold_std(deployable) is deployable
