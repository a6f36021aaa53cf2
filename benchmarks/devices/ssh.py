"""Boards and other computers over ssh: a Raspberry Pi, a Jetson, any Linux. Nothing of edgedet is needed there."""

from __future__ import annotations

import io
import json
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from edgedet.benchmarks.devices.raw_inputs import WHAT_IS_TIMED, RawInputs, raw_inputs
from edgedet.benchmarks.devices.ssh_client import Ssh, connection, fresh_folder, last_line
from edgedet.benchmarks.environment import DeviceInfo, Environment
from edgedet.benchmarks.latency import ImagesUsed, Latency
from edgedet.benchmarks.noise import Counters
from edgedet.benchmarks.recording import Recording, file_facts, latency_from
from edgedet.benchmarks.request import EARLY_STOPPING_QUERIES, Rate, Request, Steady, seconds_of
from edgedet.errors import EdgedetError, ModelFileError, NotRunError
from edgedet.progress import progress_bar

_AGENT = Path(__file__).with_name("ssh_agent.py")
_ERRORS: dict[str, type[EdgedetError]] = {"missing": NotRunError, "file": ModelFileError}


def open_device(argument: str, options: Mapping[str, str]) -> SshDevice:
    """The machine that `ssh ARGUMENT` reaches."""
    return SshDevice(argument, options.get("python", "python3"), options.get("config", ""))


@dataclass(frozen=True)
class SshDevice:
    """One machine.

    Attributes:
        target: "[USER@]HOST[:PORT]".
        python: the interpreter there that has the runtimes.
        config: another configuration file of ssh than the user's.
    """

    target: str
    python: str = "python3"
    config: str = ""

    @property
    def name(self) -> str:
        return f"ssh:{self.target}"

    def describe(self) -> DeviceInfo:
        with self._agent() as (ssh, folder):
            (event,) = list(_events(ssh, folder, f"{self.python} {folder}/agent.py describe", 60.0))
            return self._info(event)

    def measure(self, file: Path, request: Request) -> Latency:
        facts = file_facts(file)
        inputs = raw_inputs(file, request.images)
        with self._agent() as (ssh, folder):
            model = f"model{file.suffix}"
            ssh.put(file.read_bytes(), f"{folder}/{model}")
            ssh.put(_packed(inputs), f"{folder}/inputs.npz")
            ssh.put(json.dumps(_asked(request, facts.format, model)).encode(), f"{folder}/request.json")
            gathered = _Gathered()
            command = f"{self.python} {folder}/agent.py run {folder}"
            limit_s = request.budget.limit_seconds + seconds_of(request)
            with progress_bar() as bar:
                task = bar.add_task(f"Timing {file.name} on {self.name} (s)", total=round(seconds_of(request)))
                for event in _events(ssh, folder, command, limit_s):
                    gathered.take(event)
                    bar.update(task, completed=round(gathered.elapsed_s))
        if gathered.end is None:
            raise EdgedetError(f"{self.name}: the agent stopped without a result", "Try again.")
        return latency_from(facts, gathered.recording(self, request, inputs.used), request)

    @contextmanager
    def _agent(self) -> Iterator[tuple[Ssh, str]]:
        """A connection, and a folder there that holds the agent and goes afterwards."""
        with connection(self.target, self.name, self.config) as ssh:
            self._check_python(ssh)
            with fresh_folder(ssh) as folder:
                ssh.put(_AGENT.read_bytes(), f"{folder}/agent.py")
                yield ssh, folder

    def _check_python(self, ssh: Ssh) -> None:
        done = ssh.run(f"{self.python} -c 'import sys; sys.exit(3 * (sys.version_info < (3, 8)))'")
        if done.returncode == 3:
            raise NotRunError(f"{self.name}: {self.python} there is older than 3.8", "Name a newer one: python=PATH.")
        if done.returncode != 0:
            raise NotRunError(
                f"{self.name}: there is no {self.python} there",
                "Install Python, or name it: --device-option python=PATH.",
            )

    def _info(self, event: dict[str, Any]) -> DeviceInfo:
        return DeviceInfo(kind="ssh", name=self.name, **event["device"])


