"""Which layers stay in float: a search steered by mAP, first in simulation, then on real files.

Layers are ordered by the noise that they make at the heads in int8, once as it is and once for what their float version
costs. Of each order the shortest beginning is taken that keeps the accuracy in simulation; of the two sets the cheaper
one is thinned out, verified on the real file, grown where that needs more, and shortened where it needs less. Nothing
is drawn by lot: the same model, photographs and seed give the same layers, unless the time budget ends the search.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

_MOST_THINNING = 12  # layers that are tried in int8 again, the costliest first
_MOST_REAL_THINNING = 3


@dataclass(frozen=True)
class Candidate:
    """A layer: its noise at the heads when it alone is quantized (power, as a share of the signal's), and what its
    float version costs more than its int8 version, in whatever the objective counts.
    """

    name: str
    noise: float
    cost: float


@dataclass(frozen=True)
class Trial:
    """One set of layers in float that was judged; `real`: on the exported file, else in simulation."""

    float_layers: tuple[str, ...]
    cost: float
    ap: float
    real: bool


class OutOfTimeError(Exception):
    """The budget does not hold another step."""


class Clock(Protocol):
    """Says when to stop: `begin` raises OutOfTimeError where a step of that kind would not end in time."""

    def begin(self, kind: str) -> None: ...

    def end(self, kind: str) -> None: ...


@dataclass
class Budget:
    """Seconds from now on. A step is begun only if the longest one of its kind so far would still fit.

    Attributes:
        now: a clock in seconds.
    """

    seconds: float
    now: Callable[[], float] = time.monotonic
    longest: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._start = self._began = self.now()

    @property
    def left(self) -> float:
        return self.seconds - (self.now() - self._start)

    def begin(self, kind: str) -> None:
        if self.left <= self.longest.get(kind, 0.0):
            raise OutOfTimeError
        self._began = self.now()

    def end(self, kind: str) -> None:
        self.longest[kind] = max(self.longest.get(kind, 0.0), self.now() - self._began)


@dataclass(frozen=True)
class Outcome:
    """What the search found.

    Attributes:
        best: of the real files the cheapest that keeps the accuracy, or else the most accurate one; None where not even
            the uniform int8 file was judged.
        met: whether it keeps the accuracy.
        complete: False where the time budget ended the search.
        trials: everything that was judged, in order.
    """

    best: Trial | None
    met: bool
    complete: bool
    trials: tuple[Trial, ...]


def search(
    candidates: Sequence[Candidate],
    simulated_ap: Callable[[tuple[str, ...]], float],
    real_ap: Callable[[tuple[str, ...]], float],
    simulated_target: float,
    real_target: float,
    clock: Clock,
) -> Outcome:
    """Find a cheap set of float layers whose real file reaches `real_target`.

    Args:
        candidates: all layers, in order of execution.
        simulated_ap, real_ap: AP with these layers in float, in the order of execution.
        simulated_target: what simulation has to reach for the same loss.
    """
    judge = _Judge(candidates, simulated_ap, real_ap, clock)
    complete = True
    try:
        _run(judge, simulated_target, real_target)
    except OutOfTimeError:
        complete = False
    real = [trial for trial in judge.trials if trial.real]
    enough = [trial for trial in real if trial.ap >= real_target]
    if enough:
        best = min(enough, key=lambda trial: (trial.cost, len(trial.float_layers), -trial.ap))
    else:
        best = max(real, key=lambda trial: (trial.ap, -trial.cost), default=None)  # type: ignore[assignment]
    return Outcome(best, bool(enough), complete, tuple(judge.trials))


class _Judge:
    """Asks for each set once, and keeps what was said."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        simulated_ap: Callable[[tuple[str, ...]], float],
        real_ap: Callable[[tuple[str, ...]], float],
        clock: Clock,
    ) -> None:
        self.candidates = {candidate.name: candidate for candidate in candidates}
        self.ask = {False: simulated_ap, True: real_ap}
        self.clock = clock
        self.trials: list[Trial] = []

    def __call__(self, names: Sequence[str], real: bool) -> Trial:
        chosen = set(names)
        ordered = tuple(name for name in self.candidates if name in chosen)
        for trial in self.trials:
            if trial.float_layers == ordered and trial.real == real:
                return trial
        kind = "real" if real else "simulated"
        self.clock.begin(kind)
        cost = sum(self.candidates[name].cost for name in ordered)
        trial = Trial(ordered, cost, self.ask[real](ordered), real)
        self.clock.end(kind)
        self.trials.append(trial)
        return trial


def _run(judge: _Judge, simulated_target: float, real_target: float) -> None:
    if judge([], real=True).ap >= real_target:
        return
    layers = list(judge.candidates.values())
    orders = [
        [c.name for c in sorted(layers, key=lambda c: -c.noise)],
        [c.name for c in sorted(layers, key=lambda c: -c.noise / max(c.cost, 1e-12))],
    ]
    found = [_shortest(judge, order, simulated_target, real=False) for order in orders]
    cost = {name: judge.candidates[name].cost for name in judge.candidates}
    order, chosen = min(zip(orders, found, strict=True), key=lambda pair: sum(cost[name] for name in pair[1]))
    chosen = _thinned(judge, chosen, simulated_target, real=False, most=_MOST_THINNING)
    chosen = _grown(judge, chosen, order, real_target)
    # An exporter may know tricks that simulation does not, and then needs fewer of them.
    chosen = _shortest(judge, [name for name in order if name in set(chosen)], real_target, real=True)
    _thinned(judge, chosen, real_target, real=True, most=_MOST_REAL_THINNING)


def _shortest(judge: _Judge, order: Sequence[str], target: float, real: bool) -> list[str]:
    """The shortest beginning of an order that reaches the target, by bisection; all of it where none does.

    More float layers do not always help, so what bisection finds need not be the very shortest: it does reach the
    target.
    """
    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        if judge(order[:middle], real).ap >= target:
            high = middle
        else:
            low = middle + 1
    return list(order[:high])


def _thinned(judge: _Judge, chosen: Sequence[str], target: float, real: bool, most: int) -> list[str]:
    """Without each layer, the costliest first, that the target can do without."""
    kept = list(chosen)
    for name in sorted(chosen, key=lambda name: (-judge.candidates[name].cost, name))[:most]:
        without = [other for other in kept if other != name]
        if judge(without, real).ap >= target:
            kept = without
    return kept


def _grown(judge: _Judge, chosen: Sequence[str], order: Sequence[str], target: float) -> list[str]:
    """The set on the real file: as long as it falls short, the next layers of the order join, twice as many each time;
    then bisection between the last two.
    """
    more = [name for name in order if name not in set(chosen)]
    low, high, step = -1, 0, 1
    while judge([*chosen, *more[:high]], real=True).ap < target:
        if high == len(more):
            return [*chosen, *more]
        low, high, step = high, min(len(more), high + step), 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        if judge([*chosen, *more[:middle]], real=True).ap >= target:
            high = middle
        else:
            low = middle
    return [*chosen, *more[:high]]
