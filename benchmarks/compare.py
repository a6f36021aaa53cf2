"""Two files run in turns until it is known which is faster: `edgedet compare`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgedet.benchmarks.devices import Device
from edgedet.benchmarks.environment import Environment, LoadWatch, read_environment
from edgedet.benchmarks.harness import MAX_IMAGES
from edgedet.benchmarks.live import Interleaving, Ready, Stream
from edgedet.benchmarks.noise import NoiseCheck, diagnose
from edgedet.benchmarks.request import Request
from edgedet.benchmarks.sequential import Decision, decide, looks
from edgedet.benchmarks.stats import Summary, summarise
from edgedet.errors import NotRunError
from edgedet.progress import progress_bar

SCHEMA = 1
MAX_RUNS = 400
_UNRECORDED = 1  # the other file has just emptied the caches; one run fills them again


@dataclass(frozen=True)
class Comparison:
    """Result: the decision is about the time of `b` over that of `a`.

    Attributes:
        runs: recorded, of both files together.
        times_a, times_b: of the pairs, in order; b_first: which of the two ran first in each, drawn by lot.
        noise: signs in the ratios that the pairs differ for another reason than chance.
    """

    a: Ready
    b: Ready
    decision: Decision
    runs: int
    max_runs: int
    seed: int
    times_a: Summary
    times_b: Summary
    b_first: tuple[bool, ...]
    environment: Environment
    noise: tuple[NoiseCheck, ...]

    def to_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **asdict(self)}


def compare(
    device: Device, a: Path, b: Path, request: Request, max_runs: int = MAX_RUNS, seed: int | None = None
) -> Comparison:
    """Load both files on a device, and run them in turns.

    Args:
        request: images, threads and cores; its mode and the length of its budget do not matter.
        max_runs: of both files together; at least 32.
        seed: of the lot that decides who runs first; None draws one.

    Raises:
        NotRunError: the device cannot keep two files loaded at once.
        EdgedetError: as `Device.measure`.
    """
    if not isinstance(device, Interleaving):
        raise NotRunError(f"{device.name}: cannot run two files in turns", "Compare on another device, such as host.")
    seed = int(np.random.default_rng().integers(2**31)) if seed is None else seed
    request = replace(request, images=request.images[:MAX_IMAGES])
    watch = LoadWatch()
    with ExitStack() as stack:
        stream_a = stack.enter_context(_open(device, a, request))
        stream_b = stack.enter_context(_open(device, b, request))
        decision, pairs, b_first = run_pairs(stream_a, stream_b, max_runs // 2, seed)
        ready_a, ready_b = stream_a.ready, stream_b.ready
    times_a, times_b = zip(*pairs, strict=True)
    ratios = [time_b / time_a for time_a, time_b in pairs]
    environment = replace(read_environment(request.threads, watch, request.cores), other_cores_busy=None)
    return Comparison(
        ready_a, ready_b, decision, 2 * len(pairs), max_runs, seed, summarise(times_a), summarise(times_b), b_first,
        replace(environment, device=device.describe()), diagnose(ratios, 1, None, None),
    )  # fmt: skip


def run_pairs(
    a: Stream, b: Stream, max_pairs: int, seed: int
) -> tuple[Decision, list[tuple[float, float]], tuple[bool, ...]]:
    """Run pairs until a look decides; both times of a pair are of the same picture.

    Returns:
        The decision, milliseconds (a, b) of each pair, and which of the pairs b began.
    """
    rng = np.random.default_rng(seed)
    pairs: list[tuple[float, float]] = []
    b_first: list[bool] = []
    planned = looks(max_pairs)
    with progress_bar() as bar:
        task = bar.add_task("Runs", total=2 * max_pairs)
        for look in planned:
            while len(pairs) < look.pairs:
                b_first.append(bool(rng.random() < 0.5))
                pairs.append(_pair(a, b, len(pairs), b_first[-1]))
                bar.update(task, completed=2 * len(pairs))
            log_ratios = [math.log(time_b / time_a) for time_a, time_b in pairs]
            decision = decide(log_ratios, look, look is planned[-1])
            if decision.final:
                return decision, pairs, tuple(b_first)
    raise AssertionError("unreachable: the last look is final")


def _pair(a: Stream, b: Stream, image: int, b_first: bool) -> tuple[float, float]:
    if b_first:
        time_b = b.run(image, _UNRECORDED)
        return a.run(image, _UNRECORDED), time_b
    time_a = a.run(image, _UNRECORDED)
    return time_a, b.run(image, _UNRECORDED)


@contextmanager
def _open(device: Interleaving, file: Path, request: Request) -> Iterator[Stream]:
    stream = device.open_stream(file, request)
    try:
        yield stream
    finally:
        stream.close()
