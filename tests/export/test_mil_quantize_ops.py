from __future__ import annotations

import torch

from edgedet.export.mil_quantize_ops import dequantize, quantize


def test_quantize_by_hand() -> None:
    """Halves go to the even number, then the zero point is added, then the range ends."""
    x = torch.tensor([0.0, 0.25, 0.75, -0.25, 1.0, 100.0, -100.0])
    assert quantize(x, 0.5, "int8", zero_point=-3).tolist() == [-3, -3, -1, -3, -1, 127, -128]
    assert quantize(x, 0.5, "uint8", zero_point=10).tolist() == [10, 10, 12, 10, 12, 210, 0]
    assert quantize(x, 0.5, "int8").dtype == torch.int8


def test_dequantize_by_hand() -> None:
    assert dequantize(torch.tensor([-128, 0, 127], dtype=torch.int8), 0.5, -128).tolist() == [0.0, 64.0, 127.5]
    assert dequantize(torch.tensor([0, 255], dtype=torch.uint8), 2.0, 255).tolist() == [-510.0, 0.0]


def test_a_scale_and_zero_point_a_channel() -> None:
    x = torch.tensor([[[1.0, 2.0], [1.0, 2.0]]])
    scale, zero = torch.tensor([1.0, 0.5]), [0, 10]
    integers = quantize(x, scale, "int8", zero, axis=1)
    assert integers.tolist() == [[[1, 2], [12, 14]]]
    assert torch.equal(dequantize(integers, scale, zero, axis=1), x)
    assert quantize(x, scale, "int8", zero, axis=-1).tolist() == [[[1, 14], [1, 14]]]
