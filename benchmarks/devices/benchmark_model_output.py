"""What `benchmark_model` prints, in both of its dialects, as data.

TensorFlow Lite's tool (tensorflow/lite/tools/benchmark, now google-ai-edge/LiteRT tflite/tools/benchmark) and LiteRT's
own (google-ai-edge/LiteRT litert/tools/benchmark_litert_model) share the loop that runs the model, and so the line
"count=... first=... curr=...": once for warm-up, once for the runs, in microseconds. Around it they differ. Neither
prints single runs. Older tools give neither percentiles nor a line of peak memory.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgedet.errors import EdgedetError

_LEVEL = re.compile(r"^(?:VERBOSE|DEBUG|INFO|WARN|WARNING|ERROR|FATAL): ")
_FAILED = re.compile(r"^(?:ERROR|FATAL): (.*)")
_STATS = re.compile(r"^count=(\d+)")
_FIELD = re.compile(r"(\w+)=([-+.\deE]+)")
_TFLITE_END = re.compile(r"^Inference timings in us: Init: (\S+), First inference: (\S+), Warmup \(avg\): (\S+), ")
_LITERT_INIT = re.compile(r"^Model initialization: +(\S+) ms")
_LITERT_FIRST = re.compile(r"^Warmup \(first\): +(\S+) ms")
_PEAK = re.compile(r"^(?:Overall peak memory footprint \(MB\) via periodic monitoring: (\S+)|Peak memory: +(\S+) MB)")
_DELEGATE = re.compile(r"^(?:Explicitly applied|Created TensorFlow Lite) (\S+) delegate\b")
_RUN_ORDER = re.compile(r"^=+ Run Order =+$")
_PROFILE = ("Operator-wise Profiling Info for Regular Benchmark Runs:", "Profiling Info for Benchmark Initialization:")
_MB = 1024 * 1024  # both tools divide bytes by 2^20 and call it MB


@dataclass(frozen=True)
class RunStats:
    """Aggregates of one series of runs; percentiles are None where the tool is too old to give them."""

    count: int
    first_ms: float
    last_ms: float
    min_ms: float
    max_ms: float
    mean_ms: float
    std_ms: float
    p5_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None


@dataclass(frozen=True)
class OperatorTime:
    """One row of the tool's operator profile.

    Attributes:
        type: the operator's, as the tool names it; a delegate's subgraph has the delegate's name.
        name: of the tensors it writes.
        mean_ms: of all its calls in one run together.
    """

    type: str
    name: str
    mean_ms: float


@dataclass(frozen=True)
class ToolOutput:
    """One run of the tool.

    Attributes:
        dialect: "tflite" or "litert".
        load_ms: from the file to a prepared interpreter, the tool's own figure.
        first_ms: the very first run.
        warmup_runs: how many runs did not count.
        runs: those that count.
        peak_memory_bytes: None where it was not asked for, or the tool is too old.
        operators: in running order; empty without profiling.
        delegates: that took part of the graph, by the tool's names ("XNNPACK", "GPU").
    """

    dialect: str
    load_ms: float
    first_ms: float
    warmup_runs: int
    runs: RunStats
    peak_memory_bytes: int | None
    operators: tuple[OperatorTime, ...]
    delegates: tuple[str, ...]


def parse(text: str, source: str = "benchmark_model") -> ToolOutput:
    """Read what one run printed, stdout and stderr in any mixture, or the messages of logcat without their heads.

    Raises:
        EdgedetError: the tool failed (its own last error is named), or printed no timings.
    """
    lines = [_LEVEL.sub("", line.rstrip()) for line in text.splitlines()]
    stats = [_run_stats(line) for line in lines if _STATS.match(line)]
    whole = "\n".join(lines)
    head = _tflite_head(whole) or _litert_head(whole)
    if head is None or len(stats) < 2 or stats[1].count == 0:
        raise EdgedetError(f"{source}: {_why_nothing(text)}", "Run the tool by hand on the same file to see more.")
    dialect, load_ms, first_ms = head
    peaks = [match.group(1) or match.group(2) for match in map(_PEAK.match, lines) if match]
    return ToolOutput(
        dialect=dialect,
        load_ms=load_ms,
        first_ms=first_ms,
        warmup_runs=stats[0].count,
        runs=stats[1],
        peak_memory_bytes=round(float(peaks[-1]) * _MB) if peaks else None,
        operators=_operators(lines),
        delegates=_delegates(lines),
    )


def is_finished(text: str) -> bool:
    """Whether the tool has said its last word about timings; for logs that are read while it runs."""
    lines = [_LEVEL.sub("", line.rstrip()) for line in text.splitlines()]
    return any(_TFLITE_END.match(line) for line in lines) or any("Benchmarking failed" in line for line in lines)


def _tflite_head(text: str) -> tuple[str, float, float] | None:
    match = re.search(_TFLITE_END.pattern, text, re.MULTILINE)
    return ("tflite", float(match.group(1)) / 1e3, float(match.group(2)) / 1e3) if match else None


def _litert_head(text: str) -> tuple[str, float, float] | None:
    init = re.search(_LITERT_INIT.pattern, text, re.MULTILINE)
    first = re.search(_LITERT_FIRST.pattern, text, re.MULTILINE)
    return ("litert", float(init.group(1)), float(first.group(1))) if init and first else None


def _run_stats(line: str) -> RunStats:
    """A `Stat` of TensorFlow's stats_calculator.h: where all runs took the same time it prints `curr` alone."""
    fields = {key: float(value) / 1e3 for key, value in _FIELD.findall(line)}
    last = fields.get("curr", 0.0)
    return RunStats(
        count=round(fields["count"] * 1e3),
        first_ms=fields.get("first", last),
        last_ms=last,
        min_ms=fields.get("min", last),
        max_ms=fields.get("max", last),
        mean_ms=fields.get("avg", last),
        std_ms=fields.get("std", 0.0),
        p5_ms=fields.get("p5"),
        p50_ms=fields.get("median"),
        p95_ms=fields.get("p95"),
    )


