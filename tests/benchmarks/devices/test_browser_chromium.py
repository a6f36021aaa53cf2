"""The page in a real Chromium, both runtimes: it measures, and finds the boxes that this host finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from edgedet.benchmarks.devices.browser import BrowserDevice
from edgedet.benchmarks.devices.browser_packages import FOLDER_VARIABLE, VERSIONS
from edgedet.benchmarks.latency import Latency, NotRun
from edgedet.benchmarks.request import Budget, Rate, Request
from edgedet.errors import NotRunError
from edgedet.preprocess import UInt8Image
from tests.benchmarks.devices.browser_page import NO_GPU, SOFTWARE_GPU, chromium
from tests.clients.environments import required
from tests.export.snippets_browser import node_modules
from tests.exported_files import Export

_NETWORK = "yolov3_tiny"

Measure = Callable[..., list[Latency | NotRun]]


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Measure:
    """(device's backend, files, request, Chromium's flags) to results; skips where there is no Chromium or npm."""

    def run(
        backend: str, files: list[Path], request: Request, *flags: str, https: bool = False
    ) -> list[Latency | NotRun]:
        try:
            monkeypatch.setenv(FOLDER_VARIABLE, str(node_modules().parent))
            with chromium(*flags) as open_page:
                device = BrowserDevice(backend, https=https, announce=open_page, wait_s=60.0)
                return device.measure_files(files, request)
        except NotRunError as error:
            if required():
                raise
            pytest.skip(f"not run: {error}")

    return run


@pytest.fixture(scope="module")
def request_(photos: list[UInt8Image], tmp_path_factory: pytest.TempPathFactory) -> Request:
    """A short measurement on two pictures."""
    folder = tmp_path_factory.mktemp("photos")
    for k, photo in enumerate(photos[:2]):
        Image.fromarray(photo).save(folder / f"{k}.png")
    budget = Budget(seconds=0.3, max_samples=8, min_samples=3, limit_seconds=120.0)
    return Request(images=tuple(sorted(folder.iterdir())), budget=budget)


def believed(result: Latency | NotRun) -> Latency:
    assert isinstance(result, Latency), result
    assert len(result.steady.samples_ms) >= 3
    assert all(ms > 0 for ms in (*result.steady.samples_ms, result.load_ms or 0, result.first_ms or 0))
    assert result.images.source == "photographs"
    assert result.environment.notes["detections"].startswith("as on this host")
    return result


def test_both_runtimes_on_webassembly_find_what_the_host_finds(
    exported: Export, measure: Measure, request_: Request
) -> None:
    """Both layouts of .tflite, suppression inside the file and in the page; .onnx fed pixels and whole pictures."""
    variants: list[tuple[str, dict[str, str]]] = [
        ("tflite", {}),
        ("tflite", {"tflite_layout": "mediapipe-gpu"}),
        ("onnx", {}),
        ("onnx", {"onnx_input": "uint8-hwc"}),
    ]
    files = [exported(_NETWORK, format, "fp32", **options).artifact.path for format, options in variants]
    refused, *rest = measure("", [Path("none.onnx"), *files], request_, *NO_GPU)
    assert isinstance(refused, NotRun)
    results = [believed(result) for result in rest]
    litert, onnxruntime = f"LiteRT.js {VERSIONS['@litertjs/core']}", f"onnxruntime-web {VERSIONS['onnxruntime-web']}"
    assert [result.runtime for result in results] == [litert, litert, onnxruntime, onnxruntime]
    for result in results:
        assert (result.provider, result.device.name) == ("WebAssembly", "browser:wasm")
        assert "Chrome" in result.device.details["browser"]
        assert result.device.details["cross-origin isolated"] == "yes"
        assert result.device.details["WebGPU"] == "no adapter"
        assert (result.environment.threads or 0) >= 1


def test_webgpu_finds_what_the_host_finds(exported: Export, measure: Measure, request_: Request) -> None:
    """On a GPU that Chromium imitates: its times mean nothing, its boxes do. At a camera's rate, over https."""
    encodings = exported(_NETWORK, "tflite", "fp32", tflite_layout="mediapipe-gpu").artifact.path
    request = replace(request_, mode=Rate(5.0), threads=1)
    result = believed(*measure("webgpu", [encodings], request, *SOFTWARE_GPU, https=True))
    assert (result.provider, result.device.name) == ("WebGPU", "browser:webgpu")
    assert result.rate is not None
    assert result.rate.fps == 5.0


def test_a_browser_without_webgpu_says_so(exported: Export, measure: Measure, request_: Request) -> None:
    onnx = exported(_NETWORK, "onnx", "fp32").artifact.path
    (result,) = measure("webgpu", [onnx], request_, *NO_GPU)
    assert isinstance(result, NotRun)
    assert "WebGPU is not there: no adapter" in result.reason
