"""The system's own `ssh`, with the user's configuration and keys. Its ways to fail, each as one clear line."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edgedet.errors import EdgedetError, NotRunError

_CONNECT_SECONDS = 10
_FAILED = 255  # ssh's own exit code, whatever the command would have given
_REASONS: tuple[tuple[str, str, str], ...] = (
    (r"Could not resolve hostname", "there is no such host", "Check the name, or ~/.ssh/config."),
    (r"Connection refused", "no ssh server answers there", "Start sshd on the device, or give the port."),
    (
        r"timed out|No route to host|Network is unreachable|Host is down",
        "the host cannot be reached", "Check that the device is on and in this network.",
    ),
    (
        r"Permission denied",
        "the key is refused", "Put your key there with `ssh-copy-id`; passwords are never asked for.",
    ),
    (
        r"Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is unknown or has changed", "Connect once by hand with `ssh`, and check the key.",
    ),
    (r"Bad configuration option|Can't open user config", "ssh's configuration is wrong", "Run `ssh` by hand."),
)  # fmt: skip
_FULL = re.compile(r"No space left on device|Disk quota exceeded|disk full", re.IGNORECASE)


@dataclass(frozen=True)
class Ssh:
    """A connection that stays open, so that commands share it.

    Attributes:
        target: "USER@HOST", "HOST" or a name of ~/.ssh/config.
        label: how messages name it.
        options: of ssh, those that name the connection.
    """

    target: str
    label: str
    options: tuple[str, ...]

    def command(self, line: str) -> list[str]:
        """Arguments that run a line of sh there, whatever the user's login shell is."""
        return ["ssh", *self.options, self.target, f"sh -c {shlex.quote(line)}"]

    def run(self, line: str, timeout_s: float = 60.0, content: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a line of sh with `content` as its input.

        Raises:
            EdgedetError: the connection broke, or it took longer than `timeout_s`.
        """
        with tempfile.TemporaryFile() as said:  # a pipe would stay open as long as the shared connection
            try:
                done = subprocess.run(
                    self.command(line), input=content, stdout=subprocess.PIPE, stderr=said, timeout=timeout_s,
                    start_new_session=True, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired as error:
                what = f"{self.label}: `{line[:60]}` did not end within {timeout_s:.0f} s"
                raise EdgedetError(what, "Check the device and the network.") from error
            said.seek(0)
            errors = said.read()
        if done.returncode == _FAILED:
            raise self.failure(errors.decode(errors="replace"))
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout, errors)

    def put(self, content: bytes, path: str) -> None:
        """Write a file there, through `cat`: not every board has what scp needs on its side.

        Raises:
            EdgedetError: no space, no permission, or the connection broke.
        """
        done = self.run(f"cat > {path}", 600.0, content)
        if done.returncode != 0:
            raise self.fault(done.stderr.decode(errors="replace"), f"{Path(path).name} could not be copied")

    def failure(self, said: str) -> EdgedetError:
        """What ssh's own failure means."""
        for pattern, what, remedy in _REASONS:
            if re.search(pattern, said):
                return NotRunError(f"{self.label}: {what}", remedy)
        return EdgedetError(
            f"{self.label}: the connection broke off ({last_line(said)})",
            "Check the device and the network, try again.",
        )

    def fault(self, said: str, what: str) -> EdgedetError:
        """What a failed command there means."""
        if _FULL.search(said):
            return EdgedetError(f"{self.label}: no space left on the device", "Free space there.")
        return EdgedetError(f"{self.label}: {what} ({last_line(said)})", "Look at the device.")


@contextmanager
def connection(target: str, label: str, config: str = "") -> Iterator[Ssh]:
    """Connect; everything in the block shares the connection.

    Args:
        target: "[USER@]HOST[:PORT]"; a port is a number after the last colon.
        config: another configuration file than the user's.

    Raises:
        NotRunError: ssh is missing, or the host or its keys refuse us.
        EdgedetError: it fails for another reason.
    """
    if shutil.which("ssh") is None:
        raise NotRunError("ssh: the program ssh is not installed", "Install it: `apt install openssh-client`.")
    name, port = split_port(target)
    if not name or name.startswith("-"):
        raise NotRunError(f"{label}: names no host", "Say ssh:USER@HOST.")
    with tempfile.TemporaryDirectory(prefix="edgedet-ssh-", dir="/tmp") as folder:  # a socket's path must be short
        options = [*(["-F", config] if config else []), *(["-p", port] if port else [])]
        options += _settings({"BatchMode": "yes", "ConnectTimeout": str(_CONNECT_SECONDS)})
        options += _settings({"ServerAliveInterval": "5", "ServerAliveCountMax": "3"})
        options += _settings({"ControlPath": f"{folder}/c"})
        ssh = Ssh(name, label, (*options, *_settings({"ControlMaster": "no"})))
        _open(ssh, ["ssh", *options, *_settings({"ControlMaster": "yes"}), "-f", "-N", name])
        try:
            yield ssh
        finally:
            with suppress(subprocess.TimeoutExpired):
                subprocess.run(["ssh", *options, "-O", "exit", name], capture_output=True, timeout=10, check=False)


@contextmanager
def fresh_folder(ssh: Ssh) -> Iterator[str]:
    """A new folder there; whatever happens, it goes, and what runs in it is ended.

    Raises:
        EdgedetError: it cannot be made, or the connection broke, so that it stays.
    """
    done = ssh.run(f'd="${{TMPDIR:-/tmp}}/edgedet-{uuid.uuid4().hex[:12]}" && mkdir -m 700 "$d" && echo "$d"')
    if done.returncode != 0:
        raise ssh.fault(done.stderr.decode(errors="replace"), "no folder could be made")
    folder = last_line(done.stdout.decode())  # a login script there may chatter before
    try:
        yield folder
    except EdgedetError as error:
        if _clean(ssh, folder):
            raise
        raise type(error)(f"{error.what}; {folder} stays there", error.remedy) from error
    except BaseException:
        _clean(ssh, folder)
        raise
    if not _clean(ssh, folder):
        raise EdgedetError(f"{ssh.label}: the connection broke off; {folder} stays there", "Remove it by hand.")


def split_port(target: str) -> tuple[str, str]:
    """ "pi@board:2222" to "pi@board" and "2222"; an address of IP version 6 with a port stands in brackets."""
    match = re.fullmatch(r"(.*?)(\[[0-9a-fA-F:.%\w]+\])(?::(\d+))?", target) or re.fullmatch(r"()([^:]*):(\d+)", target)
    if match is None:
        return target, ""
    return match.group(1) + match.group(2).strip("[]"), match.group(3) or ""


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no message"


def _open(ssh: Ssh, command: Sequence[str]) -> None:
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
        )
        try:
            code = process.wait(timeout=3 * _CONNECT_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise NotRunError(
                f"{ssh.label}: the host cannot be reached", "Check the device and the network."
            ) from error
        finally:
            process.kill()
            process.wait()
        said.seek(0)
        if code != 0:
            raise ssh.failure(said.read().decode(errors="replace"))


def _clean(ssh: Ssh, folder: str) -> bool:
    """A connection that broke is made anew by the command itself, if it can be."""
    try:
        line = f"[ -f {folder}/pid ] && kill -9 $(cat {folder}/pid); rm -rf {folder}"
        return ssh.run(line, 30.0).returncode == 0
    except EdgedetError:
        return False


def _settings(values: dict[str, str]) -> list[str]:
    return [part for name, value in values.items() for part in ("-o", f"{name}={value}")]
