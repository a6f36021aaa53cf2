"""The android adapter: the real adb program against a stand-in phone that runs the commands on this machine."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgedet.benchmarks.devices import android, android_folder, open_device, raw_inputs
from edgedet.benchmarks.devices.adb import DeviceGoneError
from edgedet.benchmarks.devices.android import AndroidDevice
from edgedet.benchmarks.latency import Latency
from edgedet.benchmarks.request import Budget, Rate, Request, Steady, Sustained
from edgedet.benchmarks.stats import Summary, ToolSummary
from edgedet.benchmarks.termination import cleaning_up_on_sigterm
from edgedet.errors import ConfigError, EdgedetError, ModelFileError, NotRunError
from edgedet.export.pictures import generated_pictures
from tests.benchmarks.devices.adb_stand_in import Faults, StandIn
from tests.benchmarks.devices.benchmark_model_stand_in import write_program
from tests.benchmarks.devices.phone import adb, adb_server, leftovers, make_phone
from tests.exported_files import Export

Plug = Callable[..., StandIn]
_QUICK = Request(budget=Budget(seconds=0.2, limit_seconds=60.0))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with adb_server(tmp_path_factory.mktemp("adb")):
        yield


@pytest.fixture
def plug(server: None, tmp_path: Path) -> Iterator[Plug]:
    """Connects stand-in phones; each is a keyword argument of Faults."""
    phones: list[StandIn] = []

    def connect(**faults: object) -> StandIn:
        root = make_phone(tmp_path / f"phone{len(phones)}")
        phone = StandIn(root, Faults(**faults))  # type: ignore[arg-type]
        phones.append(phone.__enter__())
        adb("connect", phone.serial)
        return phone

    yield connect
    for phone in phones:
        adb("disconnect", phone.serial)
        phone.__exit__()


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(android, "_WARMUP_SECONDS", 0.0)
    monkeypatch.setattr(android, "PROCESSES", 1)
    monkeypatch.setattr(android, "_PROFILED_RUNS", 2)
    monkeypatch.setattr(raw_inputs, "generated_pictures", lambda: generated_pictures()[:1])
    monkeypatch.setattr(android_folder, "RETURN_SECONDS", 3.0)


@pytest.fixture(scope="module")
def tflite(exported: Export) -> Path:
    return exported("ssdlite_mobilenet_v3_small", "tflite", "fp32").artifact.path


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return write_program(tmp_path / "benchmark_model", "tflite")


def _device(phone: StandIn, program: Path, **options: str) -> AndroidDevice:
    device = open_device(f"android:{phone.serial}", {"benchmark_model": str(program), **options})
    assert isinstance(device, AndroidDevice)
    return device


def test_a_file_is_timed_on_the_fast_cores_and_nothing_stays(
    plug: Plug, tflite: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(android, "PROCESSES", 3)
    phone = plug()
    latency = _device(phone, program).measure(tflite, _QUICK)
    assert latency.device.model == "Example Phone 9"
    assert (latency.device.cpu, latency.device.cores) == ("SOC123", 4)
    assert latency.device.details["clusters"] == "1 x 3000 MHz, 1 x 2400 MHz, 2 x 1800 MHz"
    assert latency.environment.pinned_cores == (2, 3)
    assert set((phone.root / "masks.txt").read_text().split()) == {"c"}
    assert latency.environment.governor == "schedutil"
    assert latency.environment.clock_mhz == (2900.0, 2900.0)
    assert latency.environment.temperature_c == (41.2, 41.2)
    assert latency.environment.notes["thermal status"] == "light before, light after"
    assert latency.environment.notes["battery"].startswith("83 %, 31.2 C, charging over USB before")
    assert "WHOLE_GRAPH" in latency.environment.notes["operators"]
    assert latency.images.source == "generated"
    assert isinstance(latency.steady, ToolSummary)
    assert latency.steady.p50_ms is not None
    assert latency.steady.aggregates_ms["min"] <= latency.steady.p50_ms <= latency.steady.aggregates_ms["max"]
    assert latency.peak_memory_bytes is not None
    assert latency.warmup.found == "by tool"
    assert Latency.from_json(latency.to_json()) == latency
    assert leftovers(phone.root) == []


def test_the_litert_dialect_takes_no_pictures_and_says_so(plug: Plug, tflite: Path, tmp_path: Path) -> None:
    program = write_program(tmp_path / "benchmark_model", "litert")
    latency = _device(plug(), program).measure(tflite, _QUICK)
    assert latency.runtime == "LiteRT benchmark_model"
    assert (latency.images.source, latency.images.sizes_wh_px) == ("random", ((128, 96),))
    assert latency.steady.p50_ms is not None
    assert "WHOLE_GRAPH" in latency.environment.notes["operators"]


def test_single_runs_are_samples(plug: Plug, tflite: Path, program: Path) -> None:
    request = Request(budget=Budget(seconds=0.1, max_samples=6, min_samples=6))
    latency = _device(plug(), program, runs="single").measure(tflite, request)
    assert isinstance(latency.steady, Summary)
    assert len(latency.steady.samples_ms) == 6
    assert latency.steady.p90_ms is not None


def test_sustained_runs_are_samples_in_time(plug: Plug, tflite: Path, program: Path) -> None:
    latency = _device(plug(), program).measure(tflite, Request(mode=Sustained(0.03)))
    assert latency.sustained is not None
    assert latency.sustained.burst_ms > 0


def test_at_a_rate_the_tool_waits_between_runs(plug: Plug, tflite: Path, program: Path) -> None:
    phone = plug()
    latency = _device(phone, program).measure(tflite, Request(mode=Rate(50.0), budget=Budget(seconds=0.2)))
    assert latency.rate is None  # the tool does not say which runs were late
    assert any("--run_frequency=50" in command for command in phone.commands)


def test_an_old_phone_passes_no_exit_codes_on(plug: Plug, tflite: Path, program: Path) -> None:
    phone = plug(no_shell_v2=True)
    assert _device(phone, program).measure(tflite, _QUICK).steady.p50_ms is not None
    with pytest.raises(EdgedetError, match="Failed to load model"):
        _device(phone, program, flags="--graph=/data/local/tmp/missing").measure(tflite, _QUICK)
    assert leftovers(phone.root) == []


def test_the_app_is_installed_run_and_removed(plug: Plug, tflite: Path, tmp_path: Path) -> None:
    phone = plug()
    write_program(phone.root / "app", "tflite")
    apk = tmp_path / "benchmark.apk"
    apk.write_bytes(b"PK\3\4 an app")
    latency = _device(phone, apk).measure(tflite, Request(budget=Budget(seconds=0.1)))
    assert latency.steady.p50_ms is not None
    assert latency.environment.pinned_cores is None
    assert not (phone.root / "app.txt").exists()
    started = (phone.root / "am.txt").read_text()
    assert "start -S -n org.tensorflow.lite.benchmark/.BenchmarkModelActivity --es args" in started
    assert "force-stop org.tensorflow.lite.benchmark" in started
    assert leftovers(phone.root) == []


def test_an_app_that_is_not_there_is_not_run(plug: Plug, tflite: Path) -> None:
    with pytest.raises(NotRunError, match=r"the app .* is not installed"):
        _device(plug(), Path("apk")).measure(tflite, _QUICK)


def test_a_plug_pulled_during_a_copy(plug: Plug, tflite: Path, program: Path) -> None:
    phone = plug(cut_push_after=70_000)
    with pytest.raises(DeviceGoneError, match="the connection broke off") as caught:
        _device(phone, program).measure(tflite, _QUICK)
    assert "stays there" not in str(caught.value)
    assert leftovers(phone.root) == []  # the phone was back within seconds


def test_a_plug_pulled_during_a_run(plug: Plug, tflite: Path, program: Path) -> None:
    phone = plug(cut_shell="--num_runs")
    with pytest.raises(DeviceGoneError, match="the connection broke off"):
        _device(phone, program, flags="--min_secs=20").measure(tflite, _QUICK)
    assert leftovers(phone.root) == []
    assert not _running(phone.root)


def test_a_plug_pulled_for_good_names_what_stays(plug: Plug, tflite: Path, program: Path) -> None:
    phone = plug(cut_shell="--num_runs")
    threading.Timer(0.2, lambda: setattr(phone.faults, "stays_away", True)).start()
    with pytest.raises(DeviceGoneError, match=r"/data/local/tmp/edgedet-\w+ stays there"):
        _device(phone, program, flags="--min_secs=5").measure(tflite, _QUICK)


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_ctrl_c_and_sigterm_leave_nothing_behind(
    plug: Plug, tflite: Path, program: Path, monkeypatch: pytest.MonkeyPatch, number: int, raised: type[BaseException]
) -> None:
    phone = plug()
    device = _device(phone, program, flags="--min_secs=20")
    real = android.benchmark_model.arguments

    def interrupted(*arguments: object) -> list[str]:
        threading.Timer(1.0, os.kill, (os.getpid(), number)).start()
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(android.benchmark_model, "arguments", interrupted)
    with cleaning_up_on_sigterm(), pytest.raises(raised):
        device.measure(tflite, _QUICK)
    assert leftovers(phone.root) == []
    assert not _running(phone.root)


def _running(root: Path) -> list[str]:
    """Command lines of this machine's processes that work in the phone's folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"{root}/data/local/tmp" in line:
            found.append(line)
    return found


