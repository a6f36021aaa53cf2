"""The ssh adapter against a real sshd on this machine."""

from __future__ import annotations

import ast
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgedet.benchmarks.devices import open_device
from edgedet.benchmarks.devices.ssh import _AGENT, SshDevice, _asked
from edgedet.benchmarks.devices.ssh_client import Ssh, split_port
from edgedet.benchmarks.latency import Latency
from edgedet.benchmarks.request import Budget, Rate, Request, Steady, Sustained
from edgedet.benchmarks.stats import Summary
from edgedet.benchmarks.termination import cleaning_up_on_sigterm
from edgedet.errors import EdgedetError, ModelFileError, NotRunError
from tests.benchmarks.devices.board import Board, running_sshd
from tests.exported_files import Export

_QUICK = Request(threads=1, budget=Budget(seconds=0.3, min_samples=5, limit_seconds=60.0))
_LONG = Request(threads=1, budget=Budget(seconds=20.0, max_samples=10**9, limit_seconds=60.0))


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    with running_sshd(tmp_path_factory.mktemp("board")) as board:
        yield board


@pytest.fixture(autouse=True)
def _clean_board(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test did, nothing is left on the board."""
    yield
    if "board" in request.fixturenames:
        board: Board = request.getfixturevalue("board")
        assert board.leftovers() == []
        for _ in range(40):  # what was killed takes a moment to be gone
            if not board.agents():
                return
            time.sleep(0.05)
        assert board.agents() == []


@pytest.fixture(scope="module")
def tflite(exported: Export) -> Path:
    return exported("ssdlite_mobilenet_v3_small", "tflite", "fp32").artifact.path


def _device(board: Board, python: str = sys.executable) -> SshDevice:
    device = open_device("ssh:board", {"config": str(board.config), "python": python})
    assert isinstance(device, SshDevice)
    return device


def test_a_tflite_file_is_timed_there(board: Board, tflite: Path) -> None:
    latency = _device(board).measure(tflite, _QUICK)
    assert latency.device.kind == "ssh"
    assert latency.device.name == "ssh:board"
    assert latency.device.cores == os.cpu_count()
    assert latency.runtime.startswith("ai-edge-litert")
    assert isinstance(latency.steady, Summary)
    assert len(latency.steady.samples_ms) + latency.warmup.runs >= 5
    assert set(latency.stages) == {"inference"}
    assert latency.peak_memory_bytes is not None
    assert latency.environment.load_average_1m is not None
    assert "python" in latency.environment.versions
    assert any(check.name == "context switches" for check in latency.noise)
    assert Latency.from_json(latency.to_json()) == latency


def test_an_onnx_file_is_timed_there_on_pictures_and_pinned(board: Board, exported: Export, photo: Path) -> None:
    path = exported("ssdlite_mobilenet_v3_small", "onnx", "fp32").artifact.path
    core = min(os.sched_getaffinity(0))
    request = Request((photo,), 1, (core,), Budget(seconds=0.2))
    latency = _device(board).measure(path, request)
    assert (latency.runtime.split()[0], latency.provider) == ("onnxruntime", "CPUExecutionProvider")
    assert latency.images.source == "photographs"
    assert latency.images.names == (photo.name,)
    assert latency.environment.pinned_cores == (core,)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    from PIL import Image

    path = tmp_path / "photo.png"
    Image.new("RGB", (40, 30), (200, 30, 90)).save(path)
    return path


def test_minutes_and_rates(board: Board, tflite: Path) -> None:
    sustained = _device(board).measure(tflite, Request(threads=1, mode=Sustained(0.01)))
    assert sustained.sustained is not None
    at_rate = _device(board).measure(tflite, Request(threads=1, mode=Rate(20.0), budget=Budget(seconds=0.5)))
    assert at_rate.rate is not None
    assert at_rate.rate.offered >= 10


def test_a_board_describes_itself(board: Board) -> None:
    info = _device(board).describe()
    assert (info.kind, info.cores) == ("ssh", os.cpu_count())
    assert info.memory_bytes is not None
    assert "hostname" in info.details


def test_hosts_that_do_not_answer(board: Board, tflite: Path) -> None:
    options = {"config": str(board.config)}
    with pytest.raises(NotRunError, match=r"ssh:me@nowhere\.invalid: there is no such host"):
        open_device("ssh:me@nowhere.invalid", options).measure(tflite, _QUICK)
    with pytest.raises(NotRunError, match="no ssh server answers there"):
        open_device("ssh:127.0.0.1:1", options).describe()
    with pytest.raises(NotRunError, match="names no host"):
        open_device("ssh", options).describe()


def test_keys_that_are_refused(board: Board) -> None:
    with pytest.raises(NotRunError, match="the key is refused"):
        open_device("ssh:board", {"config": str(board.stranger)}).describe()
    with pytest.raises(NotRunError, match="its host key is unknown"):
        open_device("ssh:board", {"config": str(board.newcomer)}).describe()
    with pytest.raises(NotRunError, match="ssh's configuration is wrong"):
        open_device("ssh:board", {"config": "/nonexistent/config"}).describe()


def test_no_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(NotRunError, match="the program ssh is not installed"):
        open_device("ssh:board").describe()


def test_no_python_or_an_old_one(board: Board) -> None:
    with pytest.raises(NotRunError, match="there is no python9 there"):
        _device(board, "python9").describe()
    old = board.programs / "python-old"
    old.write_text("#!/bin/sh\nexit 3\n")
    old.chmod(0o755)
    with pytest.raises(NotRunError, match=r"older than 3\.8"):
        _device(board, "python-old").describe()


def test_no_runtime(board: Board, tflite: Path, tmp_path: Path) -> None:
    with pytest.raises(NotRunError, match="numpy is missing"):
        _device(board, f"{sys.executable} -S").measure(tflite, _QUICK)
    for name in ("ai_edge_litert", "tflite_runtime", "tensorflow"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not here')")
    with pytest.raises(NotRunError, match=r"no runtime for \.tflite files .*ai-edge-litert or tflite-runtime"):
        _device(board, f"env PYTHONPATH={tmp_path} {sys.executable}").measure(tflite, _QUICK)


def test_a_file_that_the_runtime_there_refuses(board: Board, tflite: Path, tmp_path: Path) -> None:
    (tmp_path / "ai_edge_litert").mkdir()
    (tmp_path / "ai_edge_litert" / "interpreter.py").write_text(
        "class Interpreter:\n    def __init__(self, **_):\n        raise ValueError('op version 9 is unknown')\n"
    )
    (tmp_path / "ai_edge_litert" / "__init__.py").touch()
    with pytest.raises(ModelFileError, match=r"refuses the file .*op version 9"):
        _device(board, f"env PYTHONPATH={tmp_path} {sys.executable}").measure(tflite, _QUICK)


def test_other_files_are_refused(board: Board, model_pt: Path) -> None:
    with pytest.raises(NotRunError, match="torch files run on this host only"):
        _device(board).measure(model_pt, _QUICK)


def test_a_full_disk(board: Board, tflite: Path) -> None:
    """The board's `mkdir` puts a file there that is always full."""
    mkdir = board.programs / "mkdir"
    mkdir.write_text('#!/bin/sh\n/bin/mkdir "$@"\nfor last; do :; done\nln -s /dev/full "$last/model.tflite"\n')
    mkdir.chmod(0o755)
    try:
        with pytest.raises(EdgedetError, match="no space left on the device"):
            _device(board).measure(tflite, _QUICK)
    finally:
        mkdir.unlink()


def _when_running(board: Board, act: Callable[[], object]) -> None:
    """Do something a moment after the agent has begun to run the file."""

    def wait() -> None:
        for _ in range(600):
            if board.agents("run"):
                break
            time.sleep(0.05)
        time.sleep(1.0)
        act()

    threading.Thread(target=wait, daemon=True).start()


def test_an_agent_that_is_killed(board: Board, tflite: Path) -> None:
    _when_running(board, lambda: [process.kill() for process in board.agents("run")])
    with pytest.raises(EdgedetError, match="the agent was ended by signal 9 in mid-run"):
        _device(board).measure(tflite, _LONG)


def test_a_connection_that_breaks_in_mid_run(board: Board, tflite: Path) -> None:
    _when_running(board, board.cut)
    with pytest.raises(EdgedetError, match="the connection broke off"):
        _device(board).measure(tflite, _LONG)


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_ctrl_c_and_sigterm_leave_nothing_behind(
    board: Board, tflite: Path, number: int, raised: type[BaseException]
) -> None:
    _when_running(board, lambda: os.kill(os.getpid(), number))
    with cleaning_up_on_sigterm(), pytest.raises(raised):
        _device(board).measure(tflite, _LONG)


def test_an_answer_that_takes_too_long(board: Board, tflite: Path) -> None:
    slow = board.programs / "python-slow"
    sleep = f'{sys.executable} -c "import time; time.sleep(20)" {board.temporary}'
    slow.write_text(f'#!/bin/sh\ncase "$*" in *" run "*) exec {sleep};; esac\nexec {sys.executable} "$@"\n')
    slow.chmod(0o755)
    with pytest.raises(EdgedetError, match="could not be timed within 1 s"):
        _device(board, "python-slow").measure(tflite, Request(budget=Budget(seconds=0.2, limit_seconds=0.5)))


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("pi@board", ("pi@board", "")),
        ("pi@board:2222", ("pi@board", "2222")),
        ("board", ("board", "")),
        ("pi@fe80::1", ("pi@fe80::1", "")),
        ("pi@[fe80::1%eth0]:22", ("pi@fe80::1%eth0", "22")),
    ],
)
def test_ports(target: str, parts: tuple[str, str]) -> None:
    assert split_port(target) == parts


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("ssh: connect to host 10.0.0.9 port 22: Connection timed out", "the host cannot be reached"),
        ("ssh: connect to host 10.0.0.9 port 22: No route to host", "the host cannot be reached"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", "has changed"),
        ("client_loop: send disconnect: Broken pipe", "the connection broke off (client_loop: send disconnect"),
    ],
)
def test_what_ssh_says_becomes_one_line(said: str, words: str) -> None:
    assert words in str(Ssh("board", "ssh:board", ()).failure(said))


def test_early_stopping_asks_for_enough_runs() -> None:
    asked = _asked(Request(mode=Steady(early_stopping=True)), "tflite", "model.tflite")
    assert (asked["seconds"], asked["min_samples"], asked["max_samples"]) == (60.0, 1024, None)


def test_the_agent_is_python_3_8_and_knows_nothing_of_edgedet() -> None:
    tree = ast.parse(_AGENT.read_text(), feature_version=(3, 8))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any(name.startswith("edgedet") for name in imported)


def test_a_login_script_that_chatters(board: Board) -> None:
    (board.programs / "mkdir").write_text('#!/bin/sh\necho Welcome!\nexec /bin/mkdir "$@"\n')
    (board.programs / "mkdir").chmod(0o755)
    chatty = board.programs / "python-chatty"
    chatty.write_text(f'#!/bin/sh\necho Welcome!\nexec {sys.executable} "$@"\n')
    chatty.chmod(0o755)
    try:
        assert _device(board, "python-chatty").describe().kind == "ssh"
    finally:
        (board.programs / "mkdir").unlink()
