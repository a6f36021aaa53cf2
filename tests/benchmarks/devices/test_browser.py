"""The browser as a device, seen from this side: a stand-in posts what a page would, or what it should not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedet.benchmarks.devices import Batching, browser, measure_each, open_device
from edgedet.benchmarks.devices.browser import BrowserDevice
from edgedet.benchmarks.devices.browser_jobs import Job, job_files, read_file
from edgedet.benchmarks.devices.browser_packages import FOLDER_VARIABLE, package_files
from edgedet.benchmarks.devices.browser_terminal import announce, qr_code
from edgedet.benchmarks.latency import Latency, NotRun
from edgedet.benchmarks.request import Budget, Request, Sustained
from edgedet.errors import ConfigError, DataError, NotRunError
from edgedet.export.pictures import generated_pictures
from edgedet.formats import load
from edgedet.preprocess import to_network_pixels
from tests.benchmarks.devices.browser_page import Posting
from tests.benchmarks.devices.test_browser_server import BROWSER
from tests.exported_files import Export

QUICK = Request(budget=Budget(seconds=0.2, limit_seconds=30.0))
SOON = Request(budget=Budget(seconds=0.2, limit_seconds=0.8))


@pytest.fixture(scope="module")
def onnx(exported: Export) -> Path:
    return exported("ssdlite_mobilenet_v3_small", "onnx", "fp32").artifact.path


@pytest.fixture(autouse=True)
def _no_packages_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in fetches nothing."""
    monkeypatch.setattr(browser, "package_files", dict)


@pytest.fixture(scope="module")
def result(onnx: Path) -> dict[str, Any]:
    """What a page posts that finds what this host finds."""
    runner = load(onnx)
    detections = []
    for picture in generated_pictures():
        found = runner.infer(to_network_pixels(picture, runner.spec.input))
        detections.append(
            {
                "boxes_xyxy_unit": found.boxes_xyxy_unit.tolist(),
                "scores": found.scores.tolist(),
                "class_ids": found.class_ids.tolist(),
            }
        )
    assert sum(len(one["scores"]) for one in detections) > 4
    return {
        "session": "1", "job": 0, "status": "measured", "runtime": "onnxruntime-web 9", "provider": "WebAssembly",
        "threads": 2, "load_ms": 11.0, "first_ms": 22.0, "starts_s": [k * 0.01 for k in range(40)],
        "runs_ms": [5.0 + k % 3 for k in range(40)], "detections": detections, "notes": {"said": "something"},
    }  # fmt: skip


def measure(onnx: Path, *messages: tuple[str, dict[str, Any]], request: Request = QUICK) -> list[Latency | NotRun]:
    return measure_each(BrowserDevice(announce=Posting(*messages), wait_s=30.0), [onnx], request)


def test_what_a_page_posts_becomes_a_latency(onnx: Path, result: dict[str, Any]) -> None:
    (latency,) = measure(onnx, ("browser", BROWSER), ("result", result), ("done", {"session": "1", "results": 1}))
    assert isinstance(latency, Latency)
    assert (latency.runtime, latency.provider, latency.format) == ("onnxruntime-web 9", "WebAssembly", "onnx")
    assert (latency.load_ms, latency.first_ms, latency.environment.threads) == (11.0, 22.0, 2)
    assert set(latency.steady.samples_ms) <= {5.0, 6.0, 7.0}
    assert (latency.device.kind, latency.device.name, latency.device.model) == ("browser", "browser:wasm", "Linux")
    assert (latency.device.cores, latency.device.memory_bytes) == (2, 8 * 2**30)
    assert latency.device.details["browser"] == "test"
    notes = latency.environment.notes
    found = sum(len(one["scores"]) for one in result["detections"])
    assert notes["detections"].startswith(f"as on this host: {found} of {found} the same, 0 ties, boxes within 0.0000")
    assert "threads allowed" in notes["isolation"]
    assert notes["said"] == "something"
    assert Latency.from_json(latency.to_json()) == latency


