from __future__ import annotations

import numpy as np
import pytest

from edgedet.benchmarks import noise
from edgedet.benchmarks.noise import Counters, CounterWatch, NoiseCheck, diagnose, without_pictures

RNG = np.random.default_rng(0)
CALM = 10 * np.exp(RNG.normal(0, 0.02, 300))


def exceeded(runs_ms: np.ndarray, cycle: int = 1) -> set[str]:
    return {check.name for check in diagnose(runs_ms.tolist(), cycle, None, None) if check.exceeded}


def test_a_calm_series_shows_no_sign() -> None:
    assert exceeded(CALM) == set()
    assert exceeded(np.full(300, 10.0)) == set()
    assert {check.name for check in diagnose(CALM.tolist(), 1, None, None)} == {
        "spread", "level shifts", "autocorrelation", "two modes",
    }  # fmt: skip


def test_signs_in_the_series() -> None:
    step = CALM * np.where(np.arange(300) < 150, 1.0, 1.1)
    assert "level shifts" in exceeded(step)
    modes = CALM * RNG.choice([1.0, 1.3], 300)
    assert "two modes" in exceeded(modes)
    assert exceeded(CALM * np.exp(RNG.normal(0, 0.5, 300))) == {"spread"}
    wave = 10 * (1 + 0.04 * np.sin(np.arange(300) / 20)) * CALM
    assert "autocorrelation" in exceeded(wave)


def test_single_spikes_are_what_p99_is_for() -> None:
    spikes = CALM.copy()
    spikes[::50] *= 4
    assert exceeded(spikes) == set()


def test_pictures_that_cost_more_are_no_noise() -> None:
    """Every third picture takes 1.5 times as long: two modes of the file, not of the machine."""
    costly = CALM * np.resize([1.0, 1.0, 1.5], 300)
    assert exceeded(costly) == {"two modes", "spread"}
    assert exceeded(costly, cycle=3) == set()
    levelled = without_pictures(np.array([1.0, 2.0] * 5), 2)
    assert levelled.tolist() == [1.5] * 10
    assert without_pictures(np.array([1.0, 2.0] * 4), 2).tolist() == [1.0, 2.0] * 4  # too few turns to tell


def test_counters_by_hand() -> None:
    """In 10 s: 300 switches are 30 a second, 0.5 s of steal 5 %, a clock from 2000 to 2200 MHz moved by 10 %."""
    counters = Counters(10.0, 300, 5, 0.5, (2000.0, 2200.0, 2100.0))
    checks = {check.name: check for check in diagnose([10.0], 1, counters, 0.1)}
    assert {name: check.value for name, check in checks.items()} == pytest.approx(
        {"other work": 0.1, "context switches": 30.0, "steal time": 0.05, "clock": 0.1}
    )
    assert {name for name, check in checks.items() if check.exceeded} == {"context switches", "steal time", "clock"}
    assert checks["clock"].meaning == "the CPU's clock changed by 10%"


def test_a_limit_itself_is_allowed() -> None:
    assert not NoiseCheck("clock", 0.05, 0.05, "").exceeded


def test_what_the_system_does_not_tell_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter([(5, 7, None), (9, 8, None)])
    monkeypatch.setattr(noise, "_counts", lambda: next(counts))
    monkeypatch.setattr(noise, "current_clock_mhz", lambda: None)
    counters = CounterWatch().counters(2.0)
    assert counters == Counters(2.0, 4, 1, None, ())
    assert [check.name for check in diagnose([1.0], 1, counters, None)] == ["context switches"]
