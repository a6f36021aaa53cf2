"""The contracts of `edgedet inspect`: what each library demands of a file, as lists of rules.

A contract is a row below and a module whose `findings(content)` takes FileReport.content of its kind. A rule is a
function that says what it found: it returns a reason when the rule holds, raises `RuleError` when it does not, and
`InapplicableError` when it has nothing to speak about, so that one fault shows as one failure and not as ten.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

from edgedet.export.findings import Finding


@dataclass(frozen=True)
class Contract:
    """One row.

    Attributes:
        name: what `--contract` takes.
        kind: the kind of files that it concerns, see edgedet.export.inspect.KINDS.
        module: with `findings(content) -> list[Finding]`.
        demands: whose demands these are.
    """

    name: str
    kind: str
    module: str
    demands: str

    def findings(self, content: Any) -> list[Finding]:
        """Each rule's finding, in the order of the rules."""
        return cast("list[Finding]", importlib.import_module(self.module).findings(content))


CONTRACTS = (
    Contract("task-library", "tflite", "edgedet.export.contracts_task_library", "TFLite Task Library, ObjectDetector"),
    Contract("mediapipe", "tflite", "edgedet.export.contracts_mediapipe", "MediaPipe Tasks, ObjectDetector"),
    Contract(
        "tflite-int8", "tflite", "edgedet.export.contracts_tflite_int8", "8 bits without loss of accuracy or time"
    ),
    Contract("vision", "coreml", "edgedet.export.contracts_vision", "Apple Vision, recognised objects"),
    Contract("onnx", "onnx", "edgedet.export.contracts_onnx", "ONNX Runtime 1.17 and edgedet's own outputs"),
    Contract("onnx-int8", "onnx", "edgedet.export.contracts_onnx_int8", "8 bits without loss of accuracy or time"),
)


class RuleError(Exception):
    """The file breaks the rule; the text says how."""


class InapplicableError(Exception):
    """The rule does not concern this file; the text says why."""


@dataclass(frozen=True)
class Rule:
    """A rule's id, the function that checks it, and what to do about a failure."""

    name: str
    check: Callable[[Any], str]
    fix: str

    def apply(self, content: Any) -> Finding:
        try:
            return Finding(self.name, "pass", self.check(content))
        except RuleError as broken:
            return Finding(self.name, "fail", str(broken), self.fix)
        except InapplicableError as inapplicable:
            return Finding(self.name, "not applicable", str(inapplicable))


def apply_rules(rules: Iterable[Rule], content: Any) -> list[Finding]:
    """One finding for each rule."""
    return [rule.apply(content) for rule in rules]
