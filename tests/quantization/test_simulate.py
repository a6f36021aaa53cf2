"""Networks that compute as int8 files: what is quantized, what is not, and with which ranges."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from edgedet.errors import ConfigError
from edgedet.quantization import BEFORE_ACTIVATION, IMAGE, Simulation, layer_errors, simulate
from edgedet.quantization.fake import quantize_activation, quantize_weight
from edgedet.quantization.graph import places_of
from edgedet.quantization.screen import sqnr_db
from edgedet.spec import DetectorSpec
from tests.small_models import SPECS, small_model

YOLO, V2, V3 = "yolov3_tiny", "ssdlite_mobilenet_v2", "ssdlite_mobilenet_v3_small"


def images(spec: DetectorSpec, count: int = 4, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, spec.input.height, spec.input.width, generator=generator) * 2 - 1


def observed(name: str, observer: str = "minmax") -> tuple[nn.Module, Simulation, Tensor]:
    model = small_model(SPECS[name])
    simulated = simulate(model, SPECS[name], observer)
    batch = images(SPECS[name])
    simulated.observe([batch])
    return model, simulated, batch


def sqnr(values: Tensor, changed: Tensor) -> float:
    return sqnr_db(float(values.square().sum()), float((values - changed).square().sum()))


@pytest.mark.parametrize("name", SPECS)
@torch.no_grad()
def test_nothing_chosen_is_float_and_everything_chosen_comes_near(name: str) -> None:
    model, simulated, batch = observed(name)
    want, plain = model(batch), simulated.network(batch)
    simulated.choose()
    quantized = simulated.network(batch)
    for a, b, c in zip(want, plain, quantized, strict=True):
        assert sqnr(a, b) > 90
        assert 8 < sqnr(a, c) < 60


@torch.no_grad()
def test_one_layer_alone_by_hand() -> None:
    """Its input, its weights, its sum and its activation's output are 8-bit, and nothing else is."""
    model, simulated, batch = observed(YOLO)
    name = "body.layers.2.0"
    simulated.choose([name])
    fed: list[Tensor] = []
    got: list[Tensor] = []
    layers = simulated.network.body.layers  # type: ignore[union-attr]
    layers[0].register_forward_hook(lambda _m, _a, out: fed.append(out.clone()))  # type: ignore[index,operator]
    layers[2].register_forward_hook(lambda _m, _a, out: got.append(out.clone()))  # type: ignore[index,operator]
    simulated.network(batch)
    folded = simulate(model, SPECS[YOLO]).network.body.layers  # type: ignore[union-attr]
    pooled = folded[1](folded[0](batch))  # type: ignore[index,operator]
    assert torch.equal(folded[0](batch), fed[0])  # type: ignore[index,operator]
    ranges = simulated.ranges()
    x = quantize_activation(pooled, torch.stack(pooled.aminmax()))
    conv = folded[2][0]  # type: ignore[index]
    total = nn.functional.conv2d(x, quantize_weight(conv.weight), conv.bias, padding=1)
    total = quantize_activation(total, torch.tensor(ranges[name + BEFORE_ACTIVATION]))
    want = quantize_activation(nn.functional.leaky_relu(total, 0.1), torch.tensor(ranges[name]))
    torch.testing.assert_close(got[0], want, atol=1e-5, rtol=0)
    assert len(got[0].unique()) <= 256


@torch.no_grad()
def test_a_spared_layer_computes_in_float_between_quantized_ones() -> None:
    _, simulated, batch = observed(V2)
    spared = "backbone.features.2.conv.1.0"
    simulated.choose([name for name in simulated.layer_names if name != spared])
    modules = dict(simulated.network.named_modules())
    out: dict[str, Tensor] = {}
    modules[spared].register_forward_hook(lambda _m, args, o: out.update(input=args[0].clone(), output=o.clone()))
    simulated.network(batch)
    assert len(out["input"].unique()) <= 256
    assert len(out["output"].unique()) > 256


def test_places_of_squeeze_and_excitation_and_residuals() -> None:
    simulated = simulate(small_model(SPECS[V3]), SPECS[V3])
    places = {place.name: place for place in simulated.places}
    gate = places["backbone.features.4.block.2.fc2"]
    assert gate.output == "backbone.features.4.block.2.scale_activation"
    assert gate.own_activation
    product = places["backbone.features.4.block.2"]
    assert not product.is_layer
    assert set(product.producers) == {gate.name, "backbone.features.4.block.1.0"}
    assert set(places["backbone.features.5"].producers) == {
        "backbone.features.5.block.3.0", "backbone.features.4.block.3.0"
    }  # fmt: skip
    hard_swish = places["backbone.features.4.block.0.0"]
    assert (hard_swish.output, hard_swish.own_activation) == ("backbone.features.4.block.0.2", True)
    assert places["backbone.features.0.0"].producers == ()


