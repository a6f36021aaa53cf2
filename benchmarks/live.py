"""Files kept loaded in processes of their own, to be run in turns."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

from edgedet import errors
from edgedet.benchmarks.latency import ImagesUsed
from edgedet.benchmarks.pausing import pause, wake
from edgedet.benchmarks.recording import FileFacts
from edgedet.benchmarks.request import Request
from edgedet.benchmarks.warmup import WarmUp
from edgedet.errors import EdgedetError, ModelFileError
from edgedet.formats import format_of


@dataclass(frozen=True)
class Ready:
    """What a stream says when it is loaded and warm. `warmup.runs` were run for that."""

    facts: FileFacts
    runtime: str
    images: ImagesUsed
    warmup: WarmUp


class Stream(Protocol):
    """One file on one device, loaded and warm, that runs when asked to."""

    @property
    def ready(self) -> Ready: ...

    def run(self, image: int, unrecorded: int) -> float:
        """Milliseconds of one run on the picture of this number, after some that are not recorded.

        Raises:
            EdgedetError: the run failed.
        """
        ...

    def close(self) -> None: ...


@runtime_checkable
class Interleaving(Protocol):
    """A device that can keep several files loaded at once."""

    def open_stream(self, file: Path, request: Request) -> Stream:
        """Load a file and warm it up.

        Raises:
            EdgedetError: as `Device.measure`.
        """
        ...


class LiveWorker:
    """A stream on this host: a process that sleeps, stopped by a signal, while it is not its turn.

    Stopped, because threads of some runtimes go on spinning after a run and would take the other file's core.
    """

    def __init__(self, file: Path, request: Request) -> None:
        format_of(file)
        if not file.exists():
            raise ModelFileError(f"{file}: there is no such file", "Check the path, or run `edgedet export`.")
        self._file = file
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the stream
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "edgedet.benchmarks.live_worker", str(theirs.fileno())]
        self._process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )
        theirs.close()
        ours.settimeout(request.budget.limit_seconds)
        self._socket, self._lines = ours, ours.makefile("r", encoding="utf-8")
        try:
            self.ready = self._loaded(request)
        except BaseException:
            self.close()
            raise

    def run(self, image: int, unrecorded: int) -> float:
        """See `Stream.run`."""
        wake(self._process.pid)
        answer = self._ask({"image": image, "unrecorded": unrecorded})
        pause(self._process.pid)
        return float(answer["ms"])

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._lines.close()
        self._socket.close()
        self._log.close()

    def __enter__(self) -> LiveWorker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _loaded(self, request: Request) -> Ready:
        answer = self._ask({"path": str(self._file), "request": request.to_json()})
        pause(self._process.pid)
        images = answer["images"]
        used = ImagesUsed(images["source"], tuple(map(tuple, images["sizes_wh_px"])), tuple(images["names"]))
        return Ready(FileFacts(**answer["facts"]), answer["runtime"], used, WarmUp(**answer["warmup"]))

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        try:
            self._socket.sendall(json.dumps(question).encode() + b"\n")
            line = self._lines.readline()
        except TimeoutError as error:
            what = f"{self._file}: gave no answer within {self._socket.gettimeout():.0f} s"
            raise EdgedetError(what, "Choose a smaller model or more threads.") from error
        except OSError:
            line = ""
        if not line:
            raise EdgedetError(
                f"{self._file}: the measuring process ended{self._said()}", "Run `edgedet predict` on it."
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise getattr(errors, answer["error"])(answer["what"], answer["remedy"])
        return answer

    def _said(self) -> str:
        """The last thing the process said."""
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", errors="replace").strip().splitlines()
        return f": {lines[-1][:200]}" if lines else ""
