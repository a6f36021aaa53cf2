"""The search on networks whose layers are known, because they were made up: AP falls by a known loss for each one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgedet.benchmarks.lab.mixed import check
from edgedet.benchmarks.lab.search_layers import Budget, Candidate, Outcome, search
from edgedet.errors import ConfigError

FLOAT_AP = 0.6
# Noise does not tell the loss exactly: c is noisier than its loss deserves.
LAYERS = {"a": (0.9, 10.0, 0.030), "b": (0.5, 1.0, 0.010), "c": (0.8, 5.0, 0.000), "d": (0.1, 1.0, 0.002)}


def ap_of(float_layers: tuple[str, ...], off: float = 0.0) -> float:
    return FLOAT_AP - off - sum(loss for name, (_, _, loss) in LAYERS.items() if name not in float_layers)


def found(
    max_loss: float, real_off: float = 0.0, budget: Budget | None = None, **asked: Callable[..., float]
) -> Outcome:
    candidates = [Candidate(name, noise, cost) for name, (noise, cost, _) in LAYERS.items()]
    real = asked.get("real", lambda layers: ap_of(layers, real_off))
    target = FLOAT_AP - max_loss
    return search(candidates, ap_of, real, target, target, budget or Budget(1e6))


def test_uniform_int8_that_is_good_enough_needs_no_search() -> None:
    outcome = found(max_loss=0.1)
    assert outcome.met
    assert outcome.best is not None
    assert outcome.best.float_layers == ()
    assert len(outcome.trials) == 1


def test_the_cheapest_set_that_keeps_the_accuracy() -> None:
    """Losing 0.005: a and b must be float (0.030 and 0.010), c and d need not (0 and 0.002)."""
    outcome = found(max_loss=0.005)
    assert outcome.met
    assert outcome.complete
    assert outcome.best is not None
    assert outcome.best.float_layers == ("a", "b")
    assert outcome.best.real
    assert outcome.best.cost == 11.0


def test_a_real_file_that_is_worse_than_simulated_gets_more_layers() -> None:
    """The real file loses 0.002 more than simulation says: d is needed too."""
    outcome = found(max_loss=0.003, real_off=0.002)
    assert outcome.met
    assert outcome.best is not None
    assert set(outcome.best.float_layers) >= {"a", "b", "d"}
    assert outcome.best.ap >= FLOAT_AP - 0.003


def test_what_cannot_be_met_gives_the_best_file() -> None:
    outcome = found(max_loss=0.001, real_off=0.01)
    assert not outcome.met
    assert outcome.complete
    assert outcome.best is not None
    assert outcome.best.ap == pytest.approx(FLOAT_AP - 0.01)


def test_the_same_question_gives_the_same_trials() -> None:
    assert found(max_loss=0.005, real_off=0.004) == found(max_loss=0.005, real_off=0.004)


def test_nothing_is_judged_twice() -> None:
    outcome = found(max_loss=0.003, real_off=0.002)
    asked = [(trial.float_layers, trial.real) for trial in outcome.trials]
    assert len(asked) == len(set(asked))


def test_the_time_budget_ends_the_search() -> None:
    """Each real file takes 40 s of a clock that is turned by hand; 100 s hold two."""
    clock = [0.0]

    def real(layers: tuple[str, ...]) -> float:
        clock[0] += 40
        return ap_of(layers, 0.5)

    outcome = found(max_loss=0.001, real=real, budget=Budget(100, now=lambda: clock[0]))
    assert not outcome.complete
    assert not outcome.met
    assert sum(trial.real for trial in outcome.trials) == 2
    assert clock[0] <= 100
    assert outcome.best is not None


def test_no_time_at_all() -> None:
    outcome = found(max_loss=0.001, budget=Budget(0))
    assert outcome == Outcome(None, False, False, ())


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("tflite", "speed", 0.005, 1), "--objective speed"),
        (("tflite", "size", -0.1, 1), "--max-ap-loss -0.1"),
        (("tflite", "size", 0.005, 0), "--minutes 0"),
        (("torch", "size", 0.005, 1), "--format torch"),
    ],
)
def test_what_cannot_be_searched(asked: tuple[str, str, float, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check(*asked)


def test_a_real_file_that_is_better_than_simulated_keeps_fewer_layers() -> None:
    """The exporter mends a: only b and what simulation wants is needed, and of that only b."""

    def real(layers: tuple[str, ...]) -> float:
        return ap_of(("a", *layers))

    outcome = found(max_loss=0.005, real=real)
    assert outcome.met
    assert outcome.best is not None
    assert outcome.best.float_layers == ("b",)
