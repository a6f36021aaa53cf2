"""The loop, with a clock of our own."""

from __future__ import annotations

import gc
from itertools import count
from types import SimpleNamespace

import pytest

from edgedet.benchmarks import recorder
from edgedet.benchmarks.recorder import Runs, record
from edgedet.benchmarks.request import Budget, Mode, Rate, Request, Steady, Sustained
from edgedet.runner import StageTimes


def runs_of(monkeypatch: pytest.MonkeyPatch, run_s: float, mode: Mode, **budget: float) -> Runs:
    """Record a runner that takes `run_s` by the clock, which only the runner and sleeping move."""
    now = 100.0

    def advance(seconds: float) -> None:
        nonlocal now
        now += seconds

    def run(image: int) -> StageTimes:
        assert not gc.isenabled()
        advance(run_s)
        return StageTimes(0.0, run_s * 1e3, 0.0)

    monkeypatch.setattr(recorder, "time", SimpleNamespace(perf_counter=lambda: now, sleep=advance))
    return record(run, count(), Request(budget=Budget(**budget), mode=mode))  # type: ignore[arg-type]


def test_steady_runs_until_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = runs_of(monkeypatch, 0.25, Steady(), seconds=1.0)
    assert runs.starts_s == (0.0, 0.25, 0.5, 0.75, 1.0)  # at least five, by default
    assert runs.counters.wall_seconds == 1.25
    assert gc.isenabled()


def test_steady_stops_at_most_and_not_before_least(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(runs_of(monkeypatch, 0.1, Steady(), seconds=9.0, max_samples=7).times) == 7
    assert len(runs_of(monkeypatch, 5.0, Steady(), seconds=1.0, min_samples=3).times) == 3


def test_early_stopping_records_a_minute_and_1024_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(runs_of(monkeypatch, 0.5, Steady(early_stopping=True)).times) == 1024
    fast = runs_of(monkeypatch, 0.03125, Steady(early_stopping=True))
    assert (len(fast.times), fast.counters.wall_seconds) == (1920, 60.0)


def test_sustained_runs_for_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(runs_of(monkeypatch, 0.5, Sustained(2.0), max_samples=5).times) == 240


def test_a_fast_runner_waits_for_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = runs_of(monkeypatch, 0.0625, Rate(4.0), seconds=1.0, min_samples=1)
    assert runs.starts_s == (0.0, 0.25, 0.5, 0.75)


def test_a_slow_runner_takes_the_newest_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """4 pictures a second, 0.625 s a run: free at 0.625 it takes the picture of 0.5, at 1.25 that of 1.25."""
    runs = runs_of(monkeypatch, 0.625, Rate(4.0), seconds=2.0, min_samples=1)
    assert runs.starts_s == (0.0, 0.625, 1.25, 1.875)
