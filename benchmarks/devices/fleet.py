"""Many devices at once, one job at a time on each. What was measured before is not measured again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from edgedet.benchmarks.devices.fleet_file import Job
from edgedet.benchmarks.latency import Latency, NotRun, read_results
from edgedet.errors import DataError
from edgedet.progress import progress_bar

WORKER = ("-m", "edgedet.benchmarks.devices.fleet_worker")
_CLEANING_SECONDS = 60.0  # a device that was interrupted is left as it was found, which takes a moment
Report = Callable[[str, str], None]


def run_fleet(jobs: Sequence[Job]) -> list[Latency | NotRun]:
    """Run all jobs that have no result yet; a failure stops neither its device nor the others.

    Returns:
        A result a job, in their order. What could not be run is tried again the next time.
    """
    found: dict[Path, Latency | NotRun] = {}
    for job in jobs:
        earlier = _earlier(job)
        if earlier is not None:
            found[job.place] = earlier
    left: dict[str, list[Job]] = {}
    for job in jobs:
        if job.place not in found:
            left.setdefault(job.device, []).append(job)
    runners = [_Runner(device, waiting) for device, waiting in left.items()]
    with progress_bar() as bar:
        tasks = {
            runner.device: bar.add_task(f"{runner.device}: starting", total=len(runner.jobs)) for runner in runners
        }

        def report(device: str, file: str) -> None:
            bar.update(tasks[device], description=f"{device}: {file}" if file else None, advance=0 if file else 1)

        _run_all(runners, report)
    for runner in runners:
        found.update(runner.results)
    return [found[job.place] for job in jobs]


def _earlier(job: Job) -> Latency | None:
    """The result of an earlier run; a damaged file counts as none."""
    try:
        results = read_results(job.place)
    except DataError:
        return None
    return results[0] if len(results) == 1 and isinstance(results[0], Latency) else None


@dataclass
class _Runner:
    """One device's process, and a thread that listens to it."""

    device: str
    jobs: list[Job]
    results: dict[Path, Latency | NotRun] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    stopped: threading.Event = field(default_factory=threading.Event)
    finished: threading.Event = field(default_factory=threading.Event)

    def run(self, report: Report) -> None:
        """Until every job has a result. A process that dies fails the job it was at; a new one does the rest."""
        waiting = list(self.jobs)
        try:
            while waiting and not self.stopped.is_set():
                waiting = self._one_process(waiting, report)
        finally:
            self.finished.set()

    def _one_process(self, waiting: list[Job], report: Report) -> list[Job]:
        with tempfile.TemporaryDirectory(prefix="edgedet-fleet-") as folder:
            path, log = Path(folder) / "jobs.json", Path(folder) / "log.txt"
            path.write_text(json.dumps([job.to_json() for job in waiting]), encoding="utf-8")
            command = [sys.executable, *WORKER, str(path)]
            with log.open("wb") as errors:
                self.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True,
                    start_new_session=True,
                )  # fmt: skip
            assert self.process.stdout is not None
            for line in self.process.stdout:
                answer = json.loads(line)
                if "begun" in answer:
                    report(self.device, answer["begun"])
                    continue
                job = waiting.pop(0)
                self.results[job.place] = self._result(job, answer)
                report(self.device, "")
            code = self.process.wait()
            if waiting and not self.stopped.is_set():
                job = waiting.pop(0)
                self.results[job.place] = NotRun(str(job.file), _ending(code, log), self.device)
                report(self.device, "")
        return waiting

    def _result(self, job: Job, answer: dict[str, str]) -> Latency | NotRun:
        if "reason" in answer:
            return NotRun(str(job.file), answer["reason"], self.device)
        return _earlier(job) or NotRun(str(job.file), f"{job.place} cannot be read back", self.device)

    def stop(self) -> None:
        """End the process as Ctrl-C does, so that it leaves the device clean."""
        self.stopped.set()
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGINT)


def _run_all(runners: Sequence[_Runner], report: Report) -> None:
    """A thread a device; Ctrl-C ends all of them, and waits until they have cleaned up.

    Events are waited for, because Python 3.11 takes a thread for ended once Ctrl-C has interrupted its `join`.
    """
    for runner in runners:
        threading.Thread(target=runner.run, args=(report,), daemon=True).start()
    try:
        for runner in runners:
            runner.finished.wait()
    except BaseException:
        for runner in runners:
            runner.stop()
        for runner in runners:
            if not runner.finished.wait(_CLEANING_SECONDS) and runner.process is not None:
                runner.process.kill()
        raise


def _ending(code: int, log: Path) -> str:
    """How a process ended, and the last thing it said."""
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"the measuring process {how}" + (f": {said[-1][:200]}" if said else "")
