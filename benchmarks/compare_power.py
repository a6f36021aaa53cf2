"""How often `edgedet compare` is wrong, on streams of times whose truth is known.

python -m edgedet.benchmarks.compare_power [--repetitions 1000] [--json FILE]

A stream is what a machine would show: a sequence of slots with their own disturbance, in which a run of either file may
fall. B takes `change` times as long as A. Reported for every stream:

- how often two equal files were called different, and two that differ by the margin that matters to nobody (at most 5 %
  of either are allowed);
- how often a change of 5 % in either direction was found with the right sign (at least 90 % are wanted);
- how many runs of both files together it took;
- how often a plain measurement of 300 runs on that machine would be marked as disturbed, by the shape of the series.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from edgedet.benchmarks.bootstrap import FloatArray
from edgedet.benchmarks.noise import diagnose
from edgedet.benchmarks.sequential import ERROR, MARGIN, Decision, decide, looks
from edgedet.files import write_json
from edgedet.progress import track

SCHEMA = 1
MAX_RUNS = 400
PLAIN_RUNS = 300
CHANGE = 1.05
WANTED_POWER = 0.9
Rng = np.random.Generator
Stream = Callable[[Rng, int], FloatArray]


def calm(rng: Rng, slots: int) -> FloatArray:
    """An idle machine: 2 % of noise."""
    return np.exp(rng.normal(0, 0.02, slots))


def noisy(rng: Rng, slots: int) -> FloatArray:
    """A busy one: 8 % of noise in each run."""
    return np.exp(rng.normal(0, 0.08, slots))


def drift(rng: Rng, slots: int) -> FloatArray:
    """It gets slower by 30 % from beginning to end."""
    return calm(rng, slots) * np.linspace(1, 1.3, slots)


def throttling(rng: Rng, slots: int) -> FloatArray:
    """At some moment the clock drops by a quarter."""
    return calm(rng, slots) * np.where(np.arange(slots) < rng.integers(1, slots), 1, 1.33)


def wandering(rng: Rng, slots: int) -> FloatArray:
    """A random walk of 1 % a run."""
    return calm(rng, slots) * np.exp(np.cumsum(rng.normal(0, 0.01, slots)))


def dependent(rng: Rng, slots: int) -> FloatArray:
    """10 % of noise that lasts for about ten runs."""
    steps = rng.normal(0, 0.1 * np.sqrt(1 - 0.9**2), slots)
    for k in range(1, slots):
        steps[k] += 0.9 * steps[k - 1]
    lasting: FloatArray = np.exp(steps)
    return calm(rng, slots) * lasting


def spikes(rng: Rng, slots: int) -> FloatArray:
    """One run in ten takes up to eight times as long."""
    return calm(rng, slots) * np.where(rng.random(slots) < 0.1, rng.uniform(1.5, 8, slots), 1)


def bimodal(rng: Rng, slots: int) -> FloatArray:
    """Every run falls into one of two modes, 30 % apart."""
    modes: FloatArray = rng.choice([1.0, 1.3], slots)
    return np.exp(rng.normal(0, 0.03, slots)) * modes


def switching(rng: Rng, slots: int) -> FloatArray:
    """Two modes, 30 % apart, that last for about 20 runs."""
    mode = np.cumsum(rng.random(slots) < 0.05) % 2
    return np.exp(rng.normal(0, 0.03, slots)) * np.where(mode == 0, 1, 1.3)


def heavy_tail(rng: Rng, slots: int) -> FloatArray:
    """Noise without a finite variance: Student's t with two degrees of freedom, scaled to 3 %, upwards only."""
    tail: FloatArray = np.abs(rng.standard_t(2, slots))
    return 1 + 0.03 * tail


def everything(rng: Rng, slots: int) -> FloatArray:
    """Drift, spikes and lasting modes at once."""
    return drift(rng, slots) * spikes(rng, slots) * switching(rng, slots)


STREAMS: tuple[Stream, ...] = (
    calm, noisy, drift, throttling, wandering, dependent, spikes, bimodal, switching, heavy_tail, everything,
)  # fmt: skip


