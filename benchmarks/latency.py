"""What a latency measurement gives, on whatever device, with the JSON form that `edgedet bench` writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pydantic

from edgedet.benchmarks.early_stopping import EarlyStopping
from edgedet.benchmarks.environment import DeviceInfo, Environment
from edgedet.benchmarks.latency_schema1 import from_schema1
from edgedet.benchmarks.noise import NoiseCheck
from edgedet.benchmarks.parts import Parts
from edgedet.benchmarks.rate import RateResult
from edgedet.benchmarks.request import Budget, Mode, Request
from edgedet.benchmarks.stats import Summary, ToolSummary
from edgedet.benchmarks.sustained import SustainedResult
from edgedet.benchmarks.warmup import WarmUp
from edgedet.errors import DataError

__all__ = ["Budget", "ImagesUsed", "Latency", "NotRun", "Request", "read_results", "results_json"]

SCHEMA = 2
REFERENCE_RUNTIME = "reference runtime"  # runners that interpret a file instead of running it as a device would say so


@dataclass(frozen=True)
class ImagesUsed:
    """The pictures that were cycled through: "photographs" (the user's files, in `names`), "generated" or "random".

    Generated pictures hold few objects or none that a network knows, so NMS may have less to do than on photographs.
    Random input is what tools on a device make up where they take no pictures.
    """

    source: str
    sizes_wh_px: tuple[tuple[int, int], ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Latency:
    """Latency of one file on one device, batch 1, in a process of its own.

    Attributes:
        artifact: path of the file, as it was given.
        runtime: name and version of what executed it.
        provider: what inside the runtime executed it, as that runtime calls it (a delegate, an execution provider, a
            backend); "" where there is no choice.
        file_bytes, sha256: of exactly the file (or the folder's files) that was timed.
        spec_digest, score_min: of the spec inside the file; a lower baked threshold gives NMS more work.
        images: what was shown.
        mode: how it was run.
        warmup: where the runs that count begin.
        load_ms: from the file to a ready runner. Python imports are not counted; the file is in the system's cache.
        first_ms: the first image, all stages.
        steady: all stages of the runs after warm-up; its samples are in the order of measuring. A `ToolSummary` has
            none, and maybe no percentiles: a tool on the device kept single runs to itself.
        stages: "preprocess" (resize), "inference" (the file: normalise, heads, decode, NMS) and "postprocess" (boxes to
            pixels of the image), from the same runs; empty where the device does not tell them apart.
        peak_memory_bytes: of the process, Python and torch included where it has them.
        environment: the device, and what went on there meanwhile.
        inside: where the time of the stage "inference" goes, by operators; None where the file was not taken apart.
        noise: signs that the measurement was disturbed, those that were not exceeded too.
        early_stopping, sustained, rate: of the modes of these names.
    """

    artifact: str
    format: str
    precision: str
    runtime: str
    provider: str
    file_bytes: int
    sha256: str
    spec_digest: str
    score_min: float
    images: ImagesUsed
    mode: Mode
    warmup: WarmUp
    load_ms: float | None
    first_ms: float | None
    steady: Summary | ToolSummary
    stages: dict[str, Summary]
    peak_memory_bytes: int | None
    environment: Environment
    noise: tuple[NoiseCheck, ...] = ()
    early_stopping: EarlyStopping | None = None
    sustained: SustainedResult | None = None
    rate: RateResult | None = None
    inside: Parts | None = None

    @property
    def device(self) -> DeviceInfo:
        return self.environment.device

    @property
    def is_device_latency(self) -> bool:
        """False where the runtime only interprets the file: such a time says nothing about any device."""
        return REFERENCE_RUNTIME not in self.runtime

    @property
    def trusted(self) -> bool:
        """Whether no sign of noise was exceeded."""
        return not any(check.exceeded for check in self.noise)

    def to_json(self) -> dict[str, Any]:
        head = {"schema": SCHEMA, "status": "measured", "device_latency": self.is_device_latency}
        return {**head, "trusted": self.trusted, **asdict(self)}

    @staticmethod
    def from_json(value: dict[str, Any]) -> Latency:
        """The inverse of `to_json`; reads the form of schema 1 too.

        Raises:
            pydantic.ValidationError: fields are missing or of the wrong type.
        """
        if "warmup_runs" in value:
            value = from_schema1(value)
        return pydantic.TypeAdapter(Latency).validate_python(value)


@dataclass(frozen=True)
class NotRun:
    """A file that could not be timed or evaluated, where, and why. Never to be read as a pass."""

    artifact: str
    reason: str
    device: str = "host"

    def to_json(self) -> dict[str, Any]:
        return {"status": "not run", **asdict(self)}


def results_json(results: Sequence[Latency | NotRun]) -> dict[str, Any]:
    """What `edgedet bench --json` writes."""
    return {"schema": SCHEMA, "results": [result.to_json() for result in results]}


def read_results(path: Path) -> list[Latency | NotRun]:
    """Read what `edgedet bench --json` wrote, of this schema or schema 1.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["results"]
        return [_not_run(row) if row["status"] == "not run" else Latency.from_json(row) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        first_line = str(error).splitlines()[0]
        raise DataError(f"{path}: holds no results of `edgedet bench` ({first_line})", "Measure again.") from error


def _not_run(row: dict[str, Any]) -> NotRun:
    return NotRun(row["artifact"], row["reason"], row.get("device", "host"))
