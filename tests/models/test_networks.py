"""Networks against published counts, and the contract of every row in the tables."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from edgedet.errors import ConfigError
from edgedet.levels import make_levels, ssd_anchors_wh_px, ssd_scales
from edgedet.models import BACKBONES, HEADS, build, feature_grids_hw
from edgedet.models.tiny_yolo import _max_pool_same
from edgedet.spec import CodingSpec, DetectorSpec, InputSpec, NetworkSpec, NmsSpec
from tests.small_models import SPECS, small_model


def torchvision_ssdlite_spec(classes: int) -> DetectorSpec:
    network, image = NetworkSpec("ssdlite", "mobilenet_v3_large", reduced_tail=True), InputSpec(320, 320)
    anchors = ssd_anchors_wh_px(ssd_scales(6, 0.2, 0.95), [[2, 3]] * 6, 320, 320)
    levels = make_levels(feature_grids_hw(network, image), anchors, 320, 320)
    names = tuple(f"class {k}" for k in range(classes))
    return DetectorSpec("ssdlite320", network, image, levels, CodingSpec("ssd"), NmsSpec(), names)


def tiny_yolo_spec(classes: int) -> DetectorSpec:
    network, image = NetworkSpec("yolov3_tiny"), InputSpec(416, 416)
    anchors = [[(81, 82), (135, 169), (344, 319)], [(10, 14), (23, 27), (37, 58)]]
    levels = make_levels(feature_grids_hw(network, image), anchors, 416, 416)
    coding = CodingSpec("yolo", (1.0, 1.0, 1.0, 1.0), score="obj_times_cls")
    return DetectorSpec("yolov3_tiny", network, image, levels, coding, NmsSpec(), tuple(str(k) for k in range(classes)))


@pytest.mark.parametrize(
    ("spec", "parameters", "priors"),
    [
        (torchvision_ssdlite_spec(90), 3_440_060, 3234),
        (torchvision_ssdlite_spec(20), 2_469_860, 3234),
        (tiny_yolo_spec(80), 8_852_366, 2535),
    ],
    ids=["ssdlite320 91", "ssdlite320 21", "yolov3-tiny"],
)
def test_published_counts(spec: DetectorSpec, parameters: int, priors: int) -> None:
    assert sum(p.numel() for p in build(spec).parameters()) == parameters
    assert spec.num_priors == priors


def test_every_head_and_backbone_has_a_small_model() -> None:
    covered = {(s.network.head, s.network.backbone) for s in SPECS.values()}
    expected = {(h, b) for h, row in HEADS.items() for b in (BACKBONES if row.needs_backbone else [""])}
    assert covered == expected


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


def test_darknets_odd_max_pool() -> None:
    """Size 2, stride 1: as padding right and below with minus infinity."""
    x = torch.randn(1, 2, 5, 4)
    padded = nn.functional.pad(x, (0, 1, 0, 1), value=-torch.inf)
    assert torch.equal(_max_pool_same(x), nn.functional.max_pool2d(padded, 2, 1))


@pytest.mark.parametrize(
    ("network", "image", "word"),
    [
        (NetworkSpec("ssd9000"), InputSpec(320, 320), "ssd9000"),
        (NetworkSpec("ssdlite", "resnet"), InputSpec(320, 320), "resnet"),
        (NetworkSpec("yolov3_tiny", "mobilenet_v2"), InputSpec(416, 416), "Leave network.backbone out"),
        (NetworkSpec("ssdlite", "mobilenet_v2"), InputSpec(300, 320), "multiples of 32"),
    ],
)
def test_errors_name_the_choice(network: NetworkSpec, image: InputSpec, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        feature_grids_hw(network, image)


def test_levels_that_are_not_the_networks_are_refused() -> None:
    spec = SPECS["yolov3_tiny"]
    with pytest.raises(ConfigError, match="not those of its network"):
        build(replace(spec, levels=spec.levels[::-1]))
