"""Comparing: with streams made by hand, on simulated machines, and with two real processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest
from typer.testing import CliRunner

from edgedet.benchmarks.commands_compare import lines
from edgedet.benchmarks.compare import compare, run_pairs
from edgedet.benchmarks.compare_power import STREAMS, Stream, power
from edgedet.benchmarks.devices import open_device
from edgedet.benchmarks.environment import DeviceInfo, host_info
from edgedet.benchmarks.latency import ImagesUsed, Latency
from edgedet.benchmarks.live import LiveWorker, Ready
from edgedet.benchmarks.recording import FileFacts
from edgedet.benchmarks.request import Request
from edgedet.benchmarks.warmup import WarmUp
from edgedet.errors import EdgedetError, ModelFileError, NotRunError
from tests.benchmarks.test_harness import app

READY = Ready(
    FileFacts("a.onnx", "onnx", "fp32", 1, "ab", "cd", 0.05), "runtime 1", ImagesUsed("generated", ((8, 8),)),
    WarmUp(20, "none"),
)  # fmt: skip


@dataclass
class ByHand:
    """A stream whose times follow a rule of how many runs both files together have had."""

    name: str
    factor: float
    log: list[tuple[str, int, int]]
    level: Callable[[int], float] = lambda run: 1.0
    ready: Ready = READY
    closed: list[str] = field(default_factory=list)

    def run(self, image: int, unrecorded: int) -> float:
        self.log.append((self.name, image, unrecorded))
        return self.factor * self.level(len(self.log))

    def close(self) -> None:
        self.closed.append(self.name)


def test_pairs_share_a_picture_and_the_lot_decides_who_begins() -> None:
    log: list[tuple[str, int, int]] = []
    decision, pairs, b_first = run_pairs(ByHand("a", 10.0, log), ByHand("b", 10.0, log), 200, seed=1)
    assert decision.verdict == "no difference"
    assert len(pairs) == 25  # equal times are known to be equal at the first look
    assert pairs == [(10.0, 10.0)] * 25
    for k, b_began in enumerate(b_first):
        assert log[2 * k : 2 * k + 2] == [(name, k, 1) for name in ("ba" if b_began else "ab")]
    assert 0 < sum(b_first) < 25
    again = run_pairs(ByHand("a", 10.0, []), ByHand("b", 10.0, []), 200, seed=1)[2]
    assert again == b_first


def test_a_machine_that_slows_down_slows_both() -> None:
    """Every run takes 1 % longer than the one before it, so that unpaired runs of equal files would differ a lot."""
    log: list[tuple[str, int, int]] = []
    slowing = [ByHand(name, 10.0, log, lambda run: 1.01**run) for name in "ab"]
    assert run_pairs(*slowing, max_pairs=64, seed=3)[0].verdict == "no difference"
    log.clear()
    slowing = [ByHand(name, factor, log, lambda run: 1.01**run) for name, factor in (("a", 10.0), ("b", 10.5))]
    assert run_pairs(*slowing, max_pairs=64, seed=3)[0].verdict == "slower"


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.__name__)
def test_false_alarms_and_power_on_simulated_machines(stream: Stream) -> None:
    """A small form of `python -m edgedet.benchmarks.compare_power`, which repeats a thousand times. The seed is
    fixed; 5 of 40 is what a true rate of 5 % exceeds once in 100 times, and 32 of 40 what one of 90 % falls below so
    rarely."""
    found = power(stream, repetitions=40, seed=5)
    assert found.false_alarms <= 5 / 40
    assert found.at_margin <= 5 / 40
    assert min(found.found_slower, found.found_faster) >= 32 / 40
    assert max(found.runs_equal, found.runs_changed) <= 400


class Alone:
    """A device that holds one file at a time."""

    name = "alone"

    def describe(self) -> DeviceInfo:
        return host_info()

    def measure(self, file: Path, request: Request) -> Latency:
        raise NotRunError("never asked", "")


def test_a_device_that_holds_one_file_cannot_compare() -> None:
    with pytest.raises(NotRunError, match="alone: cannot run two files in turns"):
        compare(Alone(), Path("a.onnx"), Path("b.onnx"), Request())


def test_two_real_processes(model_pt: Path, tmp_path: Path) -> None:
    out = tmp_path / "comparison.json"
    words = ["compare", str(model_pt), str(model_pt), "--threads", "1", "--max-runs", "32", "--json", str(out)]
    result = CliRunner().invoke(app(), [*words, "--seed", "7"])
    assert result.exit_code == 0, result.output
    value = json.loads(out.read_text())
    assert value["schema"] == 1
    assert value["decision"]["verdict"] in ("faster", "slower", "no difference")
    assert value["runs"] <= 32
    assert len(value["times_a"]["samples_ms"]) == len(value["times_b"]["samples_ms"]) == value["runs"] / 2
    assert value["a"]["facts"]["sha256"] == value["b"]["facts"]["sha256"]
    assert value["seed"] == 7
    assert value["environment"]["device"]["name"] == "host"
    assert "order by lot (seed 7), at most 32" in result.output


def test_lines_say_what_the_verdict_rests_on(monkeypatch: pytest.MonkeyPatch) -> None:
    host = open_device("host")
    log: list[tuple[str, int, int]] = []
    streams = iter([ByHand("a", 10.0, log), ByHand("b", 12.0, log)])
    monkeypatch.setattr(type(host), "open_stream", lambda *_: next(streams))
    result = compare(host, Path("a.onnx"), Path("b.onnx"), Request(threads=2), seed=2)
    head, a, _, runs = lines(result)
    assert head == "B is slower: +20.0 % time, between +20.0 and +20.0 %"
    assert a == "A: a.onnx, p50 10.00 ms, p90 10.00 ms, runtime 1"
    assert runs.startswith("50 runs in pairs, order by lot (seed 2), at most 400; 2 threads")
    assert len(result.b_first) == 25
    assert np.allclose(result.times_b.samples_ms, 12.0)


def test_faults_of_the_file_and_of_the_process(model_pt: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no such file"):
        LiveWorker(tmp_path / "absent.pt", Request())
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"not a model")
    with pytest.raises(ModelFileError, match=r"broken\.pt: not a readable weights file"):
        LiveWorker(broken, Request())
    with LiveWorker(model_pt, Request(threads=1)) as stream:
        assert stream.run(0, 0) > 0
        stream._process.kill()
        stream._process.wait()
        with pytest.raises(EdgedetError, match="the measuring process ended"):
            stream._ask({"image": 0, "unrecorded": 0})


@pytest.mark.skipif(sys.platform != "linux", reason="not run: only Linux ends a stopped process with its parent")
def test_a_stopped_process_ends_with_its_parent(model_pt: Path) -> None:
    """The parent is killed while the stream is stopped: it can clean up nothing."""
    script = (
        "import sys, time; from pathlib import Path; from edgedet.benchmarks.live import LiveWorker;"
        "from edgedet.benchmarks.request import Request;"
        "s = LiveWorker(Path(sys.argv[1]), Request(threads=1)); print(s._process.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(model_pt)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        assert worker.status() == psutil.STATUS_STOPPED, "it was not asleep when its parent went on"
        parent.kill()
    for _ in range(100):
        if not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    pytest.fail("the stopped process is still there")