def test_a_tool_that_is_killed(plug: Plug, tflite: Path, program: Path) -> None:
    phone = plug()
    with pytest.raises(EdgedetError, match="ended by signal 9 in mid-run"):
        _device(phone, program, flags="--die=1").measure(tflite, _QUICK)
    assert leftovers(phone.root) == []


def test_a_tool_for_another_architecture(plug: Plug, tflite: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "benchmark_model"
    foreign.write_bytes(b"\x7fELF\2\1\1" + bytes(60) + b"enable_op_profiling")
    with pytest.raises(NotRunError, match="cannot be executed there"):
        _device(plug(), foreign).measure(tflite, _QUICK)


def test_a_full_phone(plug: Plug, tflite: Path, program: Path) -> None:
    phone = plug(full=True)
    with pytest.raises(EdgedetError, match="no space left for benchmark_model"):
        _device(phone, program).measure(tflite, _QUICK)
    assert leftovers(phone.root) == []
    (phone.root / "free_kb.txt").write_text("12")
    with pytest.raises(NotRunError, match="no space: 0 MB free"):
        _device(phone, program).measure(tflite, _QUICK)


def test_a_phone_that_does_not_trust_this_computer(plug: Plug) -> None:
    phone = plug(unauthorized=True)
    with pytest.raises(NotRunError, match="trust this computer"):
        open_device(f"android:{phone.serial}").describe()


def test_a_phone_that_went_away_is_offline(plug: Plug) -> None:
    phone = plug()
    phone.faults.stays_away = True
    phone.unplug()
    time.sleep(0.3)
    with pytest.raises(NotRunError, match="the device is offline"):
        open_device(f"android:{phone.serial}").describe()


def test_no_phone_one_phone_several_phones(plug: Plug) -> None:
    with pytest.raises(NotRunError, match="no device is connected"):
        open_device("android").describe()
    first = plug()
    assert open_device("android").describe().details["serial"] == first.serial
    second = plug()
    with pytest.raises(NotRunError, match="several devices are connected") as caught:
        open_device("android").describe()
    assert first.serial in str(caught.value)
    assert second.serial in str(caught.value)
    with pytest.raises(NotRunError, match="there is no such device"):
        open_device("android:absent").describe()


def test_adb_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(NotRunError, match="adb is not installed"):
        open_device("android").describe()


def test_an_adb_that_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        threading.Thread(target=lambda: taken.accept()[0].close(), daemon=True).start()
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(taken.getsockname()[1]))
        with pytest.raises(NotRunError, match="adb does not work"):
            open_device("android").describe()


def test_no_tool_or_another_file(tflite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(android.TOOL_VARIABLE, raising=False)
    with pytest.raises(NotRunError, match="no benchmark_model is named"):
        open_device("android").measure(tflite, _QUICK)
    with pytest.raises(ModelFileError, match="there is no such file"):
        open_device("android", {"benchmark_model": str(tmp_path / "none")}).measure(tflite, _QUICK)
    with pytest.raises(ModelFileError, match="is not a benchmark_model binary"):
        open_device("android", {"benchmark_model": str(tflite)}).measure(tflite, _QUICK)


def test_other_files_modes_and_options_are_refused(model_pt: Path, tflite: Path, program: Path) -> None:
    device = open_device("android", {"benchmark_model": str(program)})
    with pytest.raises(NotRunError, match=r"runs \.tflite files only"):
        device.measure(model_pt, _QUICK)
    with pytest.raises(NotRunError, match="early stopping needs single runs"):
        device.measure(tflite, Request(mode=Steady(early_stopping=True)))
    with pytest.raises(ConfigError, match="neither summary nor single"):
        open_device("android", {"runs": "many"})
