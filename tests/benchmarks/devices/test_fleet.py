"""Fleets: a stand-in phone behind the real adb, a real sshd and hosts that are not there, all at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgedet.benchmarks.devices import fleet
from edgedet.benchmarks.devices.fleet import run_fleet
from edgedet.benchmarks.devices.fleet_file import Job, read_fleet
from edgedet.benchmarks.latency import Latency, NotRun, read_results
from edgedet.benchmarks.report_collect import make_entry
from edgedet.benchmarks.report_join import join_results
from edgedet.benchmarks.request import Rate, Sustained
from edgedet.errors import ConfigError, DataError, ModelFileError
from tests.benchmarks.devices.adb_stand_in import StandIn
from tests.benchmarks.devices.benchmark_model_stand_in import write_program
from tests.benchmarks.devices.board import Board, running_sshd
from tests.benchmarks.devices.phone import adb, adb_server, make_phone
from tests.exported_files import Export


def _write(path: Path, text: str) -> Path:
    path.write_text(f"schema: 1\n{text}")
    return path


@pytest.fixture
def folder(tmp_path: Path, model_pt: Path) -> Path:
    (tmp_path / "model.pt").write_bytes(model_pt.read_bytes())
    return tmp_path


def test_jobs_are_all_files_on_all_devices_with_all_threads(folder: Path) -> None:
    path = _write(
        folder / "fleet.yaml",
        "files: [model.pt]\nseconds: 2\nsustained: 1.5\ndevices:\n  - host\n"
        "  - name: ssh:pi@board\n    options: {python: python3.12}\n    threads: [1, null]\n    cores: [0, 1]\n",
    )
    jobs = read_fleet(path)
    assert [(job.device, job.request.threads) for job in jobs] == [
        ("host", None),
        ("ssh:pi@board", 1),
        ("ssh:pi@board", None),
    ]
    assert jobs[1].options == {"python": "python3.12"}
    assert jobs[1].request.cores == (0, 1)
    assert jobs[0].request.mode == Sustained(1.5)
    assert jobs[0].request.budget.seconds == 2
    assert len({job.place for job in jobs}) == 3
    assert jobs[1].place.parent == folder / "fleet-results" / "ssh_pi_board"
    assert [Job.from_json(job.to_json()) for job in jobs] == jobs


def test_a_key_follows_from_all_that_decides_a_measurement(folder: Path) -> None:
    def key(text: str, name: str = "fleet.yaml") -> str:
        return read_fleet(_write(folder / name, text))[0].place.name

    first = key("files: [model.pt]\ndevices: [host]")
    assert key("files: [model.pt]\ndevices: [host]", "other.yaml") == first
    assert key("files: [model.pt]\ndevices: [host]\nseconds: 4") != first
    assert key("files: [model.pt]\ndevices: [{name: host, threads: [2]}]") != first
    (folder / "model.pt").write_bytes(b"another content")
    assert key("files: [model.pt]\ndevices: [host]") != first


def test_files_of_the_command_line_and_modes(folder: Path) -> None:
    jobs = read_fleet(_write(folder / "fleet.yaml", "devices: [host]\nrate: 30\nresults: out"), [folder / "model.pt"])
    assert jobs[0].request.mode == Rate(30.0)
    assert jobs[0].place.is_relative_to(folder / "out")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("devices: [host]", "names no model file"),
        ("files: [model.pt]\ndevices: []", "devices: List should have at least 1 item"),
        ("files: [model.pt]\ndevices: [host]\nsecond: 3", "second: Extra inputs are not permitted"),
        ("files: [model.pt]\ndevices: [host]\nrate: 3\nsustained: 1", "exclude each other"),
        ("files: [model.pt]\ndevices: [host, host]", "model.pt on host is named twice"),
        ("files: [model.pt]\ndevices: [", "is no YAML"),
    ],
)
def test_a_wrong_file_is_one_clear_line(folder: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_fleet(_write(folder / "fleet.yaml", text))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_things(folder: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_fleet(folder / "none.yaml")
    with pytest.raises(ModelFileError, match="there is no such file"):
        read_fleet(_write(folder / "fleet.yaml", "files: [none.pt]\ndevices: [host]"))
    with pytest.raises(DataError, match="there is no such folder"):
        read_fleet(_write(folder / "fleet.yaml", "files: [model.pt]\ndevices: [host]\nimages: none"))


@pytest.fixture
def phone_and_board(tmp_path: Path) -> Iterator[tuple[StandIn, Board]]:
    for name in ("adb", "board"):
        (tmp_path / name).mkdir()
    phone = StandIn(make_phone(tmp_path / "phone"))
    with adb_server(tmp_path / "adb"), running_sshd(tmp_path / "board") as board, phone:
        adb("connect", phone.serial)
        yield phone, board


def test_devices_run_at_once_failures_stop_nobody_and_what_is_measured_is_kept(
    phone_and_board: tuple[StandIn, Board], exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone, board = phone_and_board
    file = exported("ssdlite_mobilenet_v3_small", "tflite", "fp32").artifact.path
    program = write_program(tmp_path / "benchmark_model", "tflite")
    path = _write(
        tmp_path / "fleet.yaml",
        f"files: ['{file}']\nseconds: 0.2\ndevices:\n"
        f"  - {{name: 'android:{phone.serial}', options: {{benchmark_model: '{program}', runs: single}}}}\n"
        f"  - {{name: 'ssh:board', options: {{config: '{board.config}', python: '{sys.executable}'}}, threads: [1]}}\n"
        "  - {name: 'ssh:nowhere.invalid', threads: [1, 2]}\n",
    )
    jobs = read_fleet(path)
    results = run_fleet(jobs)
    assert [type(result) for result in results] == [Latency, Latency, NotRun, NotRun]
    assert isinstance(results[2], NotRun)
    assert results[2].device == "ssh:nowhere.invalid"
    assert "there is no such host" in results[2].reason
    assert read_results(jobs[1].place) == [results[1]]
    (joined,), others = join_results([make_entry(file, None, None)], [tmp_path / "fleet-results"])
    assert others == []
    assert {timing.device.kind for timing in joined.timings} == {"android", "ssh"}

    again: list[Job] = []

    def pretend(self: fleet._Runner, jobs: list[Job], report: object) -> list[Job]:
        again.extend(jobs)
        self.results.update({job.place: NotRun(str(job.file), "pretended", self.device) for job in jobs})
        return []

    monkeypatch.setattr(fleet._Runner, "_one_process", pretend)
    assert run_fleet(jobs)[:2] == results[:2]
    assert [job.device for job in again] == ["ssh:nowhere.invalid"] * 2


def test_a_process_that_dies_fails_one_job_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process gets a signal as soon as it has begun; the second does the rest."""
    path = _write(folder / "fleet.yaml", "files: [model.pt]\ndevices: [{name: 'android', threads: [1, 2]}]")
    killed: list[int] = []
    monkeypatch.setattr(fleet, "WORKER", (str(Path(__file__).with_name("fleet_worker_stand_in.py")),))

    def report(self: fleet._Runner, device: str, file: str) -> None:
        if not killed and self.process is not None:
            killed.append(self.process.pid)
            os.kill(self.process.pid, signal.SIGKILL)

    real = fleet._Runner.run
    monkeypatch.setattr(fleet._Runner, "run", lambda self, _: real(self, lambda *words: report(self, *words)))
    first, second = run_fleet(read_fleet(path))
    assert isinstance(first, NotRun)
    assert first.reason == "the measuring process was ended by SIGKILL"
    assert isinstance(second, NotRun)
    assert second.reason == "android is a stand-in"


def test_ctrl_c_ends_the_processes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write(folder / "fleet.yaml", "files: [model.pt]\nseconds: 60\ndevices: [host]")
    runners: list[fleet._Runner] = []
    real = fleet._Runner.run

    def run(self: fleet._Runner, _: object) -> None:
        runners.append(self)
        real(self, lambda *words: threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start())

    monkeypatch.setattr(fleet._Runner, "run", run)
    with pytest.raises(KeyboardInterrupt):
        run_fleet(read_fleet(path))
    process = runners[0].process
    assert process is not None
    assert process.poll() is not None
