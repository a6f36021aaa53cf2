"""What a measurement is asked to do: which pictures, how long, and in which manner."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pydantic


@dataclass(frozen=True)
class Budget:
    """How long one file is timed.

    Attributes:
        seconds: length of the recorded phase, warm-up included, unless `max_samples` come first or `min_samples` last
            longer.
        limit_seconds: a measurement that takes longer than this in all, beyond what its mode needs, is ended, and the
            file was not run.
    """

    seconds: float = 3.0
    max_samples: int = 1000
    min_samples: int = 5
    limit_seconds: float = 600.0


@dataclass(frozen=True)
class Steady:
    """One run after the other, as fast as they go.

    Attributes:
        early_stopping: record at least 1024 runs and 60 s, and report MLPerf's early-stopping estimate of p90 as well.
    """

    early_stopping: bool = False
    kind: Literal["steady"] = "steady"


@dataclass(frozen=True)
class Sustained:
    """One run after the other for `minutes`, to see what heat does: figures for every minute."""

    minutes: float
    kind: Literal["sustained"] = "sustained"


@dataclass(frozen=True)
class Rate:
    """As a camera app runs: a picture arrives `fps` times a second, the newest one is taken, others are dropped."""

    fps: float
    kind: Literal["rate"] = "rate"


Mode = Steady | Sustained | Rate


@dataclass(frozen=True)
class Request:
    """One measurement of one file, understood by every device.

    Attributes:
        images: photographs to cycle through; without any, pictures are generated.
        threads: CPU threads the runtime may use; None leaves the runtime's default.
        cores: numbers of the cores it is pinned to; None leaves that to the system.
    """

    images: tuple[Path, ...] = ()
    threads: int | None = None
    cores: tuple[int, ...] | None = None
    budget: Budget = field(default_factory=Budget)
    mode: Mode = field(default_factory=Steady)

    def to_json(self) -> dict[str, Any]:
        """A form that JSON holds, for a measuring process or an agent on another machine."""
        return dict(pydantic.TypeAdapter(Request).dump_python(self, mode="json"))

    @staticmethod
    def from_json(value: dict[str, Any]) -> Request:
        """The inverse of `to_json`.

        Raises:
            pydantic.ValidationError: fields are missing or of the wrong type.
        """
        return pydantic.TypeAdapter(Request).validate_python(value)


EARLY_STOPPING_SECONDS = 60.0  # MLPerf Inference: a run lasts at least one minute
EARLY_STOPPING_QUERIES = 1024  # and holds at least so many queries


def seconds_of(request: Request) -> float:
    """Length of the recorded phase that the request asks for."""
    mode = request.mode
    if isinstance(mode, Sustained):
        return mode.minutes * 60
    if isinstance(mode, Steady) and mode.early_stopping:
        return max(request.budget.seconds, EARLY_STOPPING_SECONDS)
    return request.budget.seconds
