"""Where warm-up ends: found in the series itself, because no fixed number of runs suits every runtime and device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgedet.benchmarks.changepoints import Segment, segments

Found = Literal["change point", "none", "too few runs", "not settled", "by count", "by tool"]

FEWEST_RUNS = 20
ALIKE = 0.01  # levels that differ by less are one level: what warm-up changed less matters to nobody


@dataclass(frozen=True)
class WarmUp:
    """Runs after the first that do not count.

    Attributes:
        runs: how many they are.
        found: "change point": the times changed there for good; "none": they never did; "too few runs": to tell;
            "not settled": they still moved in one direction at the end; "by count": a fixed number; "by tool": a tool
            on the device decided by itself.
    """

    runs: int
    found: Found


def find_warm_up(runs_ms: Sequence[float]) -> WarmUp:
    """Runs at the start whose level never comes again in the second half of the series.

    At most half of the runs are warm-up. A level that comes again is not warm-up but noise, which is judged elsewhere.

    Args:
        runs_ms: every run after the first, in order.
    """
    if len(runs_ms) < FEWEST_RUNS:
        return WarmUp(0, "too few runs")
    parts = segments(runs_ms)
    later = [part.median_ms for part in parts if part.stop > len(runs_ms) / 2]
    first = next(k for k, part in enumerate(parts) if any(_alike(part.median_ms, level) for level in later))
    runs = parts[first].start
    if not _alike(parts[first].median_ms, parts[-1].median_ms) and _one_way(parts):
        return WarmUp(runs, "not settled")
    return WarmUp(runs, "change point" if runs else "none")


def _one_way(parts: list[Segment]) -> bool:
    """Whether levels only fall or only rise, in more than one step."""
    levels = [part.median_ms for part in parts]
    return len(parts) > 2 and levels in (sorted(levels), sorted(levels, reverse=True))


def _alike(a_ms: float, b_ms: float) -> bool:
    return abs(a_ms - b_ms) <= ALIKE * min(a_ms, b_ms)