def _delegates(lines: Sequence[str]) -> tuple[str, ...]:
    """A delegate that found nothing to do is named by the tool in other words ("Though ... is explicitly applied")."""
    return tuple(dict.fromkeys(match.group(1) for match in map(_DELEGATE.match, lines) if match))


def _operators(lines: Sequence[str]) -> tuple[OperatorTime, ...]:
    """Rows of "Run Order" of the regular runs: not those of initialisation, nor a delegate's inner ones."""
    start = next((k for k, line in enumerate(lines) if line.strip() == _PROFILE[0]), None)
    if start is None:  # LiteRT's summary has no such heading, and no profile of initialisation
        start = next((k for k, line in enumerate(lines) if _RUN_ORDER.match(line)), len(lines))
    end = next((k for k in range(start + 1, len(lines)) if lines[k].strip() == "Delegate internal:"), len(lines))
    table = next((k for k in range(start, end) if _RUN_ORDER.match(lines[k])), None)
    if table is None:
        return ()
    head = _cells(lines[table + 1])
    found = []
    for line in lines[table + 2 : end]:
        cells = _cells(line)
        if len(cells) != len(head):
            break
        row = dict(zip(head, cells, strict=True))
        calls = max(int(row.get("times called", "1")), 1)
        found.append(OperatorTime(row["node type"], row["name"], float(row["avg ms"]) * calls))
    return tuple(found)


def _cells(line: str) -> list[str]:
    """A row is a tab before each cell; the head names its columns in brackets (older tools have one more, "start")."""
    return [
        cell.strip().strip("[]").lower() if "[node type]" in line else cell.strip() for cell in line.split("\t")[1:]
    ]


def _why_nothing(text: str) -> str:
    """The tool's own words, as one line."""
    errors = [match.group(1).strip() for match in map(_FAILED.match, text.splitlines()) if match]
    errors = [error for error in errors if error and not error.startswith("Benchmarking failed")] or errors
    if errors:
        return f"failed: {errors[-1][:300]}"
    said = [line.strip() for line in text.splitlines() if line.strip()]
    return f"printed no timings; its last line: {said[-1][:300]}" if said else "printed nothing"
