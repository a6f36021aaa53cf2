"""`benchmark_model` on a phone: as a program in a folder, or as the app that its makers offer."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgedet.benchmarks.devices import benchmark_model
from edgedet.benchmarks.devices.adb import Adb
from edgedet.benchmarks.devices.android_folder import in_folder
from edgedet.benchmarks.devices.android_probe import mask
from edgedet.benchmarks.devices.benchmark_model import Dialect
from edgedet.benchmarks.devices.benchmark_model_output import ToolOutput, is_finished, parse
from edgedet.errors import EdgedetError, NotRunError

PACKAGE = "org.tensorflow.lite.benchmark"  # the app has the TensorFlow Lite dialect only
_ACTIVITY = f"{PACKAGE}/.BenchmarkModelActivity"
_POLL_SECONDS = 0.5
_SILENT_POLLS = 6  # an app that has said what is wrong, or is gone, says no more
_LOG_LEVELS = {"V": "VERBOSE", "D": "DEBUG", "I": "INFO", "W": "WARN", "E": "ERROR", "F": "FATAL"}
_LOG_LINE = re.compile(r"^([VDIWEF])/[^(:]*(?:\(\s*\d+\))?: ?(.*)")


class Tool(Protocol):
    """Something on a phone that times a file.

    Attributes:
        dialect: of its flags and output.
        pins: whether it can be pinned to cores.
        profiles: whether its log holds the times of operators.
        file_bytes: what copying it to the phone takes.
    """

    @property
    def dialect(self) -> Dialect: ...

    @property
    def pins(self) -> bool: ...

    @property
    def profiles(self) -> bool: ...

    @property
    def file_bytes(self) -> int: ...

    def put(self, adb: Adb, folder: str) -> None:
        """Bring it to the phone."""
        ...

    def run(
        self, adb: Adb, folder: str, flags: Sequence[str], cores: Sequence[int] | None, timeout_s: float
    ) -> ToolOutput:
        """Run it once to its end.

        Raises:
            EdgedetError: it failed, was killed, or took longer than `timeout_s`.
        """
        ...

    def remove(self, adb: Adb) -> None:
        """Take away what `put` left outside the folder."""
        ...


@dataclass(frozen=True)
class Program:
    """The command-line tool."""

    binary: Path
    dialect: Dialect
    file_bytes: int
    pins: bool = True
    profiles: bool = True

    def put(self, adb: Adb, folder: str) -> None:
        adb.push(self.binary, f"{folder}/benchmark_model")
        adb.shell(f"chmod 755 {folder}/benchmark_model")

    def run(
        self, adb: Adb, folder: str, flags: Sequence[str], cores: Sequence[int] | None, timeout_s: float
    ) -> ToolOutput:
        pin = f"taskset {mask(cores)} " if cores else ""
        said = adb.shell(in_folder(folder, f"{pin}./benchmark_model {' '.join(map(shlex.quote, flags))}"), timeout_s)
        if said.code in (126, 127):
            why = said.output.strip().splitlines()[-1:] or ["no message"]
            raise NotRunError(
                f"{adb.label}: {self.binary.name} cannot be executed there ({why[0][:200]})",
                "Take the build for this phone's architecture.",
            )
        if said.code > 128:
            raise EdgedetError(
                f"{adb.label}: {self.binary.name} was ended by signal {said.code - 128} in mid-run",
                "The phone may lack memory, or the tool crashed; look at `adb logcat`.",
            )
        return parse(said.output, f"{adb.label}: {self.binary.name}")

    def remove(self, adb: Adb) -> None:
        return None  # it lies in the folder


@dataclass(frozen=True)
class App:
    """The benchmark app, started by `am start` and read by `logcat`.

    Android schedules a foreground app differently from a program of the shell, and an app's user feels the former.
    Logcat cuts long messages, so the app tells nothing of operators.

    Attributes:
        apk: installed for the measurement; None where the app is on the phone already, and stays.
    """

    apk: Path | None
    dialect: Dialect = benchmark_model.DIALECTS[0]
    file_bytes: int = 0
    pins: bool = False
    profiles: bool = False

    def put(self, adb: Adb, folder: str) -> None:
        if self.apk is not None:
            adb.install(self.apk)
        elif not adb.read(f"pm path {PACKAGE}").strip():
            raise NotRunError(f"{adb.label}: the app {PACKAGE} is not installed", "Give the path of its .apk instead.")

    def run(
        self, adb: Adb, folder: str, flags: Sequence[str], cores: Sequence[int] | None, timeout_s: float
    ) -> ToolOutput:
        source = f"{adb.label}: {PACKAGE}"
        since = adb.shell("date '+%m-%d %H:%M:%S.000'").output.strip()
        started = adb.shell(f"am start -S -n {_ACTIVITY} --es args '\"{' '.join(flags)}\"'")
        if started.code != 0 or "Error" in started.output:
            raise EdgedetError(f"{source} could not be started ({_first_error(started.output)})", "Look at the phone.")
        try:
            return parse(_wait_for_log(adb, since, timeout_s, source), source)
        finally:
            if adb.is_there():
                adb.shell(f"am force-stop {PACKAGE}")

    def remove(self, adb: Adb) -> None:
        if self.apk is not None:
            adb.shell(f"pm uninstall {PACKAGE}")


def open_tool(where: str) -> Tool:
    """The tool that the user named.

    Args:
        where: path of a benchmark_model binary or of the app's .apk, or "apk" for an app that is installed already.

    Raises:
        NotRunError: none is named.
        ModelFileError: it is missing, or another file.
    """
    if not where:
        raise NotRunError(
            "android: no benchmark_model is named",
            "Give --device-option benchmark_model=PATH, or set EDGEDET_BENCHMARK_MODEL; docs/benchmarking.md says "
            "where to get it.",
        )
    if where == "apk":
        return App(None)
    path = Path(where)
    dialect = benchmark_model.dialect_of(path) if path.suffix != ".apk" or not path.is_file() else None
    if dialect is None:
        return App(path, file_bytes=path.stat().st_size)
    return Program(path, dialect, path.stat().st_size)


def _wait_for_log(adb: Adb, since: str, timeout_s: float, source: str) -> str:
    """What the app has logged, once it is done: after its last word, or when nothing has changed since a failure."""
    deadline, seen, silent = time.monotonic() + timeout_s, "", 0
    while time.monotonic() < deadline:
        log = from_logcat(adb.shell(f"logcat -d -v brief -T '{since}' -s tflite:V litert:V AndroidRuntime:E").output)
        if is_finished(log):
            return log
        silent = silent + 1 if log == seen else 0
        ended = "ERROR: " in log or "FATAL: " in log or not adb.read(f"pidof {PACKAGE}").strip()
        if ended and silent >= _SILENT_POLLS:
            return log
        seen = log
        time.sleep(_POLL_SECONDS)
    raise EdgedetError(f"{source} did not end within {timeout_s:.0f} s", "Choose a smaller model or fewer seconds.")


def from_logcat(text: str) -> str:
    """Lines "I/tflite  ( 123): message" as the tool prints them on a terminal."""
    lines = []
    for line in text.splitlines():
        match = _LOG_LINE.match(line)
        if match:
            lines.append(f"{_LOG_LEVELS[match.group(1)]}: {match.group(2)}")
    return "\n".join(lines)


def _first_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if "Error" in line]
    return (lines or ["no message"])[0][:200]
