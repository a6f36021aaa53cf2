"""Several runtimes of this machine for one file."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from edgedet import load
from edgedet.benchmarks.devices import host, host_runtimes, open_device
from edgedet.benchmarks.latency import Latency, NotRun
from edgedet.benchmarks.request import Budget, Request
from edgedet.errors import ConfigError, NotRunError
from edgedet.export.pictures import generated_pictures
from tests.exported_files import Export

_SHORT = Request(threads=1, budget=Budget(seconds=0.2, max_samples=20))


def _same_boxes(path: Path, runtime: str, threads: int | None = 1) -> str:
    """What the runtime calls its provider, once it has found what the file's own runtime finds."""
    runner, reference = host_runtimes.open_runner(path, threads, runtime), load(path)
    picture = generated_pictures()[0]
    found, expected = runner(picture), reference(picture)
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)
    np.testing.assert_allclose(found.boxes_xyxy_px, expected.boxes_xyxy_px, atol=0.05)
    return runner.provider


def test_the_tables_name_the_same_runtimes() -> None:
    for format, names in host.RUNTIMES.items():
        assert names == tuple(row.name for row in host_runtimes.RUNTIMES if row.format == format)


def test_litert_with_and_without_its_delegate(exported: Export) -> None:
    path = exported("yolov3_tiny", "tflite", "fp32").artifact.path
    assert _same_boxes(path, "xnnpack") == "XNNPACK"
    assert _same_boxes(path, "plain") == "without XNNPACK"
    results = open_device("host", {"runtime": "all"}).measure_files([path], _SHORT)  # type: ignore[attr-defined]
    assert [result.provider for result in results] == ["XNNPACK", "without XNNPACK"]
    assert {result.environment.threads for result in results} == {1}


def test_a_runtime_that_is_not_installed_reads_not_run(exported: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    path = exported("yolov3_tiny", "onnx", "fp32").artifact.path
    monkeypatch.setattr(host_runtimes, "find_spec", lambda name: None)
    with pytest.raises(NotRunError, match="openvino is not installed"):
        host_runtimes.open_runner(path, None, "openvino")
    with pytest.raises(NotRunError, match="runs files of the format tflite"):
        host_runtimes.open_runner(path, None, "plain")
    (result,) = open_device("host", {"runtime": "plain"}).measure_files([path], _SHORT)  # type: ignore[attr-defined]
    assert isinstance(result, NotRun)
    assert "onnxruntime, openvino" in result.reason
    with pytest.raises(ConfigError, match="no runtime called 'tvm'"):
        open_device("host", {"runtime": "tvm"})
    with pytest.raises(NotRunError, match="compared in the runtime"):
        open_device("host", {"runtime": "openvino"}).open_stream(path, _SHORT)  # type: ignore[attr-defined]


@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_openvino_finds_what_onnx_runtime_finds(exported: Export) -> None:
    assert _same_boxes(exported("yolov3_tiny", "onnx", "fp32").artifact.path, "openvino") == "CPU"


@pytest.mark.skipif(find_spec("executorch") is None, reason="ExecuTorch is not installed")
def test_executorch_finds_what_torch_finds(model_pt: Path) -> None:
    assert _same_boxes(model_pt, "executorch") == "XNNPACK"


def test_threads_and_cores_are_recorded(model_pt: Path) -> None:
    import os

    core = min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    cores = None if core is None else (core,)
    request = Request(threads=1, cores=cores, budget=Budget(seconds=0.1, max_samples=10))
    latency = open_device("host", {"runtime": "eager"}).measure(model_pt, request)
    assert isinstance(latency, Latency)
    assert (latency.environment.threads, latency.environment.pinned_cores) == (1, cores)
