"""The loop that takes the samples: as little as possible happens between two runs."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from edgedet.benchmarks.noise import Counters, CounterWatch
from edgedet.benchmarks.request import EARLY_STOPPING_QUERIES, Budget, Rate, Request, Steady, seconds_of
from edgedet.runner import StageTimes

Image = TypeVar("Image")
_CLOCK_EVERY_S = 1.0


@dataclass(frozen=True)
class Runs:
    """Times of runs in a row, when each began (seconds since recording did), and what the system counted meanwhile."""

    times: tuple[StageTimes, ...]
    starts_s: tuple[float, ...]
    counters: Counters


def record(run: Callable[[Image], StageTimes], images: Iterator[Image], request: Request) -> Runs:
    """Run until the request is fulfilled.

    Args:
        run: runs one picture and tells its times.
        images: without end.
    """
    times: list[StageTimes] = []
    starts: list[float] = []
    mode = request.mode
    watch = CounterWatch()
    with _no_garbage_collection():
        begun = time.perf_counter()
        if isinstance(mode, Rate):
            _at_rate(run, images, mode.fps, request.budget, times, starts)
        else:
            _in_a_row(run, images, _limits(request), watch, times, starts)
        wall = time.perf_counter() - begun
    return Runs(tuple(times), tuple(start - begun for start in starts), watch.counters(wall))


def _limits(request: Request) -> tuple[float, int, int]:
    """Seconds, least and most runs."""
    budget, mode = request.budget, request.mode
    if isinstance(mode, Steady) and not mode.early_stopping:
        return budget.seconds, budget.min_samples, budget.max_samples
    least = EARLY_STOPPING_QUERIES if isinstance(mode, Steady) else 0
    return seconds_of(request), max(budget.min_samples, least), sys.maxsize


def _in_a_row(
    run: Callable[[Image], StageTimes], images: Iterator[Image], limits: tuple[float, int, int], watch: CounterWatch,
    times: list[StageTimes], starts: list[float],
) -> None:  # fmt: skip
    clock = time.perf_counter
    seconds, least, most = limits
    start = clock()
    end, look = start + seconds, start + _CLOCK_EVERY_S
    for image in images:
        start = clock()
        if len(times) >= least and (start >= end or len(times) >= most):
            return
        if start >= look:
            watch.read_clock()
            start = clock()
            look = start + _CLOCK_EVERY_S
        times.append(run(image))
        starts.append(start)


def _at_rate(
    run: Callable[[Image], StageTimes], images: Iterator[Image], fps: float, budget: Budget,
    times: list[StageTimes], starts: list[float],
) -> None:  # fmt: skip
    """A picture arrives every 1 / fps seconds. The runner takes the newest one; without a new one it waits."""
    clock = time.perf_counter
    origin, frame = clock(), 0
    while frame / fps < budget.seconds or len(times) < budget.min_samples:
        due = origin + frame / fps
        while (left := due - clock()) > 0:
            time.sleep(left)
        start = clock()
        times.append(run(next(images)))
        starts.append(start)
        frame = max(frame + 1, int((clock() - origin) * fps))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Python's garbage collector rests meanwhile, as in timeit."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
