"""Time of an .onnx file's convolutions by kind, from ONNX Runtime's trace.

Pointwise (1x1) convolutions are products of matrices and can come near the arithmetic limit. Depthwise ones use each
number that they read a few times only, so that memory decides, not arithmetic (Zhang et al. 2020, "High Performance
Depthwise and Pointwise Convolutions on Mobile Devices").
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from edgedet.benchmarks.operators_onnx import KERNEL_SUFFIX, profiling_session
from edgedet.export.onnx_runner import OnnxRunner
from edgedet.export.to_onnx import INPUT

_QUARTILE = 25.0  # as arithmetic_limit takes of whole runs


def kind_of(name: str, module: nn.Conv2d) -> str:
    """ "1x1", "depthwise" or "other"."""
    return _kind(list(module.weight.shape))


def _kind(weights: list[int]) -> str:
    """Of weights (out, in / groups, height, width)."""
    return "1x1" if weights[2:] == [1, 1] else "depthwise" if weights[1] == 1 else "other"


def convolution_ms(runner: OnnxRunner, pixels: Tensor, runs: int) -> dict[str, float]:
    """Milliseconds of all convolutions of a kind, on one thread: of each its lower quartile."""
    with tempfile.TemporaryDirectory(prefix="edgedet-kinds-") as scratch:
        session = profiling_session(runner.path, 1, Path(scratch))
        for _ in range(runs):
            session.run(None, {INPUT: runner._feed(pixels)})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return _by_kind(events)


def _by_kind(events: list[dict[str, Any]]) -> dict[str, float]:
    times_us: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event["name"].endswith(KERNEL_SUFFIX) and "Conv" in event["args"]["op_name"]:
            _, weights, *_ = (next(iter(one.values())) for one in event["args"]["input_type_shape"])
            times_us[_kind(weights), event["name"]].append(event["dur"])
    ms: dict[str, float] = defaultdict(float)
    for (kind, _), found in times_us.items():
        ms[kind] += float(np.percentile(found, _QUARTILE)) / 1e3
    return dict(ms)
