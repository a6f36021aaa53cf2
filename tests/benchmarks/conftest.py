"""A small model file, a small data set, and measurements made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgedet.benchmarks.environment import LoadWatch, read_environment
from edgedet.benchmarks.latency import ImagesUsed, Latency
from edgedet.benchmarks.request import Steady
from edgedet.benchmarks.stats import summarise
from edgedet.benchmarks.warmup import WarmUp
from edgedet.data import Dataset, read_dataset
from edgedet.data.synth import write_synthetic
from edgedet.evaluation import EvalResult, Source, evaluate_detections
from edgedet.export.parity_report import Check, Depth, ParityReport
from edgedet.model_file import save_model
from edgedet.runner import Detections
from tests.small_models import small_model, small_spec


@pytest.fixture(scope="session")
def model_pt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.pt of a small SSDLite."""
    spec = small_spec("ssdlite_mobilenet_v3_small")
    path = tmp_path_factory.mktemp("run") / "model.pt"
    save_model(path, small_model(spec), spec)
    return path


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The test split of a small synthetic data set: six pictures."""
    return read_dataset(write_synthetic(tmp_path_factory.mktemp("set") / "data", 2, 1, 6, size_px=96), "test")


@pytest.fixture(scope="session")
def result(model_pt: Path, dataset: Dataset) -> EvalResult:
    """Accuracy of a detector that finds what is labelled, but takes discs for squares."""
    names = dataset.class_names
    wrong = {names.index("disc"): names.index("square")}
    found = [
        Detections(
            sample.objects.boxes_xyxy_px,
            np.linspace(0.9, 0.4, len(sample.objects), dtype=np.float32),
            np.array([wrong.get(int(k), int(k)) for k in sample.objects.class_ids], dtype=np.int64),
        )
        for sample in dataset.samples
    ]
    return evaluate_detections(dataset, found, Source(str(model_pt), "torch 2", "fp32", 0.05, names))


def latency_of(name: str, runtime: str, p50_ms: float = 10.0) -> Latency:
    """A measurement made by hand: samples from 0.9 to 1.1 times the median."""
    whole = summarise([p50_ms * share for share in (0.9, 1.0, 1.1)])
    part = summarise([p50_ms * share / 3 for share in (0.9, 1.0, 1.1)])
    return Latency(
        artifact=name, format="torch", precision="fp32", runtime=runtime, provider="", file_bytes=2_500_000,
        sha256="ab" * 32, spec_digest="0123456789abcdef", score_min=0.05, images=ImagesUsed("generated", ((320, 240),)),
        mode=Steady(), warmup=WarmUp(3, "change point"), load_ms=50.0, first_ms=30.0, steady=whole,
        stages={"preprocess": part, "inference": part, "postprocess": part}, peak_memory_bytes=10**9,
        environment=read_environment(1, LoadWatch()),
    )  # fmt: skip


def parity_of(status: str, format: str = "onnx") -> ParityReport:
    """A comparison that passed, failed, or found nothing to compare."""
    checks = {"passed": (Check("missed", 0, 0),), "failed": (Check("missed", 3, 0),), "not run": ()}[status]
    depths = (Depth("heads"), Depth("decoded"), Depth("detections", checks, reason="" if checks else "no objects"))
    return ParityReport(format, "fp32", f"{format} 1", 4, (*depths, Depth("accuracy", reason="no data set was given")))
