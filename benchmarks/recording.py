"""What an adapter records on a device, and the one way from there to a `Latency`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgedet.benchmarks.bootstrap import percentile_intervals
from edgedet.benchmarks.early_stopping import early_stopping
from edgedet.benchmarks.environment import Environment
from edgedet.benchmarks.latency import ImagesUsed, Latency
from edgedet.benchmarks.noise import Counters, NoiseCheck, diagnose
from edgedet.benchmarks.rate import at_rate
from edgedet.benchmarks.request import Rate, Request, Sustained
from edgedet.benchmarks.stats import Summary, ToolSummary, summarise
from edgedet.benchmarks.sustained import sustained
from edgedet.benchmarks.warmup import WarmUp, find_warm_up
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
        starts_s: when each of them began, in seconds since the recording did (in the mode `Rate`: since the first
            picture arrived); empty where not known. The modes `Sustained` and `Rate` need it.
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
        ValueError: the recording holds neither runs nor a summary, or not what the mode needs.
    """
    warmup = recording.warmup or find_warm_up(recording.runs_ms)
    kept = slice(warmup.runs, None)
    runs_ms, starts_s = recording.runs_ms[kept], recording.starts_s[kept]
    latency = Latency(
        **vars(facts),
        runtime=recording.runtime,
        provider=recording.provider,
        images=recording.images,
        mode=request.mode,
        warmup=warmup,
        load_ms=recording.load_ms,
        first_ms=recording.first_ms,
        steady=recording.summary or _with_intervals(runs_ms),
        stages={name: summarise(times[kept]) for name, times in recording.stages_ms.items()},
        peak_memory_bytes=recording.peak_memory_bytes,
        environment=recording.environment,
        noise=_noise(recording, runs_ms),
    )
    return _with_mode(latency, runs_ms, starts_s)


def _with_intervals(runs_ms: tuple[float, ...]) -> Summary:
    return replace(summarise(runs_ms), intervals_ms=percentile_intervals(runs_ms))


def _noise(recording: Recording, runs_ms: tuple[float, ...]) -> tuple[NoiseCheck, ...]:
    cycle = len(recording.images.sizes_wh_px)
    return diagnose(runs_ms, cycle, recording.counters, recording.environment.other_cores_busy)


def _with_mode(latency: Latency, runs_ms: tuple[float, ...], starts_s: tuple[float, ...]) -> Latency:
    """Add what the mode asked for."""
    mode = latency.mode
    if isinstance(latency.steady, ToolSummary):
        return latency  # a tool's aggregates say nothing of single runs
    if isinstance(mode, Sustained):
        return replace(latency, sustained=sustained(runs_ms, starts_s))
    if isinstance(mode, Rate):
        return replace(latency, rate=at_rate(runs_ms, starts_s, mode.fps))
    if mode.early_stopping:
        seconds = starts_s[-1] - starts_s[0] + runs_ms[-1] / 1e3 if starts_s else sum(runs_ms) / 1e3
        return replace(latency, early_stopping=early_stopping(runs_ms, seconds))
    return latency
