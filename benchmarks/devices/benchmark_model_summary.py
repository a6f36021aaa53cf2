"""From several processes of `benchmark_model` to one summary. The tool keeps single runs to itself."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from statistics import fmean, median, stdev

from edgedet.benchmarks.devices.benchmark_model_output import OperatorTime, RunStats, ToolOutput
from edgedet.benchmarks.stats import ToolSummary

# 97.5 % quantiles of Student's t by degrees of freedom; beyond the table the last one is a little too wide.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def pooled(outputs: Sequence[ToolOutput]) -> ToolSummary:
    """All runs of all processes together, as far as aggregates allow.

    Mean and standard deviation are those of all runs. The median is the median of the processes' own medians, where the
    tool gives them, and p95 likewise; "low" and "high" are Student's 95 % interval over the processes: the value of
    another few processes would lie there. p90 and p99 cannot be had from aggregates.
    """
    stats = [output.runs for output in outputs]
    runs = sum(s.count for s in stats)
    mean = sum(s.count * s.mean_ms for s in stats) / runs
    square = sum(s.count * (s.std_ms**2 + s.mean_ms**2) for s in stats) / runs
    aggregates = {
        "mean": mean,
        "std": math.sqrt(max(square - mean**2, 0.0)),
        "min": min(s.min_ms for s in stats),
        "max": max(s.max_ms for s in stats),
    }
    between = interval([s.mean_ms for s in stats])
    if between is not None:
        aggregates["mean low"], aggregates["mean high"] = between
    p95 = [s.p95_ms for s in stats if s.p95_ms is not None]
    if len(p95) == len(stats):
        aggregates["p95"] = median(p95)
    medians = [s.p50_ms for s in stats if s.p50_ms is not None]
    known = len(medians) == len(stats)
    of_median = interval(medians) if known else None
    if of_median is not None:
        aggregates["p50 low"], aggregates["p50 high"] = of_median
    return ToolSummary(
        p50_ms=median(medians) if known else None,
        p90_ms=None,
        p99_ms=None,
        runs=runs,
        aggregates_ms={name: round(value, 4) for name, value in aggregates.items()},
    )


def single_runs(stats: RunStats) -> tuple[float, ...]:
    """The runs themselves, of a process of at most three: the first, the last, and what the mean leaves for the middle.

    The tool prints the mean with six digits, so the middle one is right to 3e-6 of the mean or better.

    Raises:
        ValueError: there were more.
    """
    if stats.count > 3:
        raise ValueError(f"{stats.count} runs cannot be told apart by their aggregates")
    first, last = stats.first_ms, stats.last_ms
    middle = round(3 * stats.mean_ms - first - last, 3)  # the tool counts whole microseconds
    return {1: (first,), 2: (first, last), 3: (first, middle, last)}[stats.count]


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % confidence interval of the mean of independent values (Student's t); None for fewer than three."""
    if len(values) < 3:
        return None
    t = _T[min(len(values) - 1, len(_T)) - 1]
    half = t * stdev(values) / math.sqrt(len(values))
    return round(fmean(values) - half, 4), round(fmean(values) + half, 4)


def operator_notes(output: ToolOutput) -> dict[str, str]:
    """The dearest kinds of operators of a profiled run, and those that its delegate left to the interpreter."""
    total_ms = sum(operator.mean_ms for operator in output.operators)
    if not total_ms:
        return {}
    share = f"all {total_ms:.3f} ms of {output.runs.mean_ms:.3f} ms a profiled run"
    notes = {"operators": f"{_by_type(output.operators)}; {share}"}
    outside = [operator for operator in output.operators if not _is_delegated(operator)]
    if len(outside) < len(output.operators):
        notes["outside the delegate"] = _by_type(outside) or "nothing"
    return notes


def _by_type(operators: Sequence[OperatorTime], most: int = 6) -> str:
    """ "CONV_2D 3.200 ms, ...", the dearest first."""
    times: dict[str, float] = {}
    for operator in operators:
        times[operator.type] = times.get(operator.type, 0.0) + operator.mean_ms
    dearest = sorted(times.items(), key=lambda item: -item[1])[:most]
    return ", ".join(f"{kind} {time_ms:.3f} ms" for kind, time_ms in dearest)


def _is_delegated(operator: OperatorTime) -> bool:
    """A delegate's part is one operator of its name, or, where it tells of its own operators, each has this head."""
    return operator.name.startswith("Delegate/") or re.fullmatch(r"TfLite\w*Delegate\w*", operator.type) is not None
