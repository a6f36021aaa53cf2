"""What can be wrong with a data set: one table of kinds, and Fault, one finding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Severity = Literal["error", "warning"]
Effect = Literal["stops", "left out", "kept"]


@dataclass(frozen=True)
class FaultKind:
    """A row of KINDS.

    Attributes:
        severity: "error" makes `edgedet data check` fail, "warning" does not.
        effect: what `read_dataset` does: "stops" raises DataError; "left out" drops the object or picture and says so
            in Dataset.left_out; "kept" uses it.
        remedy: what the user can do, as an imperative sentence.
    """

    severity: Severity
    effect: Effect
    remedy: str


KINDS: dict[str, FaultKind] = {
    "malformed": FaultKind("error", "stops", "Repair the file or remove its picture from the list."),
    "missing_annotation": FaultKind("error", "stops", "Add the file, or correct the place that names it."),
    "missing_image": FaultKind("error", "stops", "Add the picture or remove it from the list."),
    "unreadable_image": FaultKind("error", "stops", "Copy or save the picture again as JPEG or PNG, or remove it."),
    "unknown_class": FaultKind("error", "stops", "Correct the class, or add it to the list of classes."),
    "empty_split": FaultKind("error", "stops", "Put pictures into the split or drop the split."),
    "size_differs": FaultKind("error", "left out", "Correct the declared size, or bring back its picture."),
    "malformed_object": FaultKind("error", "left out", "Correct or delete this object."),
    "not_a_number": FaultKind("error", "left out", "Draw the box again or delete it."),
    "zero_size": FaultKind("error", "left out", "Draw the box again or delete it."),
    "outside": FaultKind("error", "left out", "Draw the box again or delete it."),
    "partly_outside": FaultKind("error", "kept", "Move the box inside the picture; readers clip it to the picture."),
    "off_by_one": FaultKind("warning", "kept", "Nothing, if a pixel does not matter; readers clip the boxes."),
    "not_turned": FaultKind("warning", "kept", "Nothing; readers turn the boxes with the picture's EXIF orientation."),
    "duplicate_box": FaultKind("warning", "kept", "Delete one of the two."),
    "train_overlap": FaultKind("error", "kept", "Keep the picture in one split: figures measured on it mean nothing."),
    "split_overlap": FaultKind("warning", "kept", "Keep the picture in one split, unless the overlap is meant."),
    "listed_twice": FaultKind("warning", "kept", "List each picture once; it counts twice otherwise."),
    "no_objects": FaultKind("warning", "kept", "Nothing, if the pictures are meant as background."),
    "not_listed": FaultKind("warning", "kept", "List the pictures in a split, or remove them."),
}


@dataclass(frozen=True)
class Fault:
    """One finding.

    Attributes:
        file: the annotation file, list or picture at fault.
        where: object or line inside it, "" for the file as a whole.
        kind: key of KINDS.
        message: what is wrong, with the numbers.
        remedy: what to do; the kind's own unless a better one is known.
    """

    file: Path
    where: str
    kind: str
    message: str
    remedy: str

    @property
    def severity(self) -> Severity:
        return KINDS[self.kind].severity

    @property
    def effect(self) -> Effect:
        return KINDS[self.kind].effect

    def line(self) -> str:
        """File, place and message in one line."""
        return ": ".join(part for part in (str(self.file), self.where, self.message) if part)


def fault(kind: str, file: Path, message: str, where: str = "", remedy: str = "") -> Fault:
    """A Fault of a kind, with the kind's own remedy unless another is given."""
    return Fault(file, where, kind, message, remedy or KINDS[kind].remedy)
