"""The shift of the image's channels inside a network: exact at the border too, on a kernel done by hand."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn

from edgedet.models import build
from edgedet.models.input_shift import shift_input
from tests.small_models import small_spec


def test_zeros_around_the_image_stand_for_the_shifted_mean() -> None:
    conv = nn.Conv2d(3, 1, 3, padding=1, bias=False)
    nn.init.ones_(conv.weight)
    model = nn.Sequential(conv)
    shift_input(model, (1.0, 2.0, 3.0))
    result = model(torch.zeros(1, 3, 3, 3))
    # Each cell adds 6 over the channels; corners see 4 cells of the image, edges 6, the middle 9.
    assert result[0, 0].tolist() == [[24, 36, 24], [36, 54, 36], [24, 36, 24]]


def test_a_shifted_network_sees_a_shifted_image_and_has_the_same_weights() -> None:
    spec = small_spec("ssd300")
    plain = build(replace(spec, network=replace(spec.network, input_shift=()))).eval()
    shifted = build(spec).eval()
    assert list(plain.state_dict()) == list(shifted.state_dict())
    shifted.load_state_dict(plain.state_dict())
    image = torch.randn(1, 3, spec.input.height, spec.input.width)
    moved = image + torch.tensor(spec.network.input_shift)[None, :, None, None]
    with torch.no_grad():
        for ours, wanted in zip(copy.deepcopy(shifted)(image), plain(moved), strict=True):
            assert torch.equal(ours, wanted)
