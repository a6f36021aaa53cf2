"""Systems that a Core ML file can be made for, and what each brings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgedet.export.options import ExportOptions, choices


@dataclass(frozen=True)
class Target:
    """One row.

    Attributes:
        name: value of the option `coreml_target`, and of coremltools' `target`.
        systems: for people.
        version: specification version that this system is the first to read.
        model_type: of the detector: coremltools' `convert_to`.
    """

    name: str
    systems: str
    version: int
    model_type: str = "mlprogram"

    @property
    def is_program(self) -> bool:
        return self.model_type == "mlprogram"

    def of_coremltools(self) -> Any:
        from edgedet.export.coreml_library import ct

        return getattr(ct.target, self.name)


TARGETS: dict[str, Target] = {
    row.name: row
    for row in (
        Target("iOS14", "iOS 14, macOS 11", 5, "neuralnetwork"),
        Target("iOS15", "iOS 15, macOS 12", 6),
        Target("iOS16", "iOS 16, macOS 13", 7),
        Target("iOS17", "iOS 17, macOS 14", 8),
        Target("iOS18", "iOS 18, macOS 15", 9),
    )
}


_INTEGER_WEIGHTS, _INTEGERS = "iOS16", "iOS17"
# The first system with the operators of a precision; floats need none of them.
_OLDEST = dict.fromkeys(("int8-weights", "palette8", "palette6", "palette4", "pruned"), _INTEGER_WEIGHTS) | {
    "int8": _INTEGERS
}


def oldest_of(precision: str) -> Target | None:
    """The oldest system that can run a precision; None where all can."""
    name = _OLDEST.get(precision)
    return TARGETS[name] if name else None


def target_of(options: ExportOptions) -> Target:
    """The system that the file is made for: what was asked for, or, where nothing was, what the precision needs."""
    asked, oldest = TARGETS[options.coreml_target], oldest_of(options.precision)
    if oldest and asked.name == choices("coreml_target")[0] and asked.version < oldest.version:
        return oldest
    return asked


def target_problem(options: ExportOptions) -> str | None:
    """A system that was asked for and cannot run the precision, in the user's words."""
    target, oldest = target_of(options), oldest_of(options.precision)
    if oldest is None or target.version >= oldest.version:
        return None
    return (
        f"precision {options.precision} needs operators that {target.name} does not have: choose --coreml-target "
        f"{oldest.name} or later, or leave it out; or choose --precision fp16"
    )


def pads_columns(options: ExportOptions) -> bool:
    """Whether confidences get unused columns: the hazard is known for ML programs that feed a suppression model."""
    return options.class_padding and options.coreml_nms == "pipeline" and target_of(options).is_program
