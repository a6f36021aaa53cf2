"""The measuring process: loads one file, runs it, writes what it measured. Started by edgedet.benchmarks.harness.

python -m edgedet.benchmarks.worker REQUEST.json ANSWER.json
"""

from __future__ import annotations

import gc
import json
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch

from edgedet.benchmarks.environment import LoadWatch, peak_memory_bytes, read_environment
from edgedet.benchmarks.latency import Budget, ImagesUsed, Latency
from edgedet.benchmarks.stats import Summary, summarise
from edgedet.data import load_image
from edgedet.errors import EdgedetError
from edgedet.export.artifact import file_digest
from edgedet.export.pictures import generated_pictures
from edgedet.formats import format_of, load
from edgedet.preprocess import UInt8Image
from edgedet.runner import Runner, StageTimes


def main(request_path: Path, answer_path: Path) -> None:
    """Answer a request; a fault of the user's becomes an answer too, anything else a traceback and no answer."""
    request = json.loads(request_path.read_text(encoding="utf-8"))
    try:
        answer = _measure(request).to_json()
    except EdgedetError as error:
        answer = {"error": type(error).__name__, "what": error.what, "remedy": error.remedy}
    answer_path.write_text(json.dumps(answer, allow_nan=False), encoding="utf-8")


def _measure(request: dict[str, Any]) -> Latency:
    path, threads, budget = Path(request["path"]), request["threads"], Budget(**request["budget"])
    images, used = _pictures([Path(name) for name in request["images"]])
    if threads is not None:
        torch.set_num_threads(threads)  # resizing is torch's in every runner
    format_of(path).load_module()
    sha256, size = file_digest(path)
    watch = LoadWatch()

    start = time.perf_counter()
    runner = load(path, threads)
    load_ms = (time.perf_counter() - start) * 1e3
    first_ms = runner.timed(images[0])[1].total_ms
    warmup_runs = _warm_up(runner, images, budget)
    times = _steady(runner, images, budget)

    return Latency(
        artifact=str(path),
        format=runner.format,
        precision=runner.precision,
        runtime=runner.runtime,
        file_bytes=size,
        sha256=sha256,
        spec_digest=runner.spec.digest(),
        score_min=runner.spec.nms.score_min,
        images=used,
        warmup_runs=warmup_runs,
        load_ms=load_ms,
        first_ms=first_ms,
        steady=summarise([t.total_ms for t in times]),
        stages=_stages(times),
        peak_memory_bytes=peak_memory_bytes(),
        environment=read_environment(threads, watch),
    )


def _pictures(paths: list[Path]) -> tuple[list[UInt8Image], ImagesUsed]:
    images = [load_image(path) for path in paths] or generated_pictures()
    source = "photographs" if paths else "generated"
    sizes = tuple((image.shape[1], image.shape[0]) for image in images)
    return images, ImagesUsed(source, sizes, tuple(path.name for path in paths))


def _warm_up(runner: Runner, images: list[UInt8Image], budget: Budget) -> int:
    """Run until both the count and the time of the budget are reached; returns the count."""
    start = time.perf_counter()
    for runs, image in enumerate(cycle(images)):
        if runs >= budget.warmup_runs and time.perf_counter() - start >= budget.warmup_seconds:
            return runs
        runner.timed(image)
    raise AssertionError("unreachable: the pictures are cycled through without end")


def _steady(runner: Runner, images: list[UInt8Image], budget: Budget) -> list[StageTimes]:
    """Times of single images in a row. Python's garbage collector rests meanwhile, as in timeit."""
    times: list[StageTimes] = []
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    for image in islice(cycle(images), budget.max_samples):
        times.append(runner.timed(image)[1])
        if len(times) >= budget.min_samples and time.perf_counter() - start >= budget.seconds:
            break
    gc.enable()
    return times


def _stages(times: list[StageTimes]) -> dict[str, Summary]:
    return {
        "preprocess": summarise([t.preprocess_ms for t in times]),
        "inference": summarise([t.inference_ms for t in times]),
        "postprocess": summarise([t.postprocess_ms for t in times]),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