@dataclass
class _Gathered:
    """What the agent has said so far."""

    start: dict[str, Any] = field(default_factory=dict)
    loaded: dict[str, Any] = field(default_factory=dict)
    starts_s: list[float] = field(default_factory=list)
    runs_ms: list[float] = field(default_factory=list)
    end: dict[str, Any] | None = None

    @property
    def elapsed_s(self) -> float:
        return self.starts_s[-1] if self.starts_s else 0.0

    def take(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "runs":
            self.starts_s += event["starts_s"]
            self.runs_ms += event["ms"]
        elif kind in ("start", "loaded", "end"):
            setattr(self, kind, event)

    def recording(self, device: SshDevice, request: Request, used: ImagesUsed) -> Recording:
        assert self.end is not None
        runs = tuple(self.runs_ms)
        return Recording(
            runtime=self.loaded["runtime"],
            provider=self.loaded["provider"],
            images=used,
            environment=self._environment(device, request),
            runs_ms=runs,
            starts_s=tuple(self.starts_s),
            stages_ms={"inference": runs},
            load_ms=self.loaded["load_ms"],
            first_ms=self.loaded["first_ms"],
            peak_memory_bytes=self.end["peak_memory_bytes"],
            counters=Counters(
                self.end["wall_seconds"], self.end["involuntary_switches"], self.end["voluntary_switches"],
                self.end["steal_seconds"],
            ),
        )  # fmt: skip

    def _environment(self, device: SshDevice, request: Request) -> Environment:
        assert self.end is not None
        info = device._info(self.start)
        before, after = self.start["before"], self.end["after"]
        notes = {"stages": WHAT_IS_TIMED}
        for name in before["notes"]:
            notes[name] = f"{before['notes'][name]} before, {after['notes'].get(name, 'nothing')} after"
        return Environment(
            device=info,
            usable_cores=len(request.cores) if request.cores else info.cores,
            threads=request.threads,
            pinned_cores=request.cores,
            governor=before["governor"],
            clock_mhz=_pair(before, after, "clock_mhz"),
            temperature_c=_pair(before, after, "temperature_c"),
            load_average_1m=_pair(before, after, "load_average_1m"),
            other_cores_busy=self.end["other_cores_busy"],
            versions=self.start["versions"],
            notes=notes,
        )


def _asked(request: Request, format: str, model: str) -> dict[str, Any]:
    """The request in the agent's words; limits are those of `edgedet.benchmarks.recorder`."""
    budget, mode = request.budget, request.mode
    early = isinstance(mode, Steady) and mode.early_stopping
    counted = isinstance(mode, Steady) and not mode.early_stopping
    return {
        "format": format,
        "model": model,
        "threads": request.threads,
        "cores": request.cores,
        "seconds": seconds_of(request),
        "min_samples": max(budget.min_samples, EARLY_STOPPING_QUERIES if early else 0),
        "max_samples": budget.max_samples if counted else None,
        "fps": mode.fps if isinstance(mode, Rate) else None,
    }


def _packed(inputs: RawInputs) -> bytes:
    data = io.BytesIO()
    arrays: dict[str, Any] = {f"x{k}": value for k, value in enumerate(inputs.values)}
    np.savez_compressed(data, **arrays)
    return data.getvalue()


def _events(ssh: Ssh, folder: str, command: str, limit_s: float) -> Iterator[dict[str, Any]]:
    """Run the agent; what it says, as it says it.

    Raises:
        EdgedetError: it reports a fault, was killed, broke off, or takes longer than `limit_s`.
    """
    # The shell waits, because sshd says nothing of a signal that ends its own child; runtimes litter the folder only.
    line = f"export TMPDIR={folder}; {command} & echo $! > {folder}/pid; wait $!"
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            ssh.command(line), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
        )
        assert process.stdout is not None
        try:
            for text in _lines(process.stdout, limit_s, ssh.label):
                if text.startswith(b"{"):  # a login script there may chatter
                    yield _event(text, ssh.label)
            code = process.wait(timeout=30)
        finally:
            process.kill()
            process.wait()
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    if code == 255:
        raise ssh.failure(said)
    if code > 128:
        raise EdgedetError(
            f"{ssh.label}: the agent was ended by signal {code - 128} in mid-run", "The device may lack memory."
        )
    if code != 0:
        raise ssh.fault(said, "the agent failed")


def _event(text: bytes, label: str) -> dict[str, Any]:
    try:
        event: dict[str, Any] = json.loads(text)
        kind = event["event"]
    except (ValueError, KeyError, TypeError) as error:
        said = last_line(text.decode(errors="replace"))
        raise EdgedetError(f"{label}: the agent's answer cannot be read ({said})", "Try again.") from error
    if kind == "error":
        raise _ERRORS.get(event["kind"], EdgedetError)(f"{label}: {event['what']}", event["remedy"])
    return event


def _lines(stream: BinaryIO | Any, limit_s: float, label: str) -> Iterator[bytes]:
    """Lines as they come; a thread reads them, so that a silent device does not hold us for ever."""
    lines: queue.Queue[bytes] = queue.Queue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        lines.put(b"")

    threading.Thread(target=read, daemon=True).start()
    deadline = time.monotonic() + limit_s
    while True:
        try:
            line = lines.get(timeout=max(deadline - time.monotonic(), 0.01))
        except queue.Empty as error:
            what = f"{label}: could not be timed within {limit_s:.0f} s"
            raise EdgedetError(what, "Choose a smaller model or more threads.") from error
        if not line:
            return
        yield line


def _pair(before: Mapping[str, Any], after: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    a, b = before[name], after[name]
    return None if a is None or b is None else (float(a), float(b))
