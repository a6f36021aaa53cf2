"""A real sshd on this machine, as the user who runs the tests, with keys, port and folders of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.clients.environments import required


@dataclass(frozen=True)
class Board:
    """What a test may do to the device.

    Attributes:
        config: of a client that may enter, as host "board"; `stranger`'s key is refused; `newcomer` has never seen the
            host's key.
        temporary: where the device makes its folders.
        programs: a folder in front of the PATH there.
        server: the listening process.
    """

    config: Path
    stranger: Path
    newcomer: Path
    port: int
    temporary: Path
    programs: Path
    server: psutil.Process

    def leftovers(self) -> list[str]:
        return sorted(path.name for path in self.temporary.iterdir())

    def agents(self, argument: str = "") -> list[psutil.Process]:
        """Processes that work in the device's folders, of those that have an argument the ones with it."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                line = process.cmdline()
                if any(str(self.temporary) in part for part in line) and (not argument or argument in line):
                    found.append(process)
        return found

    def cut(self) -> None:
        """End every connection, and not the server."""
        for child in self.server.children(recursive=True):
            with suppress(psutil.Error):
                if "sshd" in child.name():
                    child.send_signal(signal.SIGKILL)


@contextmanager
def running_sshd(folder: Path) -> Iterator[Board]:
    """Start it, and end it with all that came of it. "Not run" where sshd is not installed."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if sshd is None or shutil.which("ssh-keygen") is None:
        reason = "not run: sshd is not installed"
        pytest.fail(reason) if required() else pytest.skip(reason)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # root's sshd insists on it
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    temporary, programs = folder / "tmp", folder / "bin"
    temporary.mkdir()
    programs.mkdir()
    for name in ("host", "user", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    (folder / "known").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\nPidFile none\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"SetEnv TMPDIR={temporary} PATH={programs}:{os.environ['PATH']} OMP_NUM_THREADS=1\n"
    )
    process = psutil.Popen([sshd, "-f", str(folder / "sshd_config"), "-D", "-e"], stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        configs = (("user", "known"), ("stranger", "known"), ("user", "none"))
        user, stranger, newcomer = (_config(folder, port, key, known) for key, known in configs)
        yield Board(user, stranger, newcomer, port, temporary, programs, process)
    finally:
        for child in (*process.children(recursive=True), process):
            with suppress(psutil.Error):
                child.kill()
        process.wait()


def _config(folder: Path, port: int, key: str, known: str) -> Path:
    path = folder / f"config_{key}_{known}"
    path.write_text(
        f"Host board\n  HostName 127.0.0.1\n  Port {port}\nHost *\n  IdentityFile {folder}/{key}\n"
        f"  IdentitiesOnly yes\n  IdentityAgent none\n  UserKnownHostsFile {folder}/{known}\n"
        "  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n"
    )
    return path


def _wait_for(port: int) -> None:
    for _ in range(100):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError("sshd does not listen")