@dataclass(frozen=True)
class Power:
    """Result of one stream.

    Attributes:
        false_alarms: share of comparisons of equal files that found a difference, and at_margin: of files that differ
            by just the margin, the hardest case of "no difference".
        found_slower, found_faster: share of comparisons of a file with one that takes 1.05 times as long, or that share
            less, with the right verdict.
        runs_equal, runs_changed: runs of both files together that a comparison took, on average.
        marked: share of plain measurements that the noise diagnosis would mark, a tenth as many.
    """

    stream: str
    false_alarms: float
    at_margin: float
    found_slower: float
    found_faster: float
    runs_equal: float
    runs_changed: float
    marked: float


def simulate(stream: Stream, change: float, rng: Rng) -> tuple[Decision, int]:
    """One comparison, and how many runs it took."""
    max_pairs = MAX_RUNS // 2
    slots = stream(rng, 2 * max_pairs).reshape(max_pairs, 2)
    b_first = rng.random(max_pairs) < 0.5
    a, b = np.where(b_first, slots[:, 1], slots[:, 0]), np.where(b_first, slots[:, 0], slots[:, 1]) * change
    log_ratios = np.log(b / a)
    planned = looks(max_pairs)
    for look in planned:
        decision = decide(log_ratios.tolist(), look, look is planned[-1])
        if decision.final:
            return decision, 2 * look.pairs
    raise AssertionError("unreachable: the last look is final")


def power(stream: Stream, repetitions: int, seed: int = 0) -> Power:
    """Repeat comparisons of equal files, of a slower and of a faster one."""
    rng = np.random.default_rng(seed)
    equal = [simulate(stream, 1.0, rng) for _ in range(repetitions)]
    margin = [simulate(stream, 1 + MARGIN, rng) for _ in range(repetitions)]
    slower = [simulate(stream, CHANGE, rng) for _ in range(repetitions)]
    faster = [simulate(stream, 1 / CHANGE, rng) for _ in range(repetitions)]
    return Power(
        stream=stream.__name__,
        false_alarms=_share(equal, ("faster", "slower")),
        at_margin=_share(margin, ("faster", "slower")),
        found_slower=_share(slower, ("slower",)),
        found_faster=_share(faster, ("faster",)),
        runs_equal=float(np.mean([runs for _, runs in equal])),
        runs_changed=float(np.mean([runs for _, runs in slower + faster])),
        marked=float(np.mean([_marked(stream(rng, PLAIN_RUNS)) for _ in range(max(1, repetitions // 10))])),
    )


def _marked(runs_ms: FloatArray) -> bool:
    return any(check.exceeded for check in diagnose(runs_ms.tolist(), 1, None, None))


def _share(results: Sequence[tuple[Decision, int]], verdicts: tuple[str, ...]) -> float:
    return sum(decision.verdict in verdicts for decision, _ in results) / len(results)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args(words)
    found = [power(stream, arguments.repetitions) for stream in track(STREAMS, "streams")]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("stream", "alarms", "at 1 %", "5 % slower", "5 % faster", "runs", "changed", "marked"):
        table.add_column(name, justify="left" if name == "stream" else "right")
    for row in found:
        shares = (f"{share:.1%}" for share in (row.false_alarms, row.at_margin, row.found_slower, row.found_faster))
        table.add_row(row.stream, *shares, f"{row.runs_equal:.0f}", f"{row.runs_changed:.0f}", f"{row.marked:.0%}")
    Console().print(table)
    if arguments.json:
        rows = [asdict(row) for row in found]
        write_json(arguments.json, {"schema": SCHEMA, "repetitions": arguments.repetitions, "streams": rows})
    right = all(max(row.false_alarms, row.at_margin) <= ERROR for row in found)
    strong = all(min(row.found_slower, row.found_faster) >= WANTED_POWER for row in found)
    return 0 if right and strong else 1


if __name__ == "__main__":
    sys.exit(main())
