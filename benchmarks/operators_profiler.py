"""What ONNX Runtime's profiler adds to the time that it says of an operator.

Between an operator's end and the reading of its clock it collects names, shapes and sizes. That takes as long for a
small operator as for a large one, so a chain of operators that do next to nothing shows it: with n of them the trace's
sum grows by (operator + profiler) for each, and the time of a session without a profiler by (operator + dispatch). The
difference between two lengths leaves out what a run costs once. Dispatch counts against the profiler here, so what is
taken off is rather too little.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

_SHORT, _LONG = 50, 250
_RUNS = 60


@cache
def profiler_us_per_call() -> float:
    """Microseconds that are in each operator's time but are the profiler's, on this machine; at least 0."""
    with tempfile.TemporaryDirectory(prefix="edgedet-profiler-") as scratch:
        short, long = (_chain_us(length, Path(scratch)) for length in (_SHORT, _LONG))
    traced, bare = (b - a for a, b in zip(short, long, strict=True))
    return max(0.0, (traced - bare) / (_LONG - _SHORT))


def _chain_us(length: int, scratch: Path) -> tuple[float, float]:
    """A chain's time by the trace, and without a profiler, in turns; lower quartiles, which pauses do not reach."""
    model = chain(length).SerializeToString()
    watched, bare = _session(model, scratch), _session(model, None)
    fed = {"x": np.ones((1, 1, 1, 1), np.float32)}
    bare_us = []
    for _ in range(_RUNS):
        watched.run(None, fed)
        bare_us.append(_timed_us(lambda: bare.run(None, fed)))
    events = json.loads(Path(watched.end_profiling()).read_text(encoding="utf-8"))
    kernels = [event["dur"] for event in events if event["name"].endswith("_kernel_time")]
    sums = np.reshape(kernels, (_RUNS, length)).sum(axis=1)
    return float(np.percentile(sums, 25)), float(np.percentile(bare_us, 25))


def chain(length: int) -> onnx.ModelProto:
    """Convolutions of one value each: three inputs, as most operators of a detector have."""
    names = ["x", *(f"y{k}" for k in range(length))]
    nodes = [helper.make_node("Conv", [a, "w", "b"], [b]) for a, b in pairwise(names)]
    weights = [
        helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 1, 1], [1.0]),
        helper.make_tensor("b", TensorProto.FLOAT, [1], [0.0]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 1, 1]) for name in (names[0], names[-1])]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _session(model: bytes, scratch: Path | None) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if scratch is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(scratch / "trace")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _timed_us(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e6
