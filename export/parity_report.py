"""What a comparison of a file with model.pt found: frozen data, JSON in and out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pydantic

from edgedet.errors import ModelFileError

SCHEMA = 1
Status = Literal["passed", "failed", "not run"]


@dataclass(frozen=True)
class ErrorStats:
    """Absolute differences of `count` numbers."""

    count: int
    median: float
    p99: float
    max: float

    @staticmethod
    def of(errors: npt.NDArray[np.floating[Any]]) -> ErrorStats:
        """Of an array of any shape; not finite where the file gave a number that is not finite."""
        if errors.size == 0:
            return ErrorStats(0, 0.0, 0.0, 0.0)
        if not np.isfinite(errors).all():
            return ErrorStats(int(errors.size), *([float("inf")] * 3))
        median, p99 = np.quantile(errors, (0.5, 0.99))
        return ErrorStats(int(errors.size), float(median), float(p99), float(errors.max()))


@dataclass(frozen=True)
class Check:
    """One number against its limit."""

    name: str
    value: float
    limit: float

    @property
    def passed(self) -> bool:
        return self.value <= self.limit  # false for NaN


@dataclass(frozen=True)
class Depth:
    """One depth of the comparison.

    Attributes:
        name: "heads", "decoded", "detections" or "accuracy".
        checks: what decides; empty where the depth was not run.
        reason: why it, or a part of it, was not run; "" otherwise.
        errors: statistics by quantity, with the unit in the name.
        counts: of detections, by outcome.
        values: other numbers, such as the mAP of both.
    """

    name: str
    checks: tuple[Check, ...] = ()
    reason: str = ""
    errors: dict[str, ErrorStats] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)

    @property
    def status(self) -> Status:
        if not self.checks:
            return "not run"
        return "passed" if all(check.passed for check in self.checks) else "failed"

    def failures(self) -> list[str]:
        """The checks that failed, with numbers."""
        return [f"{c.name} is {c.value:.4g}, the limit is {c.limit:.4g}" for c in self.checks if not c.passed]


@dataclass(frozen=True)
class ParityReport:
    """All depths for one file. It passed only when final detections were compared and no depth failed."""

    format: str
    precision: str
    runtime: str
    images: int
    depths: tuple[Depth, ...]
    schema: int = SCHEMA

    @property
    def status(self) -> Status:
        statuses = {depth.name: depth.status for depth in self.depths}
        if "failed" in statuses.values():
            return "failed"
        return "passed" if statuses.get("detections") == "passed" else "not run"

    @property
    def passed(self) -> bool:
        return self.status == "passed"

    def depth(self, name: str) -> Depth:
        return next(depth for depth in self.depths if depth.name == name)

    def reasons(self) -> list[str]:
        """One line for each depth that did not pass."""
        lines = [f"{d.name}: {line}" for d in self.depths for line in d.failures()]
        return lines + [f"{d.name}: not run ({d.reason})" for d in self.depths if d.status == "not run"]

    def to_json(self) -> dict[str, Any]:
        """Plain values; the statuses are written out for readers of the JSON, and ignored when it is read back."""
        depths = [{**asdict(depth), "status": depth.status} for depth in self.depths]
        return {**asdict(self), "depths": _finite(depths), "status": self.status}

    @staticmethod
    def from_json(value: dict[str, Any]) -> ParityReport:
        """Raises ModelFileError where `value` is not what `to_json` gave."""
        plain = {key: item for key, item in value.items() if key != "status"}
        try:
            plain["depths"] = [{k: v for k, v in depth.items() if k != "status"} for depth in value["depths"]]
            return _ADAPTER.validate_python(plain)
        except (pydantic.ValidationError, KeyError, AttributeError, TypeError) as error:
            raise ModelFileError("the parity result is not readable", "Run `edgedet verify` again.") from error


_ADAPTER: pydantic.TypeAdapter[ParityReport] = pydantic.TypeAdapter(ParityReport)


def _finite(value: Any) -> Any:
    """JSON has no infinity: 1e308 stands for it, so that a failed comparison stays failed."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return 1e308
    return value
