"""What a Core ML kit measured, read and checked: a result that cannot be true is refused, one that is not of the file
at hand too."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic

from edgedet.benchmarks.devices.coreml_kit import SCHEMA, Job
from edgedet.benchmarks.environment import DeviceInfo, Environment
from edgedet.benchmarks.latency import Latency, NotRun
from edgedet.benchmarks.recording import FileFacts, Recording, file_facts, latency_from
from edgedet.errors import DataError

WHAT_IS_TIMED = "Core ML's own time of a prediction; pictures were resized before"
_SLACK_MS = 0.5  # two clocks and rounding
_AGAIN = "Measure again with the kit's measure.py, and copy its result.json unchanged."


@dataclass(frozen=True)
class PlannedOperator:
    """An operator, the device that Core ML prefers for it, those that could run it, and its share of the cost."""

    operator: str
    output: str
    device: str
    supported: tuple[str, ...]
    share: float | None


@dataclass(frozen=True)
class Plan:
    """Core ML's compute plan; `missing` says why there is none."""

    missing: str
    operators: tuple[PlannedOperator, ...]


@dataclass(frozen=True)
class KitDevice:
    """As `DeviceInfo`; coremltools does not tell the cores of a phone."""

    kind: str
    name: str
    model: str
    cpu: str
    cores: int | None
    memory_bytes: int | None
    os: str


@dataclass(frozen=True)
class KitRow:
    """What the script wrote about one choice of compute units: times, or why there are none.

    Attributes:
        where: name of the device, of a row without times.
        runs_ms: Core ML's own times after the first prediction.
        wall_ms: the same runs as the script saw them.
        starts_s: when each began.
    """

    compute_units: str
    where: str = "mac"
    not_run: str = ""
    device: KitDevice | None = None
    load_ms: float | None = None
    first_ms: float | None = None
    runs_ms: tuple[float, ...] = ()
    wall_ms: tuple[float, ...] = ()
    starts_s: tuple[float, ...] = ()
    peak_memory_bytes: int | None = None
    load_average_1m: tuple[float, float] | None = None
    versions: dict[str, str] = field(default_factory=dict)
    plan: Plan = field(default_factory=lambda: Plan("", ()))
    notes: dict[str, str] = field(default_factory=dict)


def read_kit_result(path: Path, models: Sequence[Path] = ()) -> list[Latency | NotRun]:
    """What the kit's script measured, one result for each choice of compute units.

    Args:
        path: the result.json.
        models: files, one of which it must be of; without any, the result's own description of the file counts.

    Raises:
        DataError: it is missing, damaged, impossible, or of another file.
    """
    job, rows = _parsed(path)
    facts = _facts(path, job, models)
    return [_result(path, job, facts, row) for row in rows]


def _parsed(path: Path) -> tuple[Job, tuple[KitRow, ...]]:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if (value["schema"], value["kit"]) != (SCHEMA, "coreml"):
            raise ValueError(f"schema {value['schema']} of kit {value['kit']!r}, and this edgedet reads {SCHEMA}")
        job = pydantic.TypeAdapter(Job).validate_python(value["job"])
        rows = pydantic.TypeAdapter(tuple[KitRow, ...]).validate_python(value["results"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not the result of a Core ML kit ({reason})", _AGAIN) from error
    if not rows:
        raise DataError(f"{path}: holds no measurement", _AGAIN)
    return job, rows


def _facts(path: Path, job: Job, models: Sequence[Path]) -> FileFacts:
    """The facts of the file that has the result's digest."""
    if not models:
        return job.facts
    known = [file_facts(model) for model in models]
    for facts in known:
        if facts.sha256 == job.facts.sha256:
            return facts
    names = ", ".join(str(model) for model in models)
    raise DataError(
        f"{path}: was measured on a file with digest {job.facts.sha256[:12]}, and {names} has another",
        "Name the file that the kit was made for, or make a new kit.",
    )


def _result(path: Path, job: Job, facts: FileFacts, row: KitRow) -> Latency | NotRun:
    if row.not_run:
        return NotRun(facts.artifact, f"{row.compute_units}: {row.not_run}", row.where)
    problem = _problem(row)
    if row.device is None or problem:
        raise DataError(f"{path}: {row.compute_units}: {problem or 'the device is not named'}", _AGAIN)
    recording = Recording(
        runtime=f"Core ML ({row.device.os})",
        provider=row.compute_units,
        images=job.images,
        environment=_environment(row, row.device),
        runs_ms=row.runs_ms,
        starts_s=row.starts_s,
        load_ms=row.load_ms,
        first_ms=row.first_ms,
        peak_memory_bytes=row.peak_memory_bytes,
    )
    return latency_from(facts, recording, job.request)


def _problem(row: KitRow) -> str:
    """Why the times cannot be true; empty where they can."""
    times = (*row.runs_ms, *row.wall_ms, *(time for time in (row.load_ms, row.first_ms) if time is not None))
    if not row.runs_ms:
        return "no run was recorded"
    if not all(math.isfinite(time) and time > 0 for time in times):
        return "a time is not a positive number"
    if not len(row.runs_ms) == len(row.wall_ms) == len(row.starts_s):
        return f"{len(row.runs_ms)} times, {len(row.wall_ms)} seen from outside and {len(row.starts_s)} beginnings"
    if any(own > wall + _SLACK_MS for own, wall in zip(row.runs_ms, row.wall_ms, strict=True)):
        return "Core ML took longer than the call that contained it"
    ends = [start + wall / 1e3 for start, wall in zip(row.starts_s, row.wall_ms, strict=True)]
    if any(later < end - _SLACK_MS / 1e3 for end, later in zip(ends[:-1], row.starts_s[1:], strict=True)):
        return "a run began before the one before it had ended"
    return ""


def _environment(row: KitRow, device: KitDevice) -> Environment:
    details = {} if device.cores else {"cores": "coremltools does not tell"}
    info = DeviceInfo(**{**vars(device), "cores": device.cores or 0}, details=details)
    return Environment(
        device=info,
        usable_cores=info.cores,
        load_average_1m=row.load_average_1m,
        versions=row.versions,
        notes={**row.notes, **plan_notes(row.plan), "stages": WHAT_IS_TIMED},
    )


def plan_notes(plan: Plan) -> dict[str, str]:
    """How many operators run where, and those that keep the dearest device from running all: kinds and devices."""
    if not plan.operators:
        return {"compute plan": plan.missing or "none"}
    by_device = Counter(operator.device for operator in plan.operators)
    notes = {"compute plan": ", ".join(f"{count} on {name}" for name, count in by_device.most_common())}
    main = by_device.most_common(1)[0][0]
    outside = Counter(
        f"{operator.operator} on {operator.device} ({_why(operator, main)})"
        for operator in plan.operators
        if operator.device != main
    )
    if outside:
        notes["outside the main device"] = ", ".join(f"{count} {text}" for text, count in outside.most_common())
    return notes


def _why(operator: PlannedOperator, main: str) -> str:
    return "Core ML's choice" if main in operator.supported else f"{main} cannot run it"
