"""Where the time inside a file goes: every operator's time, and which part of the detector it belongs to.

A .onnx is profiled by ONNX Runtime itself. Its optimiser fuses and renames operators, so before loading all of them are
given names that say their part, and the trace is read by these. What the profiler itself adds to an operator is
measured and taken off (operators_profiler.py); both sums are told. The sum is compared with the time of the file
without a profiler, from runs in between.

A .tflite is cut: LiteRT's Python interpreter has no profiler, so the file up to an inner tensor is timed against the
whole one. These differences add up to the total by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from edgedet.benchmarks.interleaved import time_interleaved
from edgedet.benchmarks.latency import Latency, NotRun
from edgedet.benchmarks.parts import Parts
from edgedet.benchmarks.worker import pictures
from edgedet.errors import NotRunError
from edgedet.export.card import CardRunner
from edgedet.formats import load
from edgedet.preprocess import to_network_pixels

SCHEMA = 1
PARTS = ("normalise", "backbone", "head", "decode", "nms")  # as a picture passes them


@dataclass(frozen=True)
class OperatorCost:
    """A kind of operator within a part: calls in a run, and the milliseconds of all of them."""

    part: str
    operator: str
    calls: float
    ms: float


@dataclass(frozen=True)
class Attribution:
    """The time of one file, by operators.

    Attributes:
        method: "trace" (the runtime's own profile) or "cut" (differences between files that end earlier).
        total_ms: of the whole file, without a profiler: the mean of the same rounds as the operators', those of the
            fastest quarter; the median of a file that was cut.
        operators: without what the profiler adds.
        profiler_us_per_call: that was taken off; None for a file that was cut.
        traced_ms: the sum before that.
        outside_delegate: operators that run outside the runtime's delegate, in running order, with a hint each.
    """

    artifact: str
    runtime: str
    method: str
    threads: int | None
    runs: int
    total_ms: float
    operators: tuple[OperatorCost, ...]
    outside_delegate: tuple[str, ...] = ()
    profiler_us_per_call: float | None = None
    traced_ms: float | None = None

    @property
    def sum_ms(self) -> float:
        return sum(operator.ms for operator in self.operators)

    @property
    def parts_ms(self) -> dict[str, float]:
        """Milliseconds by part, in the order of PARTS; a cut file may know only several parts together."""
        names = sorted({operator.part for operator in self.operators}, key=_order)
        return {name: sum(o.ms for o in self.operators if o.part == name) for name in names}

    @property
    def agrees(self) -> bool | None:
        """Whether the sum lies within 5 % of the total; None for differences, which always add up."""
        return self.parts().agrees if self.method == "trace" else None

    def parts(self) -> Parts:
        """What a measurement carries of it."""
        return Parts(self.method, self.parts_ms, self.sum_ms, self.total_ms, self.traced_ms, self.runs)

    def to_json(self) -> dict[str, Any]:
        found = {"sum_ms": self.sum_ms, "parts_ms": self.parts_ms, "agrees_within_5_percent": self.agrees}
        return {**asdict(self), **found}


def attribute(file: Path, images: Sequence[Path] = (), threads: int | None = None, runs: int = 100) -> Attribution:
    """Time the operators of a file on this machine.

    Args:
        file: a .onnx or .tflite that `edgedet export` wrote.
        images: photographs to cycle through; without any, pictures are generated.
        threads: of the runtime.
        runs: measured ones.

    Raises:
        NotRunError: files of this format cannot be taken apart here.
        ModelFileError: the file is missing, damaged or foreign.
        DataError: an image cannot be read.
    """
    from edgedet.benchmarks.operators_onnx import traced
    from edgedet.benchmarks.operators_tflite import by_cutting

    runner = load(file, threads)
    methods = {"onnx": traced, "tflite": by_cutting}
    if runner.format not in methods or not isinstance(runner, CardRunner):
        raise NotRunError(f"{file}: operators are timed in .onnx and .tflite files", "Export the model.")
    loaded, _ = pictures(tuple(images[:32]))
    pixels = [to_network_pixels(image, runner.spec.input) for image in loaded]
    return methods[runner.format](runner, pixels, threads, runs)


def with_inside(result: Latency | NotRun, found: Attribution) -> Latency | NotRun:
    """A measurement on this machine, with where its time goes."""
    return replace(result, inside=found.parts()) if isinstance(result, Latency) else result


class Turns:
    """Calls a function with one picture after the other."""

    def __init__(self, function: Any, pixels: Sequence[Tensor]) -> None:
        self.function, self.pixels, self.calls = function, pixels, 0

    def __call__(self) -> object:
        self.calls += 1
        return self.function(self.pixels[self.calls % len(self.pixels)])


def medians_ms(sides: dict[str, Any], pixels: Sequence[Tensor], runs: int) -> dict[str, float]:
    """Median times of functions of pixels, run in turns on the same pictures."""
    times = time_interleaved({name: Turns(function, pixels) for name, function in sides.items()}, runs)
    return {name: float(np.median(times[name].samples_ms)) for name in sides}


def _order(part: str) -> int:
    return min((PARTS.index(name) for name in part.split(" and ") if name in PARTS), default=len(PARTS))
