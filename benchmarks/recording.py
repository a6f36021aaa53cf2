"""What an adapter records on a device, and the one way from there to a `Latency`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgedet.benchmarks.environment import Environment
from edgedet.benchmarks.latency import ImagesUsed, Latency
from edgedet.benchmarks.noise import Counters
from edgedet.benchmarks.request import Request
from edgedet.benchmarks.stats import ToolSummary, summarise
from edgedet.benchmarks.warmup import WarmUp
from edgedet.errors import ModelFileError
from edgedet.export.artifact import file_digest
from edgedet.formats import format_of, load


@dataclass(frozen=True)
class FileFacts:
    """What is known about a model file before it runs anywhere; the names of `Latency` mean the same."""

    artifact: str
    format: str
    precision: str
    file_bytes: int
    sha256: str
    spec_digest: str
    score_min: float


@dataclass(frozen=True)
class Recording:
    """Raw times of one file on one device; warm-up is among them.

    Attributes:
        runtime, provider, load_ms, first_ms, images, peak_memory_bytes, environment: as in `Latency`.
        runs_ms: every run after the first, all stages, in order; empty where a tool keeps them to itself.
        stages_ms: the same runs by stage; empty where the device does not tell them apart.
        starts_s: when each of them began, in seconds since the first of them began; empty where not known. The modes
            `Sustained` and `Rate` need it.
        summary: what a tool says that keeps single runs to itself; such a tool has its own warm-up.
        warmup: where a tool on the device decided it; None lets it be found here.
        counters: what the device's system counted meanwhile; None where it does not tell.
    """

    runtime: str
    images: ImagesUsed
    environment: Environment
    runs_ms: tuple[float, ...]
    provider: str = ""
    load_ms: float | None = None
    first_ms: float | None = None
    stages_ms: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    starts_s: tuple[float, ...] = ()
    peak_memory_bytes: int | None = None
    summary: ToolSummary | None = None
    warmup: WarmUp | None = None
    counters: Counters | None = None


def file_facts(path: Path) -> FileFacts:
    """Read a model file's own facts; loads it on this host, but runs nothing.

    Raises:
        ModelFileError: the file is missing, damaged or foreign.
        NotRunError: the library that reads it is not installed.
    """
    format_of(path)
    if not path.exists():
        raise ModelFileError(f"{path}: there is no such file", "Check the path, or run `edgedet export`.")
    sha256, size = file_digest(path)
    runner = load(path)
    digest, score_min = runner.spec.digest(), runner.spec.nms.score_min
    return FileFacts(str(path), runner.format, runner.precision, size, sha256, digest, score_min)


def latency_from(facts: FileFacts, recording: Recording, request: Request) -> Latency:
    """Judge a recording: where warm-up ends, percentiles and their intervals, noise, and what the mode adds.

    Raises:
        ValueError: the recording holds neither runs nor a summary.
    """
    warmup = recording.warmup or WarmUp(0, "too few runs")
    kept = slice(warmup.runs, None)
    return Latency(
        **vars(facts),
        runtime=recording.runtime,
        provider=recording.provider,
        images=recording.images,
        mode=request.mode,
        warmup=warmup,
        load_ms=recording.load_ms,
        first_ms=recording.first_ms,
        steady=recording.summary or summarise(recording.runs_ms[kept]),
        stages={name: summarise(times[kept]) for name, times in recording.stages_ms.items()},
        peak_memory_bytes=recording.peak_memory_bytes,
        environment=recording.environment,
    )
