"""A rule for Core ML files: an id, what it asks for, how to mend a file, and the check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgedet.export.coreml_view import ModelView
from edgedet.export.findings import Finding, Status

_NO_STAGE = "there is no NonMaximumSuppression model at the end of a pipeline"


@dataclass(frozen=True)
class Outcome:
    """What a check says: a status and why."""

    status: Status
    reason: str


Check = Callable[[ModelView], Outcome]


@dataclass(frozen=True)
class Rule:
    """One rule: `what` it asks for in a line, `fix` for whoever made the file, and the check itself."""

    id: str
    what: str
    fix: str
    check: Check
    needs_suppression: bool

    def finding(self, view: ModelView) -> Finding:
        """Check one file; most rules speak about the suppression stage and say nothing where there is none."""
        if self.needs_suppression and view.suppression is None:
            return Finding(self.id, "not applicable", _NO_STAGE)
        found = self.check(view)
        return Finding(self.id, found.status, found.reason, self.fix if found.status == "fail" else "")


def rule(name: str, what: str, fix: str, needs_suppression: bool = True) -> Callable[[Check], Rule]:
    """Turn a check into a Rule."""
    return lambda check: Rule(name, what, fix, check, needs_suppression)


def outcome(problem: str, otherwise: str) -> Outcome:
    """A failure when there is a problem."""
    return Outcome("fail", problem) if problem else Outcome("pass", otherwise)