@pytest.mark.parametrize("name", SPECS)
def test_box_codes_and_logits_have_ranges_of_their_own(name: str) -> None:
    _, simulated, _ = observed(name)
    ranges = simulated.ranges()
    assert ranges[IMAGE] == (-1.0, 1.0)  # pixels 0 and 255, whatever the images hold
    heads = [layer for layer in simulated.layer_names if "_heads." in layer]
    assert len({layer.split(".")[0] for layer in heads}) == 2 or name == "yolov1"
    assert all(layer in ranges for layer in simulated.layer_names)
    assert all(low <= 0 <= high for low, high in ranges.values())


def test_squeezing_and_relu6_stay_in_their_ranges() -> None:
    _, simulated, _ = observed(V2)
    low, high = simulated.ranges()["backbone.features.0.0"]
    assert low == 0
    assert 0 < high <= 6


@torch.no_grad()
def test_the_stem_is_float_and_its_reader_knows_the_range_of_what_it_gives() -> None:
    _, simulated, batch = observed(V2)
    first, depthwise, *others = simulated.layer_names
    assert simulated.integer_names == tuple(others)
    seen = simulated.ranges()[depthwise]
    simulated.choose()
    modules = dict(simulated.network.named_modules())
    assert not modules[first].rounding
    assert not modules[depthwise].rounding
    assert modules[others[0]].rounding
    simulated.set_observing(True)
    simulated.network(batch * 2)
    simulated.set_observing(False)
    assert simulated.ranges()[depthwise] == modules[others[0]].input_quantizer.range
    assert simulated.ranges()[depthwise][1] > seen[1]


@torch.no_grad()
def test_a_copy_has_its_own_quantizers() -> None:
    _, simulated, batch = observed(YOLO)
    simulated.choose()
    before = simulated.network(batch).logits
    copied = copy.deepcopy(simulated.network)
    torch.testing.assert_close(copied(batch).logits, before)
    for key, value in copied.state_dict().items():
        if key.endswith("range_min_max"):
            value.mul_(0.1)
    assert not torch.allclose(copied(batch).logits, before)
    torch.testing.assert_close(simulated.network(batch).logits, before)


def test_gradients_reach_every_weight() -> None:
    _, simulated, batch = observed(V3)
    simulated.choose()
    raw = simulated.network(batch[:2])
    (raw.box_codes.square().mean() + raw.logits.square().mean()).backward()
    for name, parameter in simulated.network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name


def test_unknown_names_get_the_nearest() -> None:
    _, simulated, _ = observed(YOLO)
    with pytest.raises(ConfigError, match=r"no layer 'body.layers.2.1'.*Did you mean body.layers.2.0"):
        simulated.choose(["body.layers.2.1"])
    with pytest.raises(ConfigError, match=r"observer 'mode'.*minmax, moving_average, percentile"):
        simulate(small_model(SPECS[YOLO]), SPECS[YOLO], "mode")


def test_a_network_with_batch_norm_left_is_refused() -> None:
    with pytest.raises(ConfigError, match="a batch norm is left"):
        places_of(small_model(SPECS[YOLO]), SPECS[YOLO])


@torch.no_grad()
def test_the_screen_finds_the_layer_that_was_spoilt() -> None:
    """A layer whose output has one huge channel loses all others, so it must rank worst, at its output and behind."""
    model = small_model(SPECS[YOLO])
    layer = model.body.layers[6]  # type: ignore[index,union-attr]
    layer[1].weight[0] *= 300.0  # type: ignore[index,operator]
    model.body.layers[8][0].weight[:, 0] /= 300.0  # type: ignore[index,operator,union-attr]
    simulated = simulate(model, SPECS[YOLO])
    batch = images(SPECS[YOLO])
    simulated.observe([batch])
    steps: list[None] = []
    errors = layer_errors(simulated, simulated.layer_names[1:], [batch[:2], batch[2:]], lambda: steps.append(None))
    assert [error.layer for error in errors] == list(simulated.layer_names[1:])
    assert len(steps) == len(errors)
    worst = min(errors, key=lambda error: error.heads_sqnr_db)
    assert worst.layer in ("body.layers.6.0", "body.layers.8.0")  # its output, and the input that is made of it
    assert all(math.isfinite(error.output_sqnr_db) for error in errors)
    by_name = {error.layer: error for error in errors}
    assert by_name["box_heads.0"].logits_sqnr_db == math.inf
    assert math.isfinite(by_name["class_heads.0"].logits_sqnr_db)
    assert sqnr(model(batch).logits, simulated.network(batch).logits) > 90  # left in float


def test_sqnr_by_hand() -> None:
    assert sqnr_db(100.0, 1.0) == pytest.approx(20.0)
    assert sqnr_db(1.0, 0.0) == math.inf
    assert sqnr_db(0.0, 1.0) == -math.inf
