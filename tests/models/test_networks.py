"""The contract of every row in the tables of networks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from edgedet.errors import ConfigError
from edgedet.models import build, feature_grids_hw
from edgedet.spec import InputSpec, NetworkSpec
from tests.small_models import SPECS, small_model


@pytest.mark.parametrize("name", SPECS)
def test_rows_match_priors_and_batch_equals_single(name: str) -> None:
    spec = SPECS[name]
    model = small_model(spec)
    images = torch.rand(3, 3, spec.input.height, spec.input.width) * 2 - 1
    with torch.no_grad():
        together = model(images)
        alone = [model(image[None]) for image in images]
    assert together.box_codes.shape == (3, spec.num_priors, 4)
    assert together.logits.shape == (3, spec.num_priors, spec.num_logits)
    torch.testing.assert_close(together.logits, torch.cat([r.logits for r in alone]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(together.box_codes, torch.cat([r.box_codes for r in alone]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", SPECS)
def test_every_parameter_learns(name: str) -> None:
    model = build(SPECS[name]).train()
    raw = model(torch.rand(2, 3, SPECS[name].input.height, SPECS[name].input.width))
    (raw.box_codes.square().mean() + raw.logits.square().mean()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("network", "image", "word"),
    [
        (NetworkSpec("ssd9000"), InputSpec(320, 320), "ssd9000"),
        (NetworkSpec("ssdlite", "resnet"), InputSpec(320, 320), "resnet"),
        (NetworkSpec("yolov3_tiny", "mobilenet_v2"), InputSpec(416, 416), "Leave network.backbone out"),
        (NetworkSpec("yolov3_tiny"), InputSpec(300, 320), "multiples of 32"),
        (NetworkSpec("retinanet", "resnet50"), InputSpec(320, 330), "multiples of 32"),
        (NetworkSpec("ssd300"), InputSpec(260, 300), "at least 268"),
        (NetworkSpec("darknet"), InputSpec(320, 320), "Head darknet needs them"),
        (NetworkSpec("yolov3_tiny", layers="8x3 detect"), InputSpec(320, 320), "no other has them"),
        (NetworkSpec("ssdlite", "mobilenet_v2", head_width=0.5), InputSpec(320, 320), "network.head_width"),
    ],
)
def test_errors_name_the_choice(network: NetworkSpec, image: InputSpec, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        feature_grids_hw(network, image)


def test_levels_that_are_not_the_networks_are_refused() -> None:
    spec = SPECS["yolov3_tiny"]
    with pytest.raises(ConfigError, match="not those of its network"):
        build(replace(spec, levels=spec.levels[::-1]))


def test_a_narrow_head_keeps_the_backbone() -> None:
    spec = SPECS["retinanet_lite_mobilenet_v1"]
    plain = build(spec)
    narrow = build(replace(spec, network=replace(spec.network, head_width=0.5)))
    assert {k: v.shape for k, v in narrow.backbone.state_dict().items()} == {
        k: v.shape for k, v in plain.backbone.state_dict().items()
    }
    channels = [model.pyramid.inner[0].out_channels for model in (plain, narrow)]
    assert channels[0] == 2 * channels[1]
