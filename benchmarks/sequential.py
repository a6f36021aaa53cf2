"""Is B slower than A? A test of interleaved pairs that may stop early.

In every pair both files run once, next to each other in time, in an order drawn by lot. If the files are equal, the lot
alone decides which of the two times of a pair is called A's. So under that hypothesis the sign of log(B / A) is a fair
coin in every pair, whatever the machine did: drift, spikes, two modes, dependence between runs. The Wilcoxon
signed-rank test needs no more than that (inference by randomisation: Fisher, "The Design of Experiments", 1935;
Wilcoxon 1945). Inverting it gives the interval of the ratio, with the Hodges-Lehmann estimate in its middle (Hodges and
Lehmann 1963).

The data is looked at a few times. Each look spends a part of the error that is allowed in all, and the parts add up to
it, so that looking often does not raise it (alpha spending, Lan and DeMets 1983; adding up is Bonferroni's inequality,
which needs no assumption on how looks depend on each other).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from edgedet.benchmarks.bootstrap import FloatArray

Verdict = Literal["faster", "slower", "no difference"]

MARGIN = 0.01  # a change of less matters to nobody
EQUIVALENT = 0.02  # an interval within it is "no difference" for sure
ERROR = 0.05  # chance of "faster" or "slower" when there is no difference above the margin, over all looks
FEWEST_PAIRS = 16  # with fewer, a look that spends little error cannot decide whatever it sees
_SHARES = ((1 / 8, 0.08), (1 / 4, 0.12), (1 / 2, 0.25), (1.0, 0.55))  # of the pairs, of the error


@dataclass(frozen=True)
class Look:
    """When the data is looked at: after so many pairs, spending so much of the error."""

    pairs: int
    error: float


@dataclass(frozen=True)
class Decision:
    """What the pairs so far say about the time of B over that of A.

    Attributes:
        verdict: of B, compared with A. "no difference" before the last look means that the interval shows it; at the
            last look, that no difference was found: the interval says which ones remain possible.
        ratio: estimate, and interval: (low, high).
        confidence: of the interval, by itself; over all looks together the intervals hold with 95 %.
        final: nothing more will be learnt, or is allowed to.
    """

    verdict: Verdict
    ratio: float
    interval: tuple[float, float]
    confidence: float
    final: bool


def looks(max_pairs: int) -> tuple[Look, ...]:
    """The looks for at most so many pairs, the last one at all of them.

    Raises:
        ValueError: fewer than 16 pairs.
    """
    if max_pairs < FEWEST_PAIRS:
        raise ValueError(f"{max_pairs} pairs are too few to decide anything: at least {FEWEST_PAIRS}")
    found, saved = [], 0.0
    for share, error in _SHARES:
        saved += error * ERROR
        if share * max_pairs >= FEWEST_PAIRS:
            found.append(Look(math.floor(share * max_pairs), saved))
            saved = 0.0
    return tuple(found)


def decide(log_ratios: Sequence[float], look: Look, last: bool) -> Decision:
    """Judge the first pairs at a look.

    Args:
        log_ratios: log(B / A) of each pair; at least `look.pairs`.
        last: whether this is the last look.
    """
    estimate, low, high = hodges_lehmann(np.asarray(log_ratios[: look.pairs]), look.error)
    margin, equivalent = math.log1p(MARGIN), math.log1p(EQUIVALENT)
    verdict: Verdict = "slower" if low > margin else "faster" if high < -margin else "no difference"
    shown_equal = -equivalent < low and high < equivalent
    interval = (math.exp(low), math.exp(high))
    final = last or shown_equal or verdict != "no difference"
    return Decision(verdict, math.exp(estimate), interval, 1 - look.error, final)


def hodges_lehmann(values: FloatArray, error: float) -> tuple[float, float, float]:
    """Median of the means of all pairs of values (each with itself too), and the interval that Wilcoxon's test leaves.

    A shift is inside when the test does not reject it at this error. The rank sum's distribution is taken as normal
    from 6 values on; its tails are lighter than that, so that the interval is rather too wide than too narrow.
    """
    n = len(values)
    rows, columns = np.triu_indices(n)
    means = np.sort((values[rows] + values[columns]) / 2)
    spread = math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    outside = n * (n + 1) / 4 - NormalDist().inv_cdf(1 - error / 2) * spread - 0.5
    cut = math.floor(outside)
    if cut < 0:
        return float(np.median(means)), -math.inf, math.inf
    return float(np.median(means)), float(means[cut]), float(means[-1 - cut])
