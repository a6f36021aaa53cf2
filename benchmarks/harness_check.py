"""Does the harness itself cost anything, and does it find the times that the runtimes' own loops find?

python -m edgedet.benchmarks.harness_check [model.onnx] [model.tflite] [--rounds 10] [--json FILE]

Three parts:
- overhead: the loop of `edgedet bench` around a run that only reads the clock as a runner does; at most 20 microseconds
  a sample are allowed.
- pairs: the harness's time of the file itself ("net") against bare calls of the runtime's API on the same pixels, in
  one process, in an order drawn by lot. For a .tflite both of LiteRT's: the interpreter's, and the compiled model's as
  `litert-benchmark` calls it. ONNX Runtime's wheel holds no benchmark tool, so its API stands for it. Where a file
  leaves normalisation to the app, "net" holds it, and so does the bare call.
- tool: for a .tflite, the real `litert-benchmark` (in the wheel of ai-edge-litert) and the harness in turns, each in
  processes of its own. The tool feeds one random tensor, already normalised, so normalisation is taken off ours.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor

from edgedet.benchmarks.harness import measure
from edgedet.benchmarks.recorder import record
from edgedet.benchmarks.request import Budget, Request
from edgedet.benchmarks.sequential import hodges_lehmann
from edgedet.export.pictures import generated_pictures
from edgedet.files import write_json
from edgedet.formats import load
from edgedet.preprocess import normalise_hwc, to_network_pixels
from edgedet.progress import track
from edgedet.runner import Runner, StageTimes

SCHEMA = 1
MOST_OVERHEAD_US = 20.0
MOST_DIFFERENCE = 0.03
_PAIRS = 150
_TOOL_RUNS = 200
_ERROR = 0.05


@dataclass(frozen=True)
class Overhead:
    """Microseconds a sample: `per_sample` of the whole loop, `within` of it inside the recorded times."""

    per_sample_us: float
    within_us: float


@dataclass(frozen=True)
class Agreement:
    """Time by the harness over time by the other loop: estimate and 95 % interval (low, high)."""

    file: str
    other: str
    harness_ms: float
    other_ms: float
    ratio: float
    interval: tuple[float, float]


def overhead(samples: int = 20_000) -> Overhead:
    """Time the loop around a run that does nothing but read the clock, as `Runner.timed` does."""

    def run(image: None) -> StageTimes:
        start = time.perf_counter()
        prepared = time.perf_counter()
        inferred = time.perf_counter()
        done = time.perf_counter()
        return StageTimes((prepared - start) * 1e3, (inferred - prepared) * 1e3, (done - inferred) * 1e3)

    runs = record(run, repeat(None), Request(budget=Budget(seconds=0.0, min_samples=samples, max_samples=samples)))
    within = median(times.total_ms for times in runs.times) * 1e3
    return Overhead(runs.counters.wall_seconds / samples * 1e6, within)


def against_bare_calls(path: Path, threads: int = 1, pairs: int = _PAIRS, seed: int = 0) -> list[Agreement]:
    """For each API, pairs of one run by the harness and one bare call, each after a run that is not recorded."""
    torch.set_num_threads(threads)
    runner, image = load(path, threads), generated_pictures()[0]
    found = []
    for name, bare in _BARE[path.suffix](path, runner, threads).items():
        ours, theirs = _pairs(lambda: runner.timed(image)[1].inference_ms, partial(_timed_ms, bare), pairs, seed)
        found.append(_agreement(path, name, ours, theirs))
    return found


def _pairs(
    ours: Callable[[], float], theirs: Callable[[], float], pairs: int, seed: int
) -> tuple[list[float], list[float]]:
    rng = np.random.default_rng(seed)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in track(range(pairs), "pairs"):
        order = [(ours, times[0]), (theirs, times[1])]
        for run, samples in order if rng.random() < 0.5 else reversed(order):
            run()
            samples.append(run())
    return times


def _timed_ms(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def against_tool(path: Path, rounds: int, threads: int = 1) -> Agreement:
    """The harness and `litert-benchmark` in turns; each round gives the 5th percentile of both.

    Medians of whole processes differ by what else the machine did meanwhile; fast runs are those it did not disturb.
    """
    torch.set_num_threads(threads)
    runner = load(path, threads)
    pixels = _pixels(runner)
    taken_off_ms = median(_timed_ms(lambda: _normalised(pixels, runner)) for _ in range(100))
    ours, theirs = [], []
    for _ in track(range(rounds), "litert-benchmark"):
        result = measure(
            path, threads=threads, budget=Budget(seconds=0.1, min_samples=_TOOL_RUNS, max_samples=_TOOL_RUNS)
        )
        ours.append(float(np.percentile(result.stages["inference"].samples_ms, 5)) - taken_off_ms)
        theirs.append(_tool_p5_ms(path, threads))
    return _agreement(path, "litert-benchmark, p5", ours, theirs)


def _tool_p5_ms(path: Path, threads: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        command = [sys.executable, "-m", "ai_edge_litert.tools.benchmark_litert_model", f"--model={path}"]
        command += [f"--num_runs={_TOOL_RUNS}", "--warmup_runs=10", f"--num_threads={threads}", f"--result_json={out}"]
        subprocess.run(command, check=True, capture_output=True)
        return float(json.loads(out.read_text(encoding="utf-8"))["latency"]["p5_ms"])


def _agreement(path: Path, other: str, ours: Sequence[float], theirs: Sequence[float]) -> Agreement:
    ratio, low, high = hodges_lehmann(np.log(ours) - np.log(theirs), _ERROR)
    return Agreement(str(path), other, median(ours), median(theirs), math.exp(ratio), (math.exp(low), math.exp(high)))


def _pixels(runner: Runner) -> Tensor:
    """(3, height, width) uint8 network pixels, as runners get them."""
    return to_network_pixels(generated_pictures()[0], runner.spec.input)


def _normalised(pixels: Tensor, runner: Runner) -> npt.NDArray[np.float32]:
    """What an app does before a .tflite of the default layout: (1, height, width, 3) float32."""
    values = np.empty((1, *pixels.shape[1:], 3), np.float32)
    normalise_hwc(pixels, runner.spec.input, values[0])
    return values


def _bare_onnx(path: Path, runner: Runner, threads: int) -> dict[str, Callable[[], object]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    pixels, name = _pixels(runner), session.get_inputs()[0].name
    return {f"onnxruntime {onnxruntime.__version__}": lambda: session.run(None, {name: pixels[None].float().numpy()})}


def _bare_tflite(path: Path, runner: Runner, threads: int) -> dict[str, Callable[[], object]]:
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_litert.options import CpuOptions, Options

    interpreter: Any = Interpreter(str(path), num_threads=threads)
    interpreter.allocate_tensors()
    pixels, (image,) = _pixels(runner), interpreter.get_input_details()
    outputs = [detail["index"] for detail in interpreter.get_output_details()]
    compiled: Any = CompiledModel.from_file(str(path), options=Options(cpu_options=CpuOptions(num_threads=threads)))
    key = next(iter(compiled.get_signature_list()))
    inputs = {n: compiled.create_input_buffer_by_name(key, n) for n in compiled.get_input_tensor_details(key)}
    results = {n: compiled.create_output_buffer_by_name(key, n) for n in compiled.get_output_tensor_details(key)}

    def interpret() -> object:
        interpreter.set_tensor(image["index"], _normalised(pixels, runner))
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    def run_compiled() -> None:
        for buffer in inputs.values():
            buffer.write(_normalised(pixels, runner))
        compiled.run_by_name(key, inputs, results)

    return {"LiteRT, interpreter": interpret, "LiteRT, compiled model": run_compiled}


_BARE = {".onnx": _bare_onnx, ".tflite": _bare_tflite}


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help=".onnx and .tflite files in their default layout")
    parser.add_argument("--rounds", type=int, default=10, help="of litert-benchmark")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args(words)
    cost = overhead()
    found = [row for path in arguments.files for row in against_bare_calls(path)]
    if arguments.rounds:
        found += [against_tool(path, arguments.rounds) for path in arguments.files if path.suffix == ".tflite"]
    _print(cost, found)
    if arguments.json:
        write_json(arguments.json, {"schema": SCHEMA, **asdict(cost), "agreement": [asdict(row) for row in found]})
    kept = all(abs(row.ratio - 1) <= MOST_DIFFERENCE for row in found)
    return 0 if kept and cost.per_sample_us <= MOST_OVERHEAD_US else 1


def _print(cost: Overhead, found: Sequence[Agreement]) -> None:
    console = Console()
    console.print(
        f"overhead: {cost.per_sample_us:.2f} us a sample (aim {MOST_OVERHEAD_US:g}), "
        f"of which {cost.within_us:.2f} us are in the recorded time",
        highlight=False,
    )
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for k, name in enumerate(("file", "against", "ours ms", "theirs", "ratio", "from", "to")):
        table.add_column(name, justify="right" if k > 1 else "left", overflow="fold")
    for row in found:
        numbers = (f"{row.harness_ms:.2f}", f"{row.other_ms:.2f}", f"{row.ratio:.3f}")
        ends = (f"{end:.3f}" for end in row.interval)
        table.add_row(Path(row.file).name, row.other, *numbers, *ends)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
