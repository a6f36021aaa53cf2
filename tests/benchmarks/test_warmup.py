from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedet.benchmarks.changepoints import Segment, segments
from edgedet.benchmarks.warmup import WarmUp, find_warm_up

RNG = np.random.default_rng(0)
NOISE = np.exp(RNG.normal(0, 0.02, 400))


def test_segments_of_two_levels_by_hand() -> None:
    assert segments([9.0] * 10 + [5.0] * 30) == [Segment(0, 10, 9.0), Segment(10, 40, 5.0)]


def test_one_slow_run_is_no_level() -> None:
    assert segments([5.0] * 20 + [90.0] + [5.0] * 20) == [Segment(0, 41, 5.0)]


def test_a_step_is_warm_up() -> None:
    assert find_warm_up([12.0] * 8 + [10.0] * 92) == WarmUp(8, "change point")


def test_a_slope_that_flattens_is_warm_up() -> None:
    found = find_warm_up((10 * NOISE[:200] * (1 + 0.5 * np.exp(-np.arange(200) / 5))).tolist())
    assert found.found == "change point"
    assert 8 <= found.runs <= 25  # after 8 runs 10 % are left of the 50, after 25 less than 1 %


def test_runs_may_also_become_slower() -> None:
    """A clock that boosts for the first runs only: what lasts is what counts."""
    assert find_warm_up((NOISE[:100] * ([8.0] * 15 + [10.0] * 85)).tolist()) == WarmUp(15, "change point")


@pytest.mark.parametrize("runs", [20, 50, 100, 400])
def test_a_level_series_has_none(runs: int) -> None:
    assert find_warm_up((10 * NOISE[:runs]).tolist()) == WarmUp(0, "none")
    assert find_warm_up([7.0] * runs) == WarmUp(0, "none")


def test_a_level_that_comes_again_is_no_warm_up() -> None:
    assert find_warm_up(([10.0] * 30 + [14.0] * 30) * 3) == WarmUp(0, "none")


def test_a_change_of_less_than_one_percent_matters_to_nobody() -> None:
    assert find_warm_up([10.05] * 20 + [10.0] * 80) == WarmUp(0, "none")


def test_a_series_that_never_settles_says_so() -> None:
    found = find_warm_up(np.linspace(20, 10, 200).tolist())
    assert found.found == "not settled"
    assert found.runs <= 100


def test_too_few_runs_are_not_judged() -> None:
    assert find_warm_up([50.0] * 5 + [1.0] * 14) == WarmUp(0, "too few runs")


def test_long_series_are_cut_too() -> None:
    """50 000 runs, as in minutes of a small network."""
    found = find_warm_up([3.0] * 5_000 + [2.0] * 45_000)
    assert found.found == "change point"
    assert found.runs == pytest.approx(5_000, abs=100)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.5, 100), min_size=1, max_size=80), st.floats(0.01, 100))
def test_warm_up_is_at_most_half_and_needs_no_unit(runs: list[float], factor: float) -> None:
    runs = [round(run, 3) for run in runs]
    found = find_warm_up(runs)
    assert 0 <= found.runs <= len(runs) / 2
    parts = segments(runs)
    assert [parts[0].start, *(part.stop for part in parts)] == [0, *(part.start for part in parts[1:]), len(runs)]
    assert [(p.start, p.stop) for p in segments([2 * run for run in runs])] == [(p.start, p.stop) for p in parts]
