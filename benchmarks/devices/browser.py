"""Browsers: a page on the local network that any phone opens; it runs the files and posts the samples back."""

from __future__ import annotations

import ipaddress
import queue
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from edgedet.benchmarks.devices.browser_answers import READERS, Browser, Done, Measured, Refused
from edgedet.benchmarks.devices.browser_jobs import BACKENDS, Job, job_files, read_file
from edgedet.benchmarks.devices.browser_packages import package_files
from edgedet.benchmarks.devices.browser_parity import compare
from edgedet.benchmarks.devices.browser_server import PageServer, page_server
from edgedet.benchmarks.devices.browser_terminal import announce
from edgedet.benchmarks.devices.raw_inputs import WHAT_IS_TIMED
from edgedet.benchmarks.environment import DeviceInfo, Environment
from edgedet.benchmarks.latency import Latency, NotRun
from edgedet.benchmarks.recording import Recording, latency_from
from edgedet.benchmarks.request import Request, seconds_of
from edgedet.errors import ConfigError, DataError, EdgedetError, NotRunError
from edgedet.progress import progress_bar

_TEMPLATES = Path(__file__).resolve().parents[1] / "templates"
_PAGE = ("browser.css", "browser.mjs", "browser_job.html", "browser_job.mjs", "browser_onnx.mjs", "browser_tflite.mjs",
         "browser_boxes.mjs")  # fmt: skip
_WAIT_MINUTES = 10.0


def open_device(argument: str, options: Mapping[str, str]) -> BrowserDevice:
    """Any browser that opens the page; `argument` is a backend, or empty for every one that it has.

    Raises:
        ConfigError: there is no such backend, or an option has another form.
    """
    if argument and argument not in BACKENDS:
        raise ConfigError(f"browser:{argument}: there is no such backend", f"Choose from {', '.join(BACKENDS)}.")
    address = options.get("address") or local_address()
    https = options.get("https", "no" if _is_loopback(address) else "yes")
    port, minutes = options.get("port", "0"), options.get("minutes", str(_WAIT_MINUTES))
    try:
        number, wait_s = int(port), float(minutes) * 60
    except ValueError as error:
        raise ConfigError(f"port={port}, minutes={minutes}: not numbers", "Give for instance port=8443.") from error
    if https not in ("yes", "no") or not 0 <= number <= 65535 or not 0 < wait_s < 1e6:
        raise ConfigError("an option of the browser has no such value", "https is yes or no; a port is 0 to 65535.")
    return BrowserDevice(argument, address, number, https == "yes", wait_s)


