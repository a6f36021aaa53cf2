"""Latency on this host. Each file is timed in a process of its own, so that no runtime disturbs another."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgedet import errors
from edgedet.benchmarks.latency import Latency, NotRun
from edgedet.benchmarks.request import Budget, Request, seconds_of
from edgedet.data.image import IMAGE_SUFFIXES
from edgedet.errors import DataError, EdgedetError, ModelFileError
from edgedet.formats import format_of
from edgedet.progress import progress_bar

__all__ = ["Budget", "Latency", "NotRun", "measure", "measure_each", "measure_here"]

MAX_IMAGES = 32  # held decoded in memory; more would not change the percentiles


def measure(
    path: Path, images: Sequence[Path] = (), threads: int | None = None, budget: Budget | None = None
) -> Latency:
    """Time one model file: `measure_here` in the steady mode."""
    return measure_here(path, Request(tuple(images), threads, budget=budget or Budget()))


def measure_here(path: Path, request: Request, opener: tuple[str, str] | None = None) -> Latency:
    """Time one model file on this machine.

    Args:
        path: a .pt, .onnx, .tflite or .mlpackage.
        request: what is to be done; the first 32 of its images are used.
        opener: module and argument of `open_runner(path, threads, argument)`, where another runtime than the format's
            own is to run the file.

    Raises:
        NotRunError: the runtime is not installed, or the process cannot be pinned.
        ModelFileError: the file is missing, damaged or foreign.
        DataError: an image cannot be read.
        EdgedetError: the measuring process died or took longer than the budget's limit.
    """
    format_of(path)  # an unknown suffix needs no process to be refused
    if not path.exists():
        raise ModelFileError(f"{path}: there is no such file", "Check the path, or run `edgedet export`.")
    request = replace(request, images=request.images[:MAX_IMAGES])
    with tempfile.TemporaryDirectory(prefix="edgedet-bench-") as scratch:
        question = {"path": str(path), "request": request.to_json(), "opener": opener}
        answer = _ask_worker(question, Path(scratch), request)
    if "error" in answer:
        raise getattr(errors, answer["error"])(answer["what"], answer["remedy"])
    return Latency.from_json(answer)


def measure_each(
    paths: Sequence[Path], images: Sequence[Path] = (), threads: int | None = None, budget: Budget | None = None
) -> list[Latency | NotRun]:
    """Time several files one after the other. A file that cannot be timed gives a `NotRun` with the reason.

    Raises:
        DataError: an image cannot be read; that is no fault of any one file.
    """
    results: list[Latency | NotRun] = []
    for path in paths:
        try:
            results.append(measure(path, images, threads, budget))
        except DataError:
            raise
        except EdgedetError as error:
            results.append(NotRun(str(path), str(error)))
    return results


def find_images(folder: Path) -> list[Path]:
    """The pictures directly in a folder, by name.

    Raises:
        DataError: no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder", "Give --images a folder of pictures.")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise DataError(f"{folder}: holds no picture ({', '.join(IMAGE_SUFFIXES)})", "Give --images another folder.")
    return found


def _ask_worker(question: dict[str, Any], scratch: Path, request: Request) -> dict[str, Any]:
    """Run the worker module on a request; its answer is a file, because runtimes write to stdout as they like."""
    request_path, answer_path, log_path = scratch / "request.json", scratch / "answer.json", scratch / "log.txt"
    request_path.write_text(json.dumps(question), encoding="utf-8")
    command = [sys.executable, "-m", "edgedet.benchmarks.worker", str(request_path), str(answer_path)]
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            _wait(process, question["path"], request)
        finally:
            process.kill()
            process.wait()
    if not answer_path.exists():
        raise EdgedetError(
            f"{question['path']}: the measuring process {_ending(process.returncode, log_path)}",
            "Run `edgedet predict` on the same file to see where it fails.",
        )
    answer: dict[str, Any] = json.loads(answer_path.read_text(encoding="utf-8"))
    return answer


def _wait(process: subprocess.Popen[bytes], name: str, request: Request) -> None:
    """Wait with a bar that follows the clock: asking the worker how far it is would disturb what it measures."""
    wanted = seconds_of(request)
    start = time.monotonic()
    with progress_bar() as bar:
        task = bar.add_task(f"Timing {Path(name).name} (s)", total=round(wanted + 3))
        while True:
            try:
                process.wait(timeout=0.5)
                return
            except subprocess.TimeoutExpired:
                elapsed = time.monotonic() - start
            bar.update(task, completed=round(elapsed))
            if elapsed > wanted + request.budget.limit_seconds:
                what = f"{name}: could not be timed within {wanted + request.budget.limit_seconds:.0f} s"
                raise EdgedetError(what, "Choose a smaller model or more threads.")


def _ending(code: int, log_path: Path) -> str:
    """How a process ended, and the last thing it said."""
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    said = log_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"{how}: {said[-1][:200]}" if said else how
