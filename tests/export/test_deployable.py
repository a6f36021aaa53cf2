"""The graph that every format lowers: the network with batch norm folded in, normalisation and decoding."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from edgedet.decode import Decoder
from edgedet.export.deployable import Deployable
from edgedet.model_file import weights_sha256
from edgedet.models.batch_norm import fold_batch_norm
from edgedet.preprocess import normalise
from tests.small_models import SPECS, small_model


@pytest.mark.parametrize("name", SPECS)
def test_folding_changes_nothing_but_rounding(name: str) -> None:
    spec = SPECS[name]
    model = small_model(spec)
    deployable = Deployable(model, spec)
    pixels = torch.randint(0, 256, (2, 3, spec.input.height, spec.input.width)).float()
    with torch.no_grad():
        raw = model(normalise(pixels, spec.input))
        folded = deployable.raw(pixels)
        boxes, scores = deployable(pixels)
        expected_boxes, expected_scores = Decoder(spec)(raw)
    for got, want in zip(folded, raw, strict=True):
        torch.testing.assert_close(got, want, atol=2e-3 * float(want.std()), rtol=0)
    torch.testing.assert_close(boxes, expected_boxes, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(scores, expected_scores, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", SPECS)
def test_no_batch_norm_is_left_and_the_model_is_untouched(name: str) -> None:
    model = small_model(SPECS[name])
    before, norms = weights_sha256(model.state_dict()), _batch_norms(model)
    deployable = Deployable(model, SPECS[name])
    assert _batch_norms(deployable) == 0
    assert _batch_norms(model) == norms
    assert (norms > 0) == (name != "ssd300")  # VGG is older than batch norm
    assert weights_sha256(model.state_dict()) == before == deployable.weights_sha256
    assert not deployable.network.training


def _batch_norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_folding_by_hand() -> None:
    """y = gamma (w x + b - mean) / sqrt(var + eps) + beta with numbers that come out even."""
    conv, norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.0)
    for tensor, value in (
        (conv.weight, 3.0),
        (conv.bias, 5.0),
        (norm.weight, 2.0),
        (norm.bias, 7.0),
        (norm.running_mean, 1.0),
        (norm.running_var, 4.0),
    ):
        assert tensor is not None
        tensor.data.fill_(value)
    folded = fold_batch_norm(nn.Sequential(conv, norm).eval())
    assert isinstance(folded, nn.Sequential)
    assert folded[0].weight.item() == 3.0
    assert folded[0].bias.item() == 11.0
    assert isinstance(folded[1], nn.Identity)


def test_a_norm_that_does_not_follow_a_convolution_stays() -> None:
    kept = fold_batch_norm(nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.BatchNorm2d(1)).eval())
    assert isinstance(kept[2], nn.BatchNorm2d)  # type: ignore[index]


def test_normalisation_is_the_spec_s() -> None:
    spec = replace(SPECS["yolov3_tiny"], input=replace(SPECS["yolov3_tiny"].input, mean=0.0, std=255.0))
    deployable = Deployable(small_model(spec), spec)
    pixels = torch.rand(1, 3, 96, 128) * 255
    with torch.no_grad():
        torch.testing.assert_close(
            deployable.raw(pixels).logits, deployable.heads(pixels / 255).logits, atol=1e-3, rtol=0
        )
