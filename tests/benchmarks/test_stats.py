from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedet.benchmarks.stats import Summary, summarise


def test_percentiles_by_hand() -> None:
    """0..10 ms: the q-th percentile of 11 evenly spaced samples is q / 10."""
    summary = summarise([10.0, 0.0, 1.0, 9.0, 2.0, 8.0, 3.0, 7.0, 4.0, 6.0, 5.0])
    assert (summary.p50_ms, summary.p90_ms) == (5.0, 9.0)
    assert summary.p99_ms == pytest.approx(9.9)
    assert summary.samples_ms[:2] == (10.0, 0.0)  # in the order of measuring


def test_one_sample_is_every_percentile() -> None:
    assert summarise([3.5]) == Summary(3.5, 3.5, 3.5, (3.5,))


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=50))
def test_agrees_with_numpy_and_is_ordered(samples: list[float]) -> None:
    summary = summarise(samples)
    assert summary.p90_ms == pytest.approx(float(np.percentile(samples, 90)))
    assert min(samples) <= summary.p50_ms <= summary.p90_ms <= summary.p99_ms <= max(samples) + 1e-9
    assert len(summary.samples_ms) == len(samples)


@pytest.mark.parametrize("samples", [[], [1.0, float("nan")], [float("inf")]])
def test_nothing_to_summarise_is_an_error(samples: list[float]) -> None:
    with pytest.raises(ValueError, match="summarise"):
        summarise(samples)
