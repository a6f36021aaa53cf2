"""Fake quantization, by numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgedet.quantization.fake import activation_scale, quantize_activation, quantize_weight, weight_scales


@pytest.mark.parametrize(
    ("low", "high", "scale", "zero_point"),
    [
        (-1.0, 1.55, 0.01, -28),  # 255 steps of 0.01; 0 lies 100 steps above -128
        (0.0, 6.0, 6 / 255, -128),  # after ReLU6
        (-5.1, 0.0, 0.02, 127),
        (2.0, 5.1, 0.02, -128),  # widened down to 0
        (-0.004, 2.546, 0.01, -128),  # 0 falls between two integers: it gets the nearer one
        (0.0, 0.0, 1e-10, -128),
    ],
)
def test_scale_and_zero_point(low: float, high: float, scale: float, zero_point: int) -> None:
    found_scale, found_zero = activation_scale(torch.tensor([low, high]))
    assert float(found_scale) == pytest.approx(scale, rel=1e-6)
    assert int(found_zero) == zero_point


def test_activations_are_rounded_clipped_and_differentiated_straight_through() -> None:
    x = torch.tensor([-2.0, -1.004, -0.996, 0.0, 0.014, 0.016, 1.55, 3.0], requires_grad=True)
    y = quantize_activation(x, torch.tensor([-1.0, 1.55]))
    torch.testing.assert_close(y, torch.tensor([-1.0, -1.0, -1.0, 0.0, 0.01, 0.02, 1.55, 1.55]))
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]  # -1.004 rounds to the lowest integer


def test_weights_have_a_scale_for_each_output_channel() -> None:
    weight = torch.tensor([[1.27, -0.004, 0.006], [0.0, 0.0, 0.0], [-254.0, 3.0, 2.9]], requires_grad=True)
    assert weight_scales(weight).tolist() == pytest.approx([0.01, 1e-10, 2.0])
    quantized = quantize_weight(weight)
    torch.testing.assert_close(quantized, torch.tensor([[1.27, 0.0, 0.01], [0.0, 0.0, 0.0], [-254.0, 4.0, 2.0]]))
    quantized.sum().backward()
    assert weight.grad is not None
    assert bool((weight.grad == 1).all())  # nothing is clipped: the scale follows the largest weight


@given(
    st.floats(-1e4, 0, width=32), st.floats(0.125, 1e4, width=32), st.lists(st.floats(0, 1), min_size=1, max_size=20)
)
def test_values_in_range_err_by_half_a_step_and_rounding_again_changes_nothing(
    low: float, high: float, shares: list[float]
) -> None:
    limits = torch.tensor([low, high])
    scale, _ = activation_scale(limits)
    x = low + (high - low) * torch.tensor(shares)
    y = quantize_activation(x, limits)
    assert float((y - x).abs().max()) <= float(scale) * 1.01  # half a step, and half a step where 0 was shifted
    assert torch.equal(quantize_activation(y, limits), y)
    assert float(quantize_activation(torch.zeros(1), limits)) == 0.0
