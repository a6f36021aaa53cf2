"""`edgedet bench` with devices that are not there, several at once, and fleets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgedet.benchmarks.devices import android, fleet, open_devices
from edgedet.cli import main
from edgedet.errors import ConfigError


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv(android.TOOL_VARIABLE, raising=False)


def test_devices_that_are_not_there_read_not_run(
    model_pt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "latency.json"
    devices = ["--device", "android", "--device", "ssh:nowhere.invalid", "--device-option", "python=python9"]
    assert main(["bench", str(model_pt), *devices, "--json", str(out)]) == 1
    printed = capsys.readouterr().out
    assert "runs .tflite files only" in printed
    assert "run on this host only" in printed
    rows = json.loads(out.read_text())["results"]
    assert [(row["status"], row["device"]) for row in rows] == [
        ("not run", "android"),
        ("not run", "ssh:nowhere.invalid"),
    ]


def test_an_option_goes_to_the_kinds_that_have_it() -> None:
    phone, board, host = open_devices(["android", "ssh:a@b", "host"], {"python": "python9", "runs": "single"})
    assert getattr(phone, "single", None) is True
    assert getattr(board, "python", None) == "python9"
    assert host.name == "host"
    with pytest.raises(ConfigError, match="none of the devices has an option 'runs'"):
        open_devices(["host", "ssh:a@b"], {"runs": "single"})
    with pytest.raises(ConfigError, match="no kind of device called 'phone'"):
        open_devices(["phone"], {})


def test_a_fleet_takes_everything_from_its_file(
    model_pt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "WORKER", (str(Path(__file__).with_name("fleet_worker_stand_in.py")),))
    path = tmp_path / "fleet.yaml"
    path.write_text(f"schema: 1\ndevices: [android]\nfiles: ['{model_pt}']\n")
    assert main(["bench", "--fleet", str(path)]) == 1
    assert "android is a stand-in" in capsys.readouterr().out
    assert main(["bench", "--fleet", str(path), "--threads", "2"]) == 1
    assert "--fleet takes devices and settings from its file" in capsys.readouterr().err
    assert main(["bench"]) == 1
    assert "no model file is given" in capsys.readouterr().err


def test_the_list_of_devices_names_their_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--devices"]) == 0
    printed = capsys.readouterr().out
    assert "android:SERIAL" in printed
    assert "--device-option benchmark_model=" in printed
    assert "ssh:USER@HOST" in printed
