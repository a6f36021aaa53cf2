"""A stand-in for `benchmark_model`: takes the flags of either dialect and runs the file, by LiteRT's interpreter.

What it prints has the form that the tools' sources give it (tflite/tools/benchmark/benchmark_model.cc,
litert/tools/benchmark_litert_model.h and tensorflow's stats_calculator.h); the numbers are measured. Two things differ:
the profile has one row for the whole graph, as Python's interpreter tells nothing of operators, and memory is that of
Python too.
"""

from __future__ import annotations

import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_MARKS = {"tflite": "enable_op_profiling", "litert": "compiler_plugin_library_path"}


def write_program(path: Path, dialect: str) -> Path:
    """An executable whose content holds the name of a flag that only this dialect's binary holds."""
    root = Path(__file__).resolve().parents[3]
    path.write_text(
        f"#!{sys.executable}\n# {_MARKS[dialect]}\nimport sys\nsys.path.insert(0, {str(root)!r})\n"
        f"from tests.benchmarks.devices.benchmark_model_stand_in import main\nmain({dialect!r}, sys.argv[1:])\n"
    )
    path.chmod(0o755)
    return path


def main(dialect: str, arguments: Sequence[str]) -> None:
    flags = dict(argument.removeprefix("--").partition("=")[::2] for argument in arguments)
    print("INFO: STARTING!", flush=True)
    if flags.get("die"):
        signal.raise_signal(signal.SIGKILL)
    try:
        _benchmark(dialect, flags)
    except (OSError, ValueError) as error:
        print(f"ERROR: Failed to load model {flags.get('graph')}: {str(error).splitlines()[0]}", flush=True)
        print("ERROR: Benchmarking failed.", flush=True)
        sys.exit(1)


def _benchmark(dialect: str, flags: dict[str, str]) -> None:
    from ai_edge_litert.interpreter import Interpreter

    start = time.perf_counter()
    interpreter = Interpreter(model_path=flags["graph"], num_threads=int(flags.get("num_threads", "1")))
    interpreter.allocate_tensors()
    init_us = _us(start)
    (tensor,) = interpreter.get_input_details()
    interpreter.set_tensor(tensor["index"], _input(dialect, flags, tensor))
    print(f"INFO: Initialized session in {init_us / 1e3:g}ms.", flush=True)
    warmup = _loop(interpreter.invoke, int(flags["warmup_runs"]), flags["warmup_min_secs"], flags)
    runs = _loop(interpreter.invoke, int(flags["num_runs"]), flags["min_secs"], flags)
    {"tflite": _end_tflite, "litert": _end_litert}[dialect](flags, init_us, warmup, runs)


def _input(dialect: str, flags: dict[str, str], tensor: Any) -> Any:
    shape, kind = tuple(tensor["shape"]), tensor["dtype"]
    if dialect == "litert" or "input_layer_value_files" not in flags:
        rng = np.random.default_rng(0)
        return rng.integers(0, 256, shape).astype(kind) if kind == np.uint8 else rng.random(shape).astype(kind)
    name, _, path = flags["input_layer_value_files"].partition(":")
    assert name == flags["input_layer"]
    assert tuple(int(side) for side in flags["input_layer_shape"].split(",")) == shape
    content = Path(path).read_bytes()
    return np.frombuffer(content, kind).reshape(shape)  # refuses another size, as the tool does


def _loop(invoke: Callable[[], None], least: int, least_seconds: str, flags: dict[str, str]) -> list[int]:
    """BenchmarkModel::Run: at least so many and at least so long, at a rate where one is given."""
    print(
        f"INFO: Running benchmark for at least {least} iterations and at least {least_seconds} seconds but "
        f"terminate if exceeding {flags['max_secs']} seconds.",
        flush=True,
    )
    begin, times = time.perf_counter(), []
    while len(times) < least or time.perf_counter() - begin < float(least_seconds):
        start = time.perf_counter()
        invoke()
        times.append(_us(start))
        if "run_frequency" in flags:
            due = begin + len(times) / float(flags["run_frequency"])
            time.sleep(max(due - time.perf_counter(), 0.0))
    print(f"INFO: {_stat(times)}\n", flush=True)
    return times


def _stat(times: Sequence[int]) -> str:
    """Stat and StatWithPercentiles of stats_calculator.h: whole microseconds, the mean with six digits."""
    ordered = sorted(times)
    tail = " ".join(f"{name}={ordered[len(times) * q // 100]}" for name, q in (("p5", 5), ("median", 50), ("p95", 95)))
    if min(times) == max(times):
        return f"count={len(times)} curr={times[-1]}{'(all same)' if len(times) > 1 else ''} {tail}"
    return (
        f"count={len(times)} first={times[0]} curr={times[-1]} min={min(times)} max={max(times)} "
        f"avg={np.mean(times):g} std={int(np.std(times))} {tail}"
    )


def _end_tflite(flags: dict[str, str], init_us: int, warmup: Sequence[int], runs: Sequence[int]) -> None:
    print(
        f"INFO: Inference timings in us: Init: {init_us}, First inference: {warmup[0]}, "
        f"Warmup (avg): {np.mean(warmup):g}, Inference (avg): {np.mean(runs):g}",
        flush=True,
    )
    if flags.get("report_peak_memory_footprint") == "true":
        print(f"INFO: Overall peak memory footprint (MB) via periodic monitoring: {_peak_mb():g}", flush=True)
    if flags.get("enable_op_profiling") == "true":
        print("INFO: Operator-wise Profiling Info for Regular Benchmark Runs:", flush=True)
        _profile(runs)


def _end_litert(flags: dict[str, str], init_us: int, warmup: Sequence[int], runs: Sequence[int]) -> None:
    lines = [
        "INFO: ", "========== BENCHMARK RESULTS ==========",
        f"INFO: Model initialization: {init_us / 1e3:.2f} ms",
        f"INFO: Warmup (first):       {warmup[0] / 1e3:.2f} ms",
        f"INFO: Warmup (avg):         {np.mean(warmup) / 1e3:.2f} ms ({len(warmup)} runs)",
        f"INFO: Inference (avg):      {np.mean(runs) / 1e3:.2f} ms ({len(runs)} runs)",
    ]  # fmt: skip
    if flags.get("report_peak_memory_footprint") == "true":
        lines.append(f"INFO: Peak memory:          {_peak_mb():.2f} MB")
    print("\n".join(lines), file=sys.stderr, flush=True)
    if flags.get("use_profiler") == "true":
        print("INFO: ", file=sys.stderr, flush=True)
        _profile(runs)


def _profile(runs: Sequence[int]) -> None:
    head = ("[node type]", "[first]", "[avg ms]", "[%]", "[cdf%]", "[mem KB]", "[times called]", "[Name]")
    row = (
        "WHOLE_GRAPH",
        f"{runs[0] / 1e3:.3f}",
        f"{np.mean(runs) / 1e3:.3f}",
        "100.000%",
        "100.000%",
        "0.000",
        "1",
        "[x]:0",
    )
    widths = (40, 9, 9, 8, 8, 10, 9, 0)
    print("============================== Run Order ==============================")
    for cells in (head, row):
        print("".join(f"\t{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)), flush=True)
    print(flush=True)


def _us(start: float) -> int:
    return round((time.perf_counter() - start) * 1e6)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
