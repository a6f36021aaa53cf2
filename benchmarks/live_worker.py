"""A process that keeps one file loaded and runs it on demand. Started by edgedet.benchmarks.live.

python -m edgedet.benchmarks.live_worker SOCKET_FD

Questions and answers are lines of JSON on a socket it inherits; runtimes write to stdout as they like. The first
question is {"path", "request"}; then each one {"image": number, "unrecorded": runs before} is answered {"ms": time}.
A fault of the user's is answered {"error", "what", "remedy"}. It ends when the socket closes.
"""

from __future__ import annotations

import ctypes
import gc
import json
import signal
import socket
import sys
from dataclasses import asdict, replace
from itertools import cycle
from pathlib import Path
from typing import Any, TextIO

from edgedet.benchmarks.recorder import record
from edgedet.benchmarks.request import Budget, Request, Steady
from edgedet.benchmarks.warmup import WarmUp, find_warm_up
from edgedet.benchmarks.worker import facts_of, pictures, prepare_process
from edgedet.errors import EdgedetError
from edgedet.export.artifact import file_digest
from edgedet.formats import format_of, load
from edgedet.preprocess import UInt8Image
from edgedet.runner import Runner

_WARM_UP = Budget(seconds=1.0, min_samples=20)
_MOST_TRIES = 5  # a file that never settles is compared all the same: interleaving cancels what both have in common


_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux's prctl(2)


def main(descriptor: int) -> None:
    _die_with_parent()
    connection = socket.socket(fileno=descriptor)
    with connection, connection.makefile("rw", encoding="utf-8") as lines:
        try:
            question = json.loads(lines.readline())
            _serve(lines, Path(question["path"]), Request.from_json(question["request"]))
        except EdgedetError as error:
            _say(lines, {"error": type(error).__name__, "what": error.what, "remedy": error.remedy})


def _die_with_parent() -> None:
    """A stopped process does not notice that its socket closed: were the parent killed, it would stay for ever."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


def _serve(lines: TextIO, path: Path, request: Request) -> None:
    images, used = pictures(request.images)
    prepare_process(request)
    format_of(path).load_module()
    sha256, size = file_digest(path)
    runner = load(path, request.threads)
    warmup = _warm_up(runner, images, request)
    ready = {"facts": asdict(facts_of(path, runner, sha256, size)), "runtime": runner.runtime}
    _say(lines, {**ready, "images": asdict(used), "warmup": asdict(warmup)})
    gc.collect()
    gc.disable()
    for line in lines:
        turn = json.loads(line)
        image = images[turn["image"] % len(images)]
        for _ in range(turn["unrecorded"]):
            runner.timed(image)
        _say(lines, {"ms": runner.timed(image)[1].total_ms})


def _warm_up(runner: Runner, images: list[UInt8Image], request: Request) -> WarmUp:
    """Run until no change of level is left in the second half of the runs."""
    asked = replace(request, budget=_WARM_UP, mode=Steady())
    times_ms: list[float] = []
    found = WarmUp(0, "too few runs")
    for _ in range(_MOST_TRIES):
        runs = record(lambda image: runner.timed(image)[1], cycle(images), asked)
        times_ms += [times.total_ms for times in runs.times]
        found = find_warm_up(times_ms)
        if found.found in ("none", "change point"):
            break
    return replace(found, runs=len(times_ms))


def _say(lines: TextIO, value: dict[str, Any]) -> None:
    lines.write(json.dumps(value) + "\n")
    lines.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
