"""The damage report between two files: what the second lost, found anew and renamed, and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Literal

from edgedet.benchmarks.lab.damage_accuracy import ApChange
from edgedet.benchmarks.lab.damage_causes import CAUSES, Cause, CauseKind
from edgedet.benchmarks.lab.operating_point import OperatingPoints
from edgedet.benchmarks.lab.score_calibration import Calibration
from edgedet.evaluation import EvalResult
from edgedet.evaluation.tables import FloatArray

ChangeKind = Literal["lost", "new", "flipped"]
Box = tuple[float, ...]


@dataclass(frozen=True)
class Change:
    """One detection that only one of the two files shows, or that both show with different labels.

    Attributes:
        kind: "lost": only a shows it; "new": only b does; "flipped": both show a box here, of different classes.
        image: number in the data set.
        class_a, score_a, box_a_xyxy_px, class_b, score_b, box_b_xyxy_px: what each file shows; None where it does
            not. Classes are the data set's.
        right: whether what a shows (of a "new" one, what b shows) is a labelled object found: losing a false alarm is
            no damage.
        cause: why a's label is not shown by b; of a "new" one, why b's is not shown by a.
    """

    kind: ChangeKind
    image: int
    class_a: int | None
    score_a: float | None
    box_a_xyxy_px: Box | None
    class_b: int | None
    score_b: float | None
    box_b_xyxy_px: Box | None
    right: bool
    cause: Cause


@dataclass(frozen=True)
class Kept:
    """Detections that both files show with one label: (K,) scores of both, and the overlaps of the boxes."""

    score_a: FloatArray
    score_b: FloatArray
    iou: FloatArray

    def __len__(self) -> int:
        return len(self.iou)


@dataclass(frozen=True)
class Damage:
    """The whole report.

    Attributes:
        a, b: the evaluations of both files, on the same images.
        score_min: from which a detection is shown.
        shown_a, shown_b: numbers of detections from there on.
        changes: image by image; kept: all that stayed.
        ap: by class and size; points: thresholds; calibration_a, calibration_b: what scores mean.
    """

    a: EvalResult
    b: EvalResult
    score_min: float
    shown_a: int
    shown_b: int
    changes: tuple[Change, ...]
    kept: Kept
    ap: tuple[ApChange, ...]
    points: tuple[OperatingPoints, ...]
    calibration_a: Calibration
    calibration_b: Calibration

    def of_kind(self, kind: ChangeKind) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.kind == kind)

    def causes(self, kind: ChangeKind) -> dict[CauseKind, int]:
        """Number of changes by cause, in the order of CAUSES, without zeros."""
        counts = Counter(change.cause.kind for change in self.of_kind(kind))
        return {cause: counts[cause] for cause in CAUSES if counts[cause]}

    def worst_images(self, most: int) -> list[int]:
        """Image numbers by falling damage: the scores of the changed boxes, those that were right twice."""
        weights: defaultdict[int, float] = defaultdict(float)
        for change in self.changes:
            weights[change.image] += (1 + change.right) * max(change.score_a or 0.0, change.score_b or 0.0)
        return [image for image, _ in sorted(weights.items(), key=lambda item: (-item[1], item[0]))][:most]
