"""The `adb` program: which phone, shell commands on it, files to it. Its many ways to fail, each as one clear line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgedet.errors import EdgedetError, NotRunError

_INSTALL = "Install it: `apt install adb`, `brew install android-platform-tools`, or Android's SDK platform-tools."
_END = "edgedet-exit-code"  # old phones do not pass exit codes on, and a torn connection may look like success
_REMEDIES = {
    "unauthorized": ("does not trust this computer", "Unlock the phone and accept the USB debugging prompt."),
    "authorizing": ("is asking whether to trust this computer", "Accept the USB debugging prompt on the phone."),
    "offline": ("is offline", "Unplug it and plug it in again, or run `adb reconnect offline`."),
    "connecting": ("is still connecting", "Try again in a moment, or plug it in again."),
    "no permissions": ("may not be opened by this user", "Install the udev rules for Android, and plug it in again."),
    "recovery": ("is in recovery mode", "Start Android on it."),
    "sideload": ("is in sideload mode", "Start Android on it."),
    "bootloader": ("is in its bootloader", "Start Android on it."),
}
_GONE = re.compile(
    r"device '.*' not found|no devices/emulators found|device offline|error: closed|protocol fault|"
    r"[Cc]onnection reset|[Bb]roken pipe|device still connecting|transport error|couldn't read from device|"
    r"remote .*(?:EOF|Success)|failed to (?:read|write)|no response",
)


@dataclass(frozen=True)
class Said:
    """What a command on the phone printed (stdout and stderr together), and its exit code."""

    output: str
    code: int


class DeviceGoneError(EdgedetError):
    """The connection broke off in the middle of something."""


@dataclass(frozen=True)
class Adb:
    """One phone.

    Attributes:
        serial: as `adb devices` names it.
        label: how messages name it, "android:SERIAL".
    """

    serial: str

    @property
    def label(self) -> str:
        return f"android:{self.serial}"

    def shell(self, command: str, timeout_s: float = 60.0) -> Said:
        """Run a command line of the phone's shell.

        Raises:
            DeviceGoneError: the connection broke before the command ended.
            EdgedetError: it took longer than `timeout_s`.
        """
        text = _run(["-s", self.serial, "shell", f"{command}\ncode=$?; echo; echo {_END}=$code"], self.label, timeout_s)
        body, mark, code = text.rpartition(f"{_END}=")
        if not mark or not code.strip().isdigit():
            raise self.gone(text)
        return Said(body.rstrip("\n").removesuffix("\n"), int(code))

    def read(self, command: str, timeout_s: float = 60.0) -> str:
        """Output of a command, empty where it failed: for things that not every phone has."""
        said = self.shell(command, timeout_s)
        return said.output if said.code == 0 else ""

    def push(self, local: Path, remote: str, timeout_s: float = 600.0) -> None:
        """Copy one file.

        Raises:
            EdgedetError: no space, no permission, or the connection broke.
        """
        command = ["-s", self.serial, "push", str(local), remote]
        done = _completed(command, self.label, timeout_s)
        if done.returncode == 0:
            return
        said = _error_line(done.stdout)
        if _no_space(said):
            raise EdgedetError(f"{self.label}: no space left for {local.name}", "Free space on the phone.")
        if self.is_there():
            raise EdgedetError(f"{self.label}: {local.name} could not be copied ({said})", "Look at the phone.")
        raise self.gone(said)

    def install(self, apk: Path) -> None:
        """Install an app, allowing it to read storage as its makers say.

        Raises:
            EdgedetError: the phone refuses it.
        """
        done = _completed(["-s", self.serial, "install", "-r", "-d", "-g", str(apk)], self.label, 300.0)
        if done.returncode != 0 or "Success" not in done.stdout:
            raise EdgedetError(
                f"{self.label}: {apk.name} could not be installed ({_error_line(done.stdout)})",
                "Allow installing over USB in the phone's developer options.",
            )

    def is_there(self) -> bool:
        """Whether the phone still answers."""
        done = _completed(["-s", self.serial, "get-state"], self.label, 20.0)
        return done.returncode == 0 and done.stdout.strip().endswith("device")

    def gone(self, said: str) -> DeviceGoneError:
        because = _error_line(said)
        detail = f" ({because})" if _GONE.search(because) else ""
        return DeviceGoneError(
            f"{self.label}: the connection broke off{detail}", "Check the cable, keep the phone awake, and try again."
        )


def find_device(serial: str = "") -> Adb:
    """The phone of that serial number, or the only one there is.

    Raises:
        NotRunError: adb is missing; no phone, several, or one that does not let us in.
    """
    states = _states()
    if not serial and len(states) == 1:
        serial = next(iter(states))
    if not serial:
        if not states:
            raise NotRunError(
                "android: no device is connected", "Connect a phone by USB and enable USB debugging in its settings."
            )
        ready = ", ".join(f"android:{name}" + ("" if s == "device" else f" ({s})") for name, s in states.items())
        raise NotRunError(f"android: several devices are connected: {ready}", "Name one of them.")
    if serial not in states:
        there = ", ".join(states) or "none"
        raise NotRunError(f"android:{serial}: there is no such device; connected: {there}", "Check `adb devices`.")
    state = states[serial]
    if state != "device":
        what, remedy = _REMEDIES.get(state, (f"is in state {state!r}", "Check `adb devices`."))
        raise NotRunError(f"android:{serial}: the device {what}", remedy)
    return Adb(serial)


def _states() -> dict[str, str]:
    """Serial number to state, as `adb devices` lists them."""
    text = _run(["devices"], "android", 60.0)
    lines = text.splitlines()
    head = next((k for k, line in enumerate(lines) if line.startswith("List of devices")), None)
    if head is None:
        raise NotRunError(f"android: adb does not work ({_error_line(text)})", "Run `adb devices` to see more.")
    pairs = [line.split("\t", 1) for line in lines[head + 1 :] if "\t" in line]
    return {
        serial.strip(): next((s for s in _REMEDIES if state.strip().startswith(s)), state.strip())
        for serial, state in pairs
    }


def _run(arguments: Sequence[str], label: str, timeout_s: float) -> str:
    """Output of adb, which is read even where adb reports a failure: the caller knows what a good end looks like."""
    return _completed(arguments, label, timeout_s).stdout


def _completed(arguments: Sequence[str], label: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run adb to its end, in a group of its own: Ctrl-C must reach us and not tear the connection before clean-up."""
    process = subprocess.Popen(
        [_program(), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, encoding="utf-8", errors="replace", start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        what = f"{label}: `adb {' '.join(arguments)[:80]}` did not end within {timeout_s:.0f} s"
        raise EdgedetError(what, "Check that the phone is awake, and try again.") from error
    finally:
        process.kill()
        process.wait()
    return subprocess.CompletedProcess(process.args, process.returncode, output)


def _program() -> str:
    found = shutil.which(os.environ.get("EDGEDET_ADB", "adb"))
    if found is None:
        raise NotRunError("android: the program adb is not installed", _INSTALL)
    return found


def _error_line(text: str) -> str:
    """adb's own error, or the last it said: statistics of a copy follow its failure."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line or "Failure" in line]
    return (errors or lines[-1:] or ["no message"])[0][:200]


def _no_space(said: str) -> bool:
    """Whether adb's line says that the phone is full. adb cuts long lines short, and paths stand before the reason."""
    full = "No space left on device"
    last = said.rstrip().rpartition(": ")[2]
    return full in said or (len(last) >= len("No s") and full.startswith(last))
