"""Times of several functions measured in turn, so that a machine that slows down slows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from edgedet.benchmarks.stats import Summary, summarise
from edgedet.progress import track


def time_interleaved(
    functions: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 10
) -> dict[str, Summary]:
    """Call each function once a round.

    Args:
        functions: by name; what they return is dropped.
        rounds: that are measured. In every other one the order is reversed, so that nobody always runs behind the same.
        warm_up: rounds before, not measured.
    """
    samples_ms: dict[str, list[float]] = {name: [] for name in functions}
    for index in track(range(-warm_up, rounds), "measure"):
        for name in list(functions) if index % 2 else reversed(list(functions)):
            start = time.perf_counter()
            functions[name]()
            if index >= 0:
                samples_ms[name].append((time.perf_counter() - start) * 1e3)
    return {name: summarise(times) for name, times in samples_ms.items()}
