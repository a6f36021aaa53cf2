"""The measuring process: loads one file, runs it, writes what it measured. Started by edgedet.benchmarks.harness.

python -m edgedet.benchmarks.worker REQUEST.json ANSWER.json
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from itertools import cycle
from pathlib import Path

import torch

from edgedet.benchmarks.environment import LoadWatch, peak_memory_bytes, read_environment
from edgedet.benchmarks.latency import ImagesUsed, Latency
from edgedet.benchmarks.recorder import record
from edgedet.benchmarks.recording import FileFacts, Recording, latency_from
from edgedet.benchmarks.request import Request
from edgedet.data import load_image
from edgedet.errors import EdgedetError, NotRunError
from edgedet.export.artifact import file_digest
from edgedet.export.pictures import generated_pictures
from edgedet.formats import format_of, load
from edgedet.preprocess import UInt8Image
from edgedet.runner import Runner


def main(request_path: Path, answer_path: Path) -> None:
    """Answer a request; a fault of the user's becomes an answer too, anything else a traceback and no answer."""
    question = json.loads(request_path.read_text(encoding="utf-8"))
    try:
        asked = Request.from_json(question["request"])
        answer = _measure(Path(question["path"]), asked, question.get("opener")).to_json()
    except EdgedetError as error:
        answer = {"error": type(error).__name__, "what": error.what, "remedy": error.remedy}
    answer_path.write_text(json.dumps(answer, allow_nan=False), encoding="utf-8")


def _measure(path: Path, request: Request, opener: list[str] | None) -> Latency:
    images, used = pictures(request.images)
    prepare_process(request)
    format_of(path).load_module()
    if opener:
        importlib.import_module(opener[0])
    sha256, size = file_digest(path)
    watch = LoadWatch()

    start = time.perf_counter()
    runner = open_with(path, request.threads, opener)
    load_ms = (time.perf_counter() - start) * 1e3
    first_ms = runner.timed(images[0])[1].total_ms
    runs = record(lambda image: runner.timed(image)[1], cycle(images), request)

    recording = Recording(
        runtime=runner.runtime,
        provider=runner.provider,
        images=used,
        environment=read_environment(request.threads, watch, request.cores),
        runs_ms=tuple(times.total_ms for times in runs.times),
        load_ms=load_ms,
        first_ms=first_ms,
        stages_ms={
            "preprocess": tuple(times.preprocess_ms for times in runs.times),
            "inference": tuple(times.inference_ms for times in runs.times),
            "postprocess": tuple(times.postprocess_ms for times in runs.times),
        },
        starts_s=runs.starts_s,
        peak_memory_bytes=peak_memory_bytes(),
        counters=runs.counters,
    )
    return latency_from(facts_of(path, runner, sha256, size), recording, request)


def open_with(path: Path, threads: int | None, opener: list[str] | None) -> Runner:
    """The format's own runner, or that of another runtime; see `edgedet.benchmarks.harness.measure_here`."""
    if not opener:
        return load(path, threads)
    module, argument = opener
    runner: Runner = importlib.import_module(module).open_runner(path, threads, argument)
    return runner


def pictures(paths: tuple[Path, ...]) -> tuple[list[UInt8Image], ImagesUsed]:
    """The pictures, decoded, and what to say about them.

    Raises:
        DataError: an image cannot be read.
    """
    images = [load_image(path) for path in paths] or generated_pictures()
    source = "photographs" if paths else "generated"
    sizes = tuple((image.shape[1], image.shape[0]) for image in images)
    return images, ImagesUsed(source, sizes, tuple(path.name for path in paths))


def prepare_process(request: Request) -> None:
    """Pin this process and set torch's threads, before any runtime starts threads of its own.

    Raises:
        NotRunError: this system cannot pin processes, or has no such core.
    """
    if request.cores is not None:
        if not hasattr(os, "sched_setaffinity"):
            raise NotRunError(f"cores {request.cores}: this system cannot pin a process to cores", "Leave --cores out.")
        try:
            os.sched_setaffinity(0, request.cores)
        except OSError as error:
            usable = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
            raise NotRunError(f"cores {request.cores}: {error.strerror}", f"Usable are: {usable}.") from error
    if request.threads is not None:
        torch.set_num_threads(request.threads)  # resizing is torch's in every runner


def facts_of(path: Path, runner: Runner, sha256: str, size: int) -> FileFacts:
    """What is known about the file once it is loaded."""
    digest, score_min = runner.spec.digest(), runner.spec.nms.score_min
    return FileFacts(str(path), runner.format, runner.precision, size, sha256, digest, score_min)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
