"""The faster kernels must give plain torch's numbers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from edgedet.models import HEADS, build
from edgedet.training.fast_cpu import BatchNormActivation, ChannelMean, DepthwiseConv2d, accelerate, keep_freed_memory
from tests.small_models import SPECS, small_spec


def gradients(layer: nn.Module, input: Tensor, memory_format: torch.memory_format) -> list[Tensor]:
    """Output, gradient of the input and of each parameter, for a loss that weights every output differently."""
    x = input.clone(memory_format=memory_format).requires_grad_()
    y = layer(x)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(y.dtype)
    (y * weights).sum().backward()
    assert x.grad is not None
    return [y.detach(), x.grad, *(p.grad for p in layer.parameters() if p.grad is not None)]


def assert_same(plain: nn.Module, input: Tensor, fast_class: type, tolerance: float = 1e-10) -> None:
    fast = copy.deepcopy(plain)
    accelerate(fast)
    assert any(isinstance(m, fast_class) for m in fast.modules())
    assert list(fast.state_dict()) == list(plain.state_dict())
    for memory_format in (torch.contiguous_format, torch.channels_last):
        for p in (*plain.parameters(), *fast.parameters()):
            p.grad = None
        for a, b in zip(gradients(plain, input, memory_format), gradients(fast, input, memory_format), strict=True):
            assert torch.allclose(a.double(), b.double(), rtol=tolerance, atol=tolerance)
    for a, b in zip(plain.buffers(), fast.buffers(), strict=True):
        assert torch.allclose(a, b)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize("bias", [False, True])
def test_depthwise_gradients(stride: int, kernel: int, side: int, bias: bool) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 6, kernel, stride, kernel // 2, groups=6, bias=bias).double()
    assert_same(nn.Sequential(conv), torch.randn(2, 6, side, side + 3, dtype=torch.float64), DepthwiseConv2d)


@pytest.mark.parametrize("activation", [nn.ReLU6(inplace=True), nn.LeakyReLU(0.1), nn.ReLU()])
def test_batch_norm_with_activation(activation: nn.Module) -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.BatchNorm2d(5), activation).double()
    nn.init.uniform_(layers[0].weight, -2, 4)
    nn.init.uniform_(layers[0].bias, -2, 4)
    assert_same(layers, torch.randn(3, 5, 6, 7, dtype=torch.float64), BatchNormActivation)


@pytest.mark.parametrize("output_size", [1, (1, 1)])
def test_channel_mean(output_size: int | tuple[int, int]) -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(5, 5, 1), nn.AdaptiveAvgPool2d(output_size)).double()
    assert_same(layers, torch.randn(3, 5, 6, 7, dtype=torch.float64), ChannelMean)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [5, 7])
def test_weights_of_large_kernels_in_bf16(stride: int, kernel: int) -> None:
    """The gradient that is put together of 3x3 windows, against the whole one of the same numbers in float32."""
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 6, kernel, stride, kernel // 2, groups=6, bias=False)
    input = torch.randn(2, 6, 14, 17).bfloat16()
    with torch.no_grad():
        conv.weight.copy_(conv.weight.bfloat16())
    wanted = gradients(conv, input.float(), torch.channels_last)[2]
    fast = copy.deepcopy(conv).bfloat16()
    accelerate(fast)
    assert isinstance(fast, DepthwiseConv2d)
    fast.weight.grad = None
    output = fast(input.contiguous(memory_format=torch.channels_last))
    # The same weights of the outputs as in `gradients`, whose loss is linear, so that only sums are compared.
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).float()
    (output.float() * weights).sum().backward()
    assert fast.weight.grad is not None
    assert torch.allclose(fast.weight.grad.float(), wanted, rtol=0.02, atol=0.01 * float(wanted.abs().max()))


def test_bf16_under_autocast_is_plain_torchs_bf16() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(
        nn.Conv2d(8, 8, 3, 2, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6(), nn.Conv2d(8, 4, 1)
    )
    fast = copy.deepcopy(plain)
    accelerate(fast)
    x = torch.randn(4, 8, 16, 16)
    found = []
    for layers in (plain, fast):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = layers(x)
        y.float().square().sum().backward()
        found.append([y.detach(), *(p.grad for p in layers.parameters())])
    for a, b in zip(*found, strict=True):
        assert a.dtype == b.dtype
        assert torch.allclose(a.float(), b.float(), rtol=0.03, atol=0.03 * float(a.float().abs().max()))


@pytest.mark.parametrize("name", SPECS)
def test_whole_networks_in_double(name: str) -> None:
    torch.manual_seed(0)
    # The fewest levels: on a map of one cell, batch norm over a few images amplifies rounding without limit.
    spec = small_spec(name)
    spec = small_spec(name, levels=spec.levels[: HEADS[spec.network.head].min_levels])
    plain = build(spec).double().train()
    fast = copy.deepcopy(plain)
    accelerate(fast)
    assert list(fast.state_dict()) == list(plain.state_dict())
    x = torch.randn(4, 3, spec.input.height, spec.input.width, dtype=torch.float64)
    for model in (plain, fast):
        torch.manual_seed(1)  # of dropout
        raw = model(x)
        (raw.box_codes.square().mean() + raw.logits.square().mean()).backward()
    for (key, a), b in zip(plain.named_parameters(), fast.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.allclose(a.grad, b.grad, rtol=1e-6, atol=1e-9), key
    for a, b in zip(plain.buffers(), fast.buffers(), strict=True):
        assert torch.allclose(a, b, rtol=1e-9)


def test_evaluation_is_unchanged() -> None:
    plain = build(small_spec("ssdlite_mobilenet_v2")).eval()
    fast = copy.deepcopy(plain)
    accelerate(fast)
    x = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        assert torch.equal(plain(x).logits, fast(x).logits)


def test_layers_that_do_not_qualify_are_left_alone() -> None:
    layers = nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1, groups=4),  # more outputs than inputs
        nn.Conv2d(8, 8, 3, padding=0, groups=8),  # not padded
        nn.Conv2d(8, 8, (3, 5), padding=(1, 2), groups=8),  # not square
        nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8),
        nn.BatchNorm2d(8),
        nn.Hardswish(),  # its gradient does not follow from its output
    )
    before = [type(layer) for layer in layers]
    accelerate(layers)
    assert [type(layer) for layer in layers] == before


def test_memory_setting_reports_whether_it_took() -> None:
    assert keep_freed_memory() in (True, False)
    assert torch.ones(1000).sum() == 1000
