"""Files and measurements made by hand for the tests of the report: every number in them is chosen, none is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgedet.benchmarks.environment import DeviceInfo, Environment
from edgedet.benchmarks.latency import ImagesUsed, Latency
from edgedet.benchmarks.noise import NoiseCheck
from edgedet.benchmarks.report_entries import ReportEntry
from edgedet.benchmarks.report_evaluations import Accuracy
from edgedet.benchmarks.request import Steady
from edgedet.benchmarks.stats import ToolSummary, summarise
from edgedet.benchmarks.warmup import WarmUp
from tests.benchmarks.conftest import parity_of

BUSY = NoiseCheck("other work", 1.5, 0.25, "other work kept 1.50 cores busy")
QUIET = NoiseCheck("other work", 0.01, 0.25, "other work kept 0.01 cores busy")


def digest(name: str) -> str:
    """A digest that differs from name to name."""
    return name.encode().hex().ljust(64, "0")[:64]


def timed(
    file: str, p50_ms: float, device: str = "android:1", model: str = "Phone", provider: str = "",
    noise: tuple[NoiseCheck, ...] = (QUIET,), samples: Sequence[float] = (0.9, 1.0, 1.0, 1.1),
) -> Latency:  # fmt: skip
    """A latency of the file of this name, with an interval of 1 % around the median."""
    whole = summarise([p50_ms * share for share in samples])
    whole = replace(whole, intervals_ms={"p50": (0.99 * p50_ms, 1.01 * p50_ms)})
    place = DeviceInfo(device.partition(":")[0], device, model, "Invented CPU", 8, 2**33, "Android 99", {"SoC": "One"})
    stages = {"preprocess": 0.1, "inference": 0.8, "postprocess": 0.1}
    return Latency(
        artifact=f"elsewhere/{file}", format="onnx", precision="fp32", runtime="engine 1", provider=provider,
        file_bytes=1_000_000, sha256=digest(file), spec_digest="0123456789abcdef", score_min=0.05,
        images=ImagesUsed("photographs", ((640, 480),)), mode=Steady(), warmup=WarmUp(3, "change point"), load_ms=50.0,
        first_ms=30.0, steady=whole, stages={k: summarise([p50_ms * share]) for k, share in stages.items()},
        peak_memory_bytes=10**8, environment=Environment(place, 8, 4, notes={"battery": "80 %"}), noise=noise,
    )  # fmt: skip


def told(file: str, mean_ms: float, device: str = "android:1", model: str = "Phone") -> Latency:
    """A latency of which a tool told only the mean."""
    summary = ToolSummary(None, None, None, 50, {"mean": mean_ms, "min": 0.9 * mean_ms, "max": 2 * mean_ms})
    return replace(timed(file, mean_ms, device, model), steady=summary, stages={}, peak_memory_bytes=None, noise=())


def accuracy(file: str, ap: float, images: int = 10) -> Accuracy:
    metrics = {"coco_ap": ap, "coco_ap50": min(1.0, ap + 0.3)}
    return Accuracy(f"elsewhere/{file}", digest(file), "engine 1", "fp32", 0.05, "cells", "test", images, metrics)


def entry(name: str, ap: float | None = None, *latencies: Latency, precision: str = "fp32") -> ReportEntry:
    """A file that was neither evaluated nor timed here; model.pt is the reference."""
    kind = {"pt": "torch", "mlpackage": "coreml"}.get(name.rpartition(".")[2], name.rpartition(".")[2])
    accuracies = () if ap is None else (accuracy(name, ap),)
    size = {"fp32": 2_000_000, "fp16": 1_000_000, "int8": 500_000}[precision]
    parity = None if kind == "torch" else parity_of("passed")
    return ReportEntry(name, kind, precision, size, None, None, parity, (), digest(name), accuracies, latencies)
