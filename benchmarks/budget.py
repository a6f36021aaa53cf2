"""Budgets: what a file may cost, and whether what was measured keeps to that.

A measured number has an interval. A budget is kept when the whole interval lies within it, broken when the whole
interval lies beyond it, and undecided otherwise: more runs or a quieter machine would tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Literal

import pydantic
import yaml

from edgedet.errors import ConfigError

Status = Literal["pass", "fail", "undecided", "not run"]
_Limit = Annotated[float, pydantic.Field(ge=0)]


class Limits(pydantic.BaseModel):
    """What files may cost; None where there is no limit.

    Attributes:
        files: pattern of file names they hold for, such as "*.tflite".
        bytes: size of the file, or of all files of a folder.
        p90_ms: all stages, steady state.
        map_loss: COCO AP of the model.pt minus that of the file.
        operators_outside: how many operators its delegate may leave to the interpreter.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    files: str = "*"
    bytes: Annotated[int, pydantic.Field(ge=0)] | None = None
    p90_ms: _Limit | None = None
    map_loss: _Limit | None = None
    operators_outside: Annotated[int, pydantic.Field(ge=0)] | None = None


class BudgetFile(pydantic.BaseModel):
    """budget.yaml."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    schema_: Literal[1] = pydantic.Field(alias="schema")
    budgets: Annotated[list[Limits], pydantic.Field(min_length=1)]


@dataclass(frozen=True)
class Check:
    """One limit and one file.

    Attributes:
        limit_name: "bytes", "p90_ms", "map_loss" or "operators_outside".
        value: None where nothing was measured; interval: of the value, None where it is exact.
        reason: why it is undecided or was not run, or what else to know.
    """

    file: str
    limit_name: str
    limit: float
    status: Status
    value: float | None = None
    interval: tuple[float, float] | None = None
    reason: str = ""


def read_budget(path: Path) -> list[Limits]:
    """Read budget.yaml.

    Raises:
        ConfigError: it is missing, no YAML, or holds a field that does not exist or a value that cannot be.
    """
    try:
        return BudgetFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).budgets
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})", "Check the path.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is no YAML ({' '.join(str(error).split())})", "Mend that line.") from error
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise ConfigError(f"{path}: {place}: {first['msg']}", "See docs/benchmarking.md for the fields.") from error


def limits_for(file: Path, budgets: Sequence[Limits]) -> list[tuple[str, float]]:
    """Names and values of all limits of a file; where several patterns limit the same, the last one counts.

    Raises:
        ConfigError: no pattern holds for the file, so that it would be let pass unseen.
    """
    matching = [budget for budget in budgets if fnmatch(file.name, budget.files)]
    found: dict[str, float] = {}
    for budget in matching:
        found |= budget.model_dump(exclude={"files"}, exclude_none=True)
    if not found:
        raise ConfigError(f"{file}: no budget is for this file", "Add a pattern for it, or leave the file out.")
    return list(found.items())


def judge(
    file: str, name: str, limit: float, value: float, interval: tuple[float, float] | None = None, reason: str = ""
) -> Check:  # fmt: skip
    """Compare a value, or the whole of its interval, with the limit. The limit itself is allowed."""
    low, high = interval or (value, value)
    status: Status = "pass" if high <= limit else "fail" if low > limit else "undecided"
    return Check(file, name, limit, status, value, interval, reason)


def number_text(number: float) -> str:
    """Whole numbers in full, others with four digits."""
    return f"{number:.0f}" if float(number).is_integer() else f"{number:.4g}"
