"""What a latency measurement asks for and what it gives, with the JSON form that `edgedet bench` writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pydantic

from edgedet.benchmarks.environment import Environment
from edgedet.benchmarks.stats import Summary

SCHEMA = 1
REFERENCE_RUNTIME = "reference runtime"  # runners that interpret a file instead of running it as a device would say so


@dataclass(frozen=True)
class Budget:
    """How long one file is timed.

    Attributes:
        seconds: length of the steady phase, unless `max_samples` come first or `min_samples` last longer.
        warmup_runs, warmup_seconds: runs after the first that are not counted; both must be reached.
        limit_seconds: a process that takes longer than this in all is ended, and the file was not run.
    """

    seconds: float = 3.0
    max_samples: int = 200
    min_samples: int = 5
    warmup_runs: int = 3
    warmup_seconds: float = 0.3
    limit_seconds: float = 600.0


@dataclass(frozen=True)
class ImagesUsed:
    """The pictures that were cycled through: "photographs" (the user's files, in `names`) or "generated".

    Generated pictures hold few objects or none that a network knows, so NMS may have less to do than on photographs.
    """

    source: str
    sizes_wh_px: tuple[tuple[int, int], ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Latency:
    """Latency of one file on this host, batch 1, in a process of its own.

    Attributes:
        artifact: path of the file, as it was given.
        runtime: name and version of what executed it.
        file_bytes, sha256: of exactly the file (or the folder's files) that was timed.
        spec_digest, score_min: of the spec inside the file; a lower baked threshold gives NMS more work.
        images: what was shown.
        warmup_runs: runs between the first and the first that counts.
        load_ms: from the file to a ready runner. Python imports are not counted; the file is in the system's cache.
        first_ms: the first image, all stages.
        steady: all stages of the runs after warm-up; its samples are in the order of measuring.
        stages: "preprocess" (resize), "inference" (the file: normalise, heads, decode, NMS) and "postprocess" (boxes to
            pixels of the image), from the same runs.
        peak_memory_bytes: of the process, Python and torch included.
    """

    artifact: str
    format: str
    precision: str
    runtime: str
    file_bytes: int
    sha256: str
    spec_digest: str
    score_min: float
    images: ImagesUsed
    warmup_runs: int
    load_ms: float
    first_ms: float
    steady: Summary
    stages: dict[str, Summary]
    peak_memory_bytes: int
    environment: Environment

    @property
    def is_device_latency(self) -> bool:
        """False where the runtime only interprets the file: such a time says nothing about any device."""
        return REFERENCE_RUNTIME not in self.runtime

    def to_json(self) -> dict[str, Any]:
        return {"status": "measured", "device_latency": self.is_device_latency, **asdict(self)}

    @staticmethod
    def from_json(value: dict[str, Any]) -> Latency:
        """The inverse of `to_json`.

        Raises:
            pydantic.ValidationError: fields are missing or of the wrong type.
        """
        return pydantic.TypeAdapter(Latency).validate_python(value)


@dataclass(frozen=True)
class NotRun:
    """A file that could not be timed or evaluated, and why. Never to be read as a pass."""

    artifact: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        return {"status": "not run", "artifact": self.artifact, "reason": self.reason}


def results_json(results: Sequence[Latency | NotRun]) -> dict[str, Any]:
    """What `edgedet bench --json` writes."""
    return {"schema": SCHEMA, "results": [result.to_json() for result in results]}