def test_webgpu_has_a_result_of_its_own_where_it_is_there(onnx: Path, result: dict[str, Any]) -> None:
    there = {**BROWSER, "webgpu": {"there": True, "text": "a GPU"}}
    on_gpu = {**result, "job": 1, "provider": "WebGPU"}
    messages = (("browser", there), ("result", result), ("result", on_gpu), ("done", {"session": "1", "results": 2}))
    rows = measure(onnx, *messages)
    assert [isinstance(row, Latency) and row.device.name for row in rows] == ["browser:wasm", "browser:webgpu"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"boxes": 0.02}, "the browser's detections are not this host's"),
        ({"scores": -0.05}, "the browser's detections are not this host's"),
        ({"classes": 1000}, "classes that the file does not have"),
        ({"pictures": 1}, "answered on 1 of 4 pictures"),
    ],
)
def test_times_of_wrong_boxes_are_not_believed(
    onnx: Path, result: dict[str, Any], change: dict[str, float], reason: str
) -> None:
    detections = [
        {
            "boxes_xyxy_unit": (np.array(one["boxes_xyxy_unit"]).reshape(-1, 4) + change.get("boxes", 0)).tolist(),
            "scores": (np.array(one["scores"]) + change.get("scores", 0)).clip(0, 1).tolist(),
            "class_ids": [int(k + change.get("classes", 0)) for k in one["class_ids"]],
        }
        for one in result["detections"]
    ][: int(change.get("pictures", 4))]
    wrong = {**result, "detections": detections}
    (row,) = measure(onnx, ("browser", BROWSER), ("result", wrong), ("done", {"session": "1", "results": 1}))
    assert isinstance(row, NotRun)
    assert reason in row.reason


def test_malformed_posts_and_strangers_change_nothing(onnx: Path, result: dict[str, Any]) -> None:
    posting = Posting(
        ("result", result), ("browser", BROWSER), ("result", {**result, "runs_ms": []}), ("elsewhere", {}),
        ("result", {**result, "session": "2", "load_ms": 99.0}), ("result", result),
        ("done", {"session": "2", "results": 1}), ("done", {"session": "1", "results": 1}),
    )  # fmt: skip
    (latency,) = measure_each(BrowserDevice(announce=posting, wait_s=30.0), [onnx], QUICK)
    assert isinstance(latency, Latency)
    assert latency.load_ms == 11.0
    assert posting.statuses[:7] == [204, 204, 400, 404, 204, 204, 204]


def test_a_page_that_is_opened_again_starts_again(onnx: Path, result: dict[str, Any]) -> None:
    again = {"session": "2"}
    messages = (("browser", BROWSER), ("result", result), ("browser", {**BROWSER, **again}))
    (row,) = measure(onnx, *messages, ("done", {**again, "results": 0}))
    assert isinstance(row, NotRun)
    messages += (("result", {**result, **again, "load_ms": 33.0}), ("done", {**again, "results": 1}))
    (row,) = measure(onnx, *messages)
    assert isinstance(row, Latency)
    assert row.load_ms == 33.0


