"""Kits for Macs. The script runs with a stand-in for coremltools' predictions (Core ML exists on Macs only); for phones
with coremltools itself, whose messages to the phone are answered here."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgedet.benchmarks.devices import mac, open_device
from edgedet.benchmarks.devices.coreml_kit import JOB, README, RESULT, SCRIPT, make_kit
from edgedet.benchmarks.devices.coreml_kit_result import Plan, PlannedOperator, plan_notes, read_kit_result
from edgedet.benchmarks.latency import Latency, NotRun, read_results
from edgedet.benchmarks.report import write_report
from edgedet.benchmarks.report_collect import make_entry
from edgedet.benchmarks.report_join import join_results
from edgedet.benchmarks.request import Budget, Rate, Request, Steady, Sustained
from edgedet.cli import main
from edgedet.errors import ConfigError, DataError, EdgedetError, NotRunError
from edgedet.export.artifact import file_digest
from tests.export.coreml_packages import copy_of, exported, yolo

_STAND_IN = Path(__file__).with_name("coreml_stand_in")
_SHORT = Request(budget=Budget(seconds=0.1, max_samples=30))


@pytest.fixture
def a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    """Child processes find the stand-in for coremltools, and take this for a Mac."""
    monkeypatch.setenv("PYTHONPATH", str(_STAND_IN))
    monkeypatch.setenv("PATH", f"{_STAND_IN / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(mac, "platform", SimpleNamespace(system=lambda: "Darwin"))


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    return make_kit(exported(yolo()), _SHORT, tmp_path / "kit")


def _run(kit: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(kit / SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def _script() -> ModuleType:
    path = Path(str(importlib.util.find_spec("edgedet.benchmarks").origin)).parent / "templates" / "coreml_kit.py"  # type: ignore[union-attr]
    spec = importlib.util.spec_from_file_location("coreml_kit_script", path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


def test_a_kit_holds_the_file_and_pictures_of_its_inputs_size(kit: Path) -> None:
    job = json.loads((kit / JOB).read_text())
    assert file_digest(kit / job["package"])[0] == job["facts"]["sha256"] == file_digest(exported(yolo()))[0]
    assert job["images"]["sizes_wh_px"][0] == [320, 240]
    assert job["request"]["images"] == []
    readme = (kit / README).read_text()
    assert "4 generated pictures" in readme
    assert "128 x 96" in readme
    assert "{" not in readme


@pytest.mark.usefixtures("a_mac")
def test_from_the_kit_to_the_result_and_back(kit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = _run(kit, "--units", "ALL,CPU_AND_GPU")
    assert ended.returncode == 1, ended.stderr
    assert "not run" in ended.stdout
    out = tmp_path / "latency.json"
    package = exported(yolo())
    assert main(["bench", str(package), "--import", str(kit / RESULT), "--json", str(out)]) == 1
    assert "CPU_AND_GPU" in capsys.readouterr().out
    measured, missing = read_results(out)
    assert isinstance(measured, Latency)
    assert (measured.artifact, measured.sha256) == (str(package), file_digest(package)[0])
    assert (measured.runtime, measured.provider) == ("Core ML (macOS 15.1 arm64)", "ALL")
    assert (measured.device.model, measured.device.memory_bytes) == ("Mac16,1, Apple M4", 17179869184)
    assert measured.load_ms == 12.0
    assert measured.steady.p50_ms is not None
    assert measured.steady.p50_ms >= 1.0
    notes = measured.environment.notes
    assert notes["compute plan"] == "2 on NeuralEngine, 1 on CPU"
    assert notes["outside the main device"] == "1 ios16.topk on CPU (NeuralEngine cannot run it)"
    assert notes["thermal state"].startswith("CPU_Speed_Limit = 100")
    assert isinstance(missing, NotRun)
    assert missing.device == "mac"
    assert "this stand-in has no GPU" in missing.reason
    page = write_report(tmp_path / "r.html", join_results([make_entry(package, None, None)], [out])[0], "t").read_text()
    assert "Mac16,1, Apple M4" in page
    assert "this stand-in has no GPU" in page


@pytest.mark.usefixtures("a_mac")
def test_a_mac_runs_the_same_script_itself() -> None:
    request = Request(budget=Budget(seconds=0.1, min_samples=3), mode=Rate(100.0))
    latency = open_device("mac", {"units": "CPU_ONLY"}).measure(exported(yolo()), request)
    assert latency.provider == "CPU_ONLY"
    assert latency.rate is not None
    with pytest.raises(NotRunError, match="this stand-in has no GPU"):
        open_device("mac", {"units": "CPU_AND_GPU"}).measure(exported(yolo()), _SHORT)


@pytest.mark.usefixtures("a_mac")
def test_a_package_that_was_changed_is_not_measured(kit: Path) -> None:
    package = kit / f"{yolo().name}.mlpackage"
    (package / ".DS_Store").write_bytes(b"Finder was here")
    assert _run(kit, "--units", "ALL").returncode == 0
    (package / "Manifest.json").write_text("{}")
    ended = _run(kit)
    assert ended.returncode == 1
    assert "is not the file that the kit was made for" in ended.stderr


def test_elsewhere_nothing_runs(kit: Path) -> None:
    ended = _run(kit)
    assert ended.returncode == 1
    assert "Core ML is on Macs only" in ended.stderr
    for name in ("mac", "ios", "ios:00008110-0001"):
        with pytest.raises(NotRunError, match="needs macOS") as caught:
            open_device(name).measure(exported(yolo()), _SHORT)
        assert "--make-kit coreml" in caught.value.remedy
        with pytest.raises(NotRunError, match="needs macOS"):
            open_device(name).describe()
    with pytest.raises(ConfigError, match="no other name"):
        open_device("mac:book")
    with pytest.raises(ConfigError, match="'GPU' are not Core ML's"):
        open_device("ios", {"units": "GPU"})


def test_what_a_kit_cannot_be_made_of(model_pt: Path, kit: Path, tmp_path: Path) -> None:
    with pytest.raises(NotRunError, match="mlpackage files only"):
        make_kit(model_pt, _SHORT, tmp_path / "other")
    with pytest.raises(EdgedetError, match="is not empty"):
        make_kit(exported(yolo()), _SHORT, kit)
    with pytest.raises(NotRunError, match="chooses threads"):
        make_kit(exported(yolo()), Request(threads=1), tmp_path / "other")
    assert main(["bench", str(exported(yolo())), "--make-kit", "coreml"]) == 1
    assert main(["bench", str(exported(yolo())), "--make-kit", "snpe", "--out", str(tmp_path / "x")]) == 1


def _answer(kit: Path, **changes: Any) -> Path:
    """A result as the script writes it, with fields of its only row replaced."""
    row = {
        "compute_units": "ALL",
        "device": {"kind": "mac", "name": "mac", "model": "m", "cpu": "c", "cores": 8, "memory_bytes": 1, "os": ""},
        "load_ms": 5.0, "first_ms": 4.0, "runs_ms": [2.0, 3.0], "wall_ms": [2.5, 3.5], "starts_s": [0.0, 0.01],
        "peak_memory_bytes": 10, "load_average_1m": [1.0, 1.0], "versions": {}, "notes": {},
        "plan": {"missing": "none", "operators": []},
    } | changes  # fmt: skip
    job = json.loads((kit / JOB).read_text())
    path = kit / RESULT
    path.write_text(json.dumps({"schema": 1, "kit": "coreml", "job": job, "results": [row]}))
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"runs_ms": [2.0, -3.0]}, "not a positive number"),
        ({"runs_ms": [2.0, float("nan")]}, "not a positive number"),
        ({"load_ms": 0.0}, "not a positive number"),
        ({"runs_ms": []}, "no run was recorded"),
        ({"runs_ms": [2.0]}, "1 times, 2 seen from outside"),
        ({"runs_ms": [2.0, 30.0]}, "longer than the call"),
        ({"starts_s": [0.0, 0.001]}, "before the one before it had ended"),
        ({"device": None}, "the device is not named"),
        ({"load_average_1m": "low"}, "not the result of a Core ML kit"),
    ],
)
def test_a_result_that_cannot_be_true_is_refused(kit: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_kit_result(_answer(kit, **changes), [exported(yolo())])


def test_a_result_is_joined_by_digest(kit: Path, tmp_path: Path) -> None:
    path = _answer(kit)
    (latency,) = read_kit_result(path)
    assert isinstance(latency, Latency)
    assert latency.artifact == f"{yolo().name}.mlpackage"
    other = copy_of(exported(yolo()), tmp_path)
    (other / "more.txt").write_text("changed")
    with pytest.raises(DataError, match="has another"):
        read_kit_result(path, [other])
    for text in (
        "",
        "[]",
        '{"schema": 9, "kit": "coreml"}',
        '{"schema": 1, "kit": "coreml", "job": {}, "results": []}',
    ):
        path.write_text(text)
        with pytest.raises(DataError, match="not the result of a Core ML kit"):
            read_kit_result(path)


def test_operators_outside_the_main_device_are_named_with_the_reason() -> None:
    rows = [("conv", "NeuralEngine", ("CPU", "NeuralEngine")), ("conv", "NeuralEngine", ("CPU", "NeuralEngine"))]
    rows += [("cast", "CPU", ("CPU", "NeuralEngine")), ("topk", "CPU", ("CPU",))]
    plan = Plan("", tuple(PlannedOperator(name, "", device, can, None) for name, device, can in rows))
    assert plan_notes(plan) == {
        "compute plan": "2 on NeuralEngine, 2 on CPU",
        "outside the main device": "1 cast on CPU (Core ML's choice), 1 topk on CPU (NeuralEngine cannot run it)",
    }
    assert plan_notes(Plan("none: macOS 14.4 is needed", ())) == {"compute plan": "none: macOS 14.4 is needed"}


def test_times_follow_the_mode() -> None:
    script = _script()
    budget = vars(Budget(seconds=0.02, min_samples=2, max_samples=4))
    for mode, count in ((Steady(), 4), (Rate(1000.0), 20), (Sustained(0.0005), 30)):
        runs, walls, starts = script.recorded(lambda _: (1.0, 2.0), [{}], {"mode": vars(mode), "budget": budget})
        assert len(runs) == len(walls) == len(starts)
        assert len(runs) == count if isinstance(mode, Steady) else len(runs) >= 2
        assert starts == sorted(starts)
    assert script.limits(vars(Steady(early_stopping=True)), budget) == (60.0, 1024, sys.maxsize)


class _Phone:
    """What the helper app on a phone answers."""

    load_duration_in_nano_seconds = 30_000_000
    last_predict_duration_in_nano_seconds = 4_000_000

    async def predict(self, inputs: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
        (values,) = inputs.values()
        assert (values.shape, values.dtype, values.flags.c_contiguous) == ((1, 3, 96, 128), np.float32, True)
        assert values.max() > 1.0
        await asyncio.sleep(0.005)
        return {}

    async def retrieve_compute_plan(self) -> None:
        raise ValueError("needs iOS 17.4")


@pytest.fixture
def attached(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """iPhones that coremltools sees; all that needs Xcode or the phone itself is answered here."""
    from coremltools.models.ml_program.experimental import async_wrapper, remote_device

    kind, state = remote_device.DeviceType.IPHONE, remote_device.DeviceState.CONNECTED
    phones = [remote_device.Device("Ada's iPhone", kind, "id", "UDID-1", "18.1", "22B83", "enabled", state, None)]

    async def prepare(self: Any, credentials: Any) -> Any:
        if credentials.development_team != "TEAM":
            raise ValueError("Signing needs a development team.")
        return self

    async def load(**options: Any) -> _Phone:
        return _Phone()

    monkeypatch.setattr(remote_device.Device, "get_devices", staticmethod(lambda: phones))
    monkeypatch.setattr(remote_device.Device, "prepare_for_model_debugging", prepare)
    monkeypatch.setattr(async_wrapper, "compile_model", lambda model, destination_path: None)
    monkeypatch.setattr(async_wrapper._RemoteMLModelService, "load_on_device", staticmethod(load))
    return phones


def _on_phone(kit: Path, monkeypatch: pytest.MonkeyPatch, udid: str = "", team: str = "TEAM") -> dict[str, Any]:
    script = _script()
    monkeypatch.setattr(script, "HERE", kit)
    monkeypatch.setattr(script, "PICTURES_ON_A_PHONE", 5)
    job = json.loads((kit / JOB).read_text())
    row: dict[str, Any] = script.measure_one(job, "CPU_AND_NE", Namespace(ios=udid, team=team))
    return row


def test_a_phone_is_measured_through_coremltools(
    kit: Path, attached: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = _on_phone(kit, monkeypatch, "UDID-1")
    path = _answer(kit, **row)
    (latency,) = read_kit_result(path, [exported(yolo())])
    assert isinstance(latency, Latency), latency.reason
    assert (latency.device.name, latency.device.os) == ("ios:UDID-1", "iOS 18.1 (22B83)")
    assert (latency.load_ms, latency.first_ms, latency.steady.p50_ms) == (30.0, 4.0, 4.0)
    assert latency.provider == "CPU_AND_NE"
    assert "needs iOS 17.4" in latency.environment.notes["compute plan"]
    assert "declared as an array" in latency.environment.notes["input"]


def test_phones_that_cannot_be_measured(kit: Path, attached: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Signing needs a development team" in _on_phone(kit, monkeypatch, team="")["not_run"]
    absent = _on_phone(kit, monkeypatch, "UDID-9")
    assert "no such iPhone or iPad is connected" in absent["not_run"]
    assert absent["where"] == "ios:UDID-9"
    attached.append(SimpleNamespace(**{**vars(attached[0]), "udid": "UDID-2"}))
    assert "choose with --ios UDID: UDID-1, UDID-2" in _on_phone(kit, monkeypatch)["not_run"]
    old = make_kit(exported(yolo(), coreml_target="iOS14"), _SHORT, kit.parent / "old")
    assert "takes no arrays" in _on_phone(old, monkeypatch, "UDID-1")["not_run"]
    paced = make_kit(exported(yolo()), Request(mode=Rate(30.0)), kit.parent / "paced")
    assert "only the steady mode" in _on_phone(paced, monkeypatch, "UDID-1")["not_run"]
