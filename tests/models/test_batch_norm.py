"""Batch norm folded away and put back."""

from __future__ import annotations

import copy

import pytest
import torch

from edgedet.models import build
from edgedet.models.batch_norm import fold_batch_norm, unfold_batch_norm
from tests.small_models import SPECS, small_model

_SHARING = ("retinanet_lite_mobilenet_v1",)  # levels share convolutions, and each has norms of its own


@pytest.mark.parametrize("name", [name for name in SPECS if name not in _SHARING])
@torch.no_grad()
def test_unfolding_brings_the_folded_weights_back(name: str) -> None:
    spec = SPECS[name]
    folded = fold_batch_norm(small_model(spec))
    unfolded = unfold_batch_norm(folded, build(spec)).eval()
    again = fold_batch_norm(copy.deepcopy(unfolded)).state_dict()
    for key, value in folded.state_dict().items():
        torch.testing.assert_close(again[key], value, atol=0, rtol=3e-7)
    image = torch.rand(1, 3, spec.input.height, spec.input.width)
    for got, want in zip(unfolded(image), folded(image), strict=True):
        torch.testing.assert_close(got, want, atol=1e-3 * float(want.std()), rtol=0)