def test_silence(onnx: Path, result: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """No browser comes; it comes and says nothing; it stops half-way, and what it said before is kept."""
    device = BrowserDevice(announce=lambda url: None, wait_s=0.1)
    (row,) = measure_each(device, [onnx], QUICK)
    assert isinstance(row, NotRun)
    assert "no browser opened the page within 0.00167 minutes" in row.reason
    with pytest.raises(NotRunError, match="no browser opened the page"):
        device.describe()
    with pytest.raises(NotRunError, match="no browser opened the page"):
        device.measure(onnx, QUICK)
    (row,) = measure(onnx, ("browser", BROWSER), request=SOON)
    assert isinstance(row, NotRun)
    assert "the browser said nothing more within" in row.reason
    there = {**BROWSER, "webgpu": {"there": True, "text": "a GPU"}}
    first, second = measure(onnx, ("browser", there), ("result", result), request=SOON)
    assert isinstance(first, Latency)
    assert isinstance(second, NotRun)
    refused = {"session": "1", "job": 0, "status": "not run", "reason": "out of memory"}
    (row,) = measure(onnx, ("browser", BROWSER), ("result", refused), ("done", {"session": "1", "results": 1}))
    assert isinstance(row, NotRun)
    assert "out of memory (test)" in row.reason


def test_faults_of_one_file_do_not_stop_the_others(onnx: Path, model_pt: Path, tmp_path: Path) -> None:
    silent = BrowserDevice(announce=lambda url: None, wait_s=0.1)
    assert isinstance(silent, Batching)
    rows = measure_each(silent, [model_pt, tmp_path / "none.onnx", onnx], QUICK)
    reasons = [row.reason for row in rows if isinstance(row, NotRun)]
    assert len(reasons) == 3
    assert "run on this host only" in reasons[0]
    assert "there is no such file" in reasons[1]
    assert "no browser opened the page" in reasons[2]
    (row,) = measure_each(silent, [onnx], Request(cores=(0,)))
    assert isinstance(row, NotRun)
    assert "cannot be pinned" in row.reason
    with pytest.raises(DataError):
        measure_each(silent, [onnx], Request(images=(tmp_path / "no.jpg",)))


def test_an_address_that_is_not_ours(onnx: Path) -> None:
    (row,) = measure_each(BrowserDevice(address="203.0.113.1", announce=lambda url: None), [onnx], QUICK)
    assert isinstance(row, NotRun)
    assert "203.0.113.1:0: cannot be served from" in row.reason


def test_without_the_packages_it_says_how_to_get_them(
    onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(browser, "package_files", package_files)
    (row,) = measure_each(BrowserDevice(announce=lambda url: None, wait_s=0.1), [onnx], QUICK)
    assert isinstance(row, NotRun)
    assert "are not installed. Run: python -m edgedet.benchmarks.devices.browser_packages" in row.reason


def test_names_and_options() -> None:
    local = open_device("browser:webgpu", {"address": "127.0.0.1", "minutes": "2", "port": "8443"})
    assert isinstance(local, BrowserDevice)
    assert (local.name, local.backend, local.port, local.wait_s) == ("browser:webgpu", "webgpu", 8443, 120.0)
    assert local.https is False
    assert open_device("browser", {"address": "192.0.2.1"}) == BrowserDevice(address="192.0.2.1", https=True)
    assert open_device("browser", {"address": "192.0.2.1", "https": "no"}) == BrowserDevice(address="192.0.2.1")
    for wrong in ({"port": "x"}, {"port": "70000"}, {"https": "maybe"}, {"minutes": "-1"}, {"minutes": "nan"}):
        with pytest.raises(ConfigError):
            open_device("browser", wrong)
    with pytest.raises(ConfigError, match="browser:gpu: there is no such backend"):
        open_device("browser:gpu")
    assert browser.local_address().count(".") == 3


def test_the_page_is_asked_for_the_mode(onnx: Path) -> None:
    """A job carries everything that the page needs, and each picture is fed as the file takes it."""
    request = Request(threads=2, mode=Sustained(0.5))
    file = read_file(0, onnx, request)
    files = job_files([Job(0, file, "wasm", False)], request)
    value = files["jobs.json"]
    assert isinstance(value, bytes)
    (job,) = json.loads(value)["jobs"]
    assert (job["seconds"], job["max_samples"], job["fps"], job["threads"]) == (30.0, None, None, 2)
    assert job["input"]["shapes"] == [[1, 3, 96, 128]] * 4
    assert set(job["input"]["urls"]) | {job["url"]} | {one["url"] for one in job["pictures"]} < set(files)
    sent = files[job["input"]["urls"][1]]
    assert isinstance(sent, bytes)
    expected = to_network_pixels(generated_pictures()[1], file.runner.spec.input).numpy().astype(np.float32)
    np.testing.assert_array_equal(np.frombuffer(sent, np.float32).reshape(3, 96, 128), expected)


def test_the_address_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    announce("https://192.0.2.1:1234/token/")
    shown = capsys.readouterr().err
    assert "https://192.0.2.1:1234/token/" in shown
    assert "warns of its certificate" in shown
    pytest.importorskip("segno", reason="not run: segno is not installed")
    code = qr_code("https://192.0.2.1:1234/token/").splitlines()
    assert len(code) > 10
    assert max(map(len, code)) <= 80
    assert code[3].rstrip() in shown
