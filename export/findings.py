"""Finding: what one rule of a contract says about one file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["pass", "fail", "not applicable"]


@dataclass(frozen=True)
class Finding:
    """One rule, checked on one file.

    Attributes:
        rule: the rule's id, unique within its contract: `tflite-four-outputs`.
        status: "not applicable" when the rule does not concern this file.
        reason: what was found in the file, as a sentence without its full stop.
        fix: what to do about a failure; empty otherwise.
    """

    rule: str
    status: Status
    reason: str
    fix: str = ""