def local_address() -> str:
    """This machine's address on the local network, or the loopback one where there is no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only asks which of our addresses would be used
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


@dataclass(frozen=True)
class BrowserDevice:
    """One opening of the page in one browser.

    Attributes:
        backend: "wasm" or "webgpu"; "" for WebAssembly and, where it is there, WebGPU.
        address: where the page is served.
        port: 0 for any free one.
        https: with a certificate made for this run; browsers allow threads and WebGPU to such pages only, and to those
            of the very same machine.
        wait_s: how long to wait for a browser to open the page.
        announce: shows the address to whoever has the browser.
    """

    backend: str = ""
    address: str = "127.0.0.1"
    port: int = 0
    https: bool = False
    wait_s: float = _WAIT_MINUTES * 60
    announce: Callable[[str], None] = field(default=announce, compare=False)

    @property
    def name(self) -> str:
        return f"browser:{self.backend}" if self.backend else "browser"

    def describe(self) -> DeviceInfo:
        """Waits for a browser to open the page; see `Device.describe`."""
        return _info(self._answers([], Request()).browser, self.name)

    def measure(self, file: Path, request: Request) -> Latency:
        """See `Device.measure`. Without a backend in its name, that of WebAssembly."""
        (result, *_) = self.measure_files([file], request)
        if isinstance(result, NotRun):
            raise NotRunError(result.reason, "")
        return result

    def measure_files(self, files: Sequence[Path], request: Request) -> list[Latency | NotRun]:
        """Time all files in one opening of the page, each on every backend: see `Batching`."""
        rows: list[Job | NotRun] = []
        for number, path in enumerate(files):
            try:
                if request.cores is not None:
                    raise NotRunError(f"{self.name}: a browser cannot be pinned to cores", "Leave --cores out.")
                file = read_file(number, path, request)
            except DataError:
                raise
            except EdgedetError as error:
                rows.append(NotRun(str(path), str(error), self.name))
                continue
            for backend in [self.backend] if self.backend else BACKENDS:
                rows.append(Job(len(rows), file, backend, optional=not self.backend and backend != BACKENDS[0]))
        return self._results(rows, request)

    def _results(self, rows: Sequence[Job | NotRun], request: Request) -> list[Latency | NotRun]:
        jobs = [row for row in rows if isinstance(row, Job)]
        if not jobs:
            return [row for row in rows if isinstance(row, NotRun)]
        try:
            answers = self._answers(jobs, request)
        except EdgedetError as error:
            reason = str(error)
            told = [row for row in rows if isinstance(row, NotRun) or not row.optional]
            return [NotRun(str(row.file.path), reason, self.name) if isinstance(row, Job) else row for row in told]
        results = [answers.result(row, request) if isinstance(row, Job) else row for row in rows]
        return [result for result in results if result is not None]

    def _answers(self, jobs: Sequence[Job], request: Request) -> _Answers:
        """Serve the page until its results are there.

        Raises:
            NotRunError: the packages are missing, the address is not ours, or no browser came.
            EdgedetError: the browser fell silent before it sent anything.
        """
        files: dict[str, Path | bytes] = {
            "": _TEMPLATES / "browser.html",
            **package_files(),
            **job_files(jobs, request),
        }
        files.update({name: _TEMPLATES / name for name in _PAGE})
        with ExitStack() as stack:
            tls = _certificate(self.address) if self.https else None
            try:
                server = stack.enter_context(page_server(files, READERS, self.address, self.port, tls))
            except OSError as error:
                remedy = "Give another with --device-option address=IP or port=NUMBER."
                raise NotRunError(f"{self.address}:{self.port}: cannot be served from ({error})", remedy) from error
            self.announce(server.url)
            return self._wait(server, jobs, request)

    def _wait(self, server: PageServer, jobs: Sequence[Job], request: Request) -> _Answers:
        answers: _Answers | None = None
        silence_s = seconds_of(request) + request.budget.limit_seconds
        with progress_bar() as bar:
            task = bar.add_task("Waiting for a browser", total=max(len(jobs), 1))
            deadline = time.monotonic() + self.wait_s
            while True:
                try:
                    message = server.posted.get(timeout=max(deadline - time.monotonic(), 0.01))
                except queue.Empty:
                    return self._silent(answers, silence_s)
                if isinstance(message, Browser):
                    answers = _Answers(message, self.name)  # opened again, it starts again
                elif answers is None or message.session != answers.browser.session:
                    continue
                elif isinstance(message, Done):
                    return answers
                else:
                    answers.taken[message.job] = message
                deadline = time.monotonic() + silence_s
                bar.update(task, description="Timing in the browser", completed=len(answers.taken))

    def _silent(self, answers: _Answers | None, silence_s: float) -> _Answers:
        if answers is None:
            minutes = self.wait_s / 60
            remedy = "Open the address in a browser of the same network, or wait longer: --device-option minutes=30."
            raise NotRunError(f"{self.name}: no browser opened the page within {minutes:.3g} minutes", remedy)
        answers.silent_s = silence_s
        return answers


@dataclass
class _Answers:
    """What one browser has said, by the number of the job.

    Attributes:
        silent_s: it fell silent for so long before it was through; None when it was.
    """

    browser: Browser
    device: str
    taken: dict[int, Measured | Refused] = field(default_factory=dict)
    silent_s: float | None = None

    def result(self, job: Job, request: Request) -> Latency | NotRun | None:
        """Of one job; None for a backend that this browser need not have and has not."""
        name, path = f"browser:{job.backend}", str(job.file.path)
        answer = self.taken.get(job.number)
        if isinstance(answer, Refused):
            return NotRun(path, f"{answer.reason} ({self.browser.user_agent})", name)
        if answer is None:
            if job.optional and not self.browser.webgpu.there:
                return None
            fault = "has sent no result" if self.silent_s is None else f"said nothing more within {self.silent_s:.0f} s"
            return NotRun(path, f"the browser {fault}. Open the page again, and keep its screen on.", name)
        try:
            return self._latency(job, answer, name, request)
        except (EdgedetError, ValueError) as error:
            return NotRun(path, str(error), name)

    def _latency(self, job: Job, answer: Measured, name: str, request: Request) -> Latency:
        agreement = compare(job.file, [found.detections() for found in answer.detections])
        notes = {
            "stages": WHAT_IS_TIMED,
            "detections": agreement,
            **_notes(self.browser, answer.threads),
            **answer.notes,
        }
        environment = Environment(
            device=_info(self.browser, name),
            usable_cores=self.browser.cores,
            threads=answer.threads,
            versions={"browser": self.browser.user_agent, "runtime": answer.runtime},
            notes=notes,
        )
        runs = tuple(answer.runs_ms)
        recording = Recording(
            runtime=answer.runtime,
            provider=answer.provider,
            images=job.file.inputs.used,
            environment=environment,
            runs_ms=runs,
            starts_s=tuple(answer.starts_s),
            stages_ms={"inference": runs},
            load_ms=answer.load_ms,
            first_ms=answer.first_ms,
        )
        return latency_from(job.file.facts, recording, request)


def _notes(browser: Browser, threads: int) -> dict[str, str]:
    used = f"{threads} used" if threads > 1 else "one used"
    step = f"the clock steps by {browser.clock_step_ms:.3g} ms"
    if browser.isolated:
        return {"isolation": f"cross-origin isolated, threads allowed, {used}; {step}"}
    why = "" if browser.secure else "; serve it with https=yes"
    return {"isolation": f"not cross-origin isolated, one thread{why}; {step}"}


def _info(browser: Browser, name: str) -> DeviceInfo:
    memory = None if browser.memory_gib is None else round(browser.memory_gib * 2**30)
    details = {"browser": browser.user_agent, "WebGPU": browser.webgpu.text}
    details["cross-origin isolated"] = "yes" if browser.isolated else "no"
    model = browser.model or browser.platform or "a browser"
    return DeviceInfo("browser", name, model, "", browser.cores, memory, browser.platform, details)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _certificate(address: str) -> ssl.SSLContext:
    """For this run only; nobody vouches for it, so browsers warn once.

    Raises:
        NotRunError: the library that makes it is not installed.
    """
    try:
        import trustme
    except ImportError as error:
        raise NotRunError(
            f"https needs a certificate, and a library is missing ({error})",
            "Install it with: pip install 'edgedet[browser]', or serve without threads and WebGPU: https=no.",
        ) from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert(address).configure_cert(context)
    return context
