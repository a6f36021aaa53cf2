"""Ranges from batches, by hand."""

from __future__ import annotations

import pytest
import torch

from edgedet.quantization.observers import OBSERVERS, min_max, moving_average, percentile

BATCHES = (torch.tensor([-1.0, 2.0]), torch.tensor([-3.0, 1.0]), torch.tensor([0.0, 9.0]))


def observed(name: str, batches: tuple[torch.Tensor, ...] = BATCHES) -> list[float]:
    found = torch.zeros(2)
    for index, batch in enumerate(batches):
        found = OBSERVERS[name](found, index, batch)
    values: list[float] = found.tolist()
    return values


def test_min_max_keeps_the_extremes() -> None:
    assert observed("minmax") == [-3.0, 9.0]
    assert min_max(torch.zeros(2), 0, torch.tensor([3.0, 4.0])).tolist() == [3.0, 4.0]  # not the zeros of the start


def test_moving_average_starts_as_a_mean_and_then_forgets() -> None:
    assert observed("moving_average") == pytest.approx([-4 / 3, 4.0])
    assert moving_average(torch.tensor([-1.0, 1.0]), 1000, torch.tensor([-2.0, 5.0]), 0.1).tolist() == pytest.approx(
        [-1.1, 1.4]
    )


def test_percentile_leaves_outliers_out() -> None:
    x = torch.arange(1.0, 101.0)[torch.randperm(100, generator=torch.Generator().manual_seed(0))]
    assert percentile(torch.zeros(2), 0, x, 95.0).tolist() == [6.0, 95.0]
    assert percentile(torch.zeros(2), 0, x, 100.0).tolist() == [1.0, 100.0]
    assert percentile(torch.tensor([0.0, 5.0]), 1, x, 95.0).tolist() == [3.0, 50.0]  # the mean over batches
    assert percentile(torch.zeros(2), 0, torch.tensor([7.0]), 99.0).tolist() == [7.0, 7.0]


def test_percentile_samples_large_tensors() -> None:
    x = torch.linspace(-1, 1, 2**20)
    low, high = observed("percentile", (x,))
    assert low == pytest.approx(-0.9998, abs=1e-5)
    assert high == pytest.approx(0.9998, abs=1e-5)


@pytest.mark.parametrize("name", OBSERVERS)
def test_no_gradient_flows_into_a_range(name: str) -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    assert not OBSERVERS[name](torch.zeros(2), 0, x * 2).requires_grad
