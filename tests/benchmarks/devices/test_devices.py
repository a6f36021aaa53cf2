"""The table of devices, and this machine as one of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgedet.benchmarks import commands_bench, devices
from edgedet.benchmarks.devices import DEVICES, DeviceKind, measure_each, open_device
from edgedet.benchmarks.latency import Latency, NotRun
from edgedet.benchmarks.request import Budget, Request
from edgedet.errors import ConfigError, DataError, NotRunError
from tests.benchmarks.conftest import latency_of
from tests.benchmarks.test_harness import app

QUICK = Budget(seconds=0.1, max_samples=6, min_samples=3)


@pytest.mark.parametrize("row", DEVICES, ids=lambda row: row.prefix)
def test_every_kind_has_a_module_that_opens_it(row: DeviceKind) -> None:
    assert row.help
    module = __import__(row.module, fromlist=["open_device"])
    assert callable(module.open_device)


def test_names_and_options_that_do_not_exist() -> None:
    with pytest.raises(ConfigError, match="no kind of device called 'toaster'"):
        open_device("toaster:1")
    with pytest.raises(ConfigError, match="device 'host' has no option 'colour'"):
        open_device("host", {"colour": "red"})
    with pytest.raises(ConfigError, match="host:other"):
        open_device("host:other")


def test_a_missing_library_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "DEVICES", (DeviceKind("host", "edgedet.no_such_module", "", extra="phones"),))
    with pytest.raises(NotRunError, match=r"pip install 'edgedet\[phones\]'"):
        open_device("host")


class Fails:
    name = "fails"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def describe(self) -> object:
        raise self.error

    def measure(self, file: Path, request: Request) -> Latency:
        if file.name == "good.onnx":
            return latency_of("good.onnx", "runtime 1")
        raise self.error


def test_one_file_that_fails_does_not_stop_the_others() -> None:
    device = Fails(NotRunError("gone", "Plug it in."))
    first, second = measure_each(device, [Path("bad.onnx"), Path("good.onnx")], Request())  # type: ignore[arg-type]
    assert first == NotRun("bad.onnx", "gone. Plug it in.", "fails")
    assert isinstance(second, Latency)
    with pytest.raises(DataError):
        measure_each(Fails(DataError("a.jpg", "")), [Path("bad.onnx")], Request())  # type: ignore[arg-type]


def test_this_machine_describes_itself() -> None:
    info = open_device("host").describe()
    assert (info.kind, info.name, info.cores) == ("host", "host", os.cpu_count())


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="not run: this system cannot pin a process to cores")
def test_cores_are_pinned_and_recorded(model_pt: Path) -> None:
    core = min(os.sched_getaffinity(0))
    latency = open_device("host").measure(model_pt, Request(threads=1, cores=(core,), budget=QUICK))
    assert latency.environment.pinned_cores == (core,)
    assert latency.environment.usable_cores == 1
    with pytest.raises(NotRunError, match=r"cores \(4096,\)"):
        open_device("host").measure(model_pt, Request(cores=(4096,), budget=QUICK))


def test_options_of_the_command() -> None:
    assert commands_bench.parse_cores("1, 0,1") == (0, 1)
    assert commands_bench.device_options(["a=b=c", "d="]) == {"a": "b=c", "d": ""}
    for words in (["--cores", "a"], ["--device-option", "x"], ["--rate", "5", "--sustained", "1"]):
        result = CliRunner().invoke(app(), ["bench", "model.pt", *words])
        assert isinstance(result.exception, ConfigError), words
    listed = CliRunner().invoke(app(), ["bench", "--devices"])
    assert listed.exit_code == 0
    assert all(row.help in listed.output for row in DEVICES)
