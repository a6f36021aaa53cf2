"""Accuracy that was measured before or elsewhere: what `edgedet eval --json` wrote."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from edgedet.errors import DataError
from edgedet.evaluation import EvalResult


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of one file on some images, wherever it was measured.

    Attributes:
        artifact, sha256: path and digest of the file that was run, as they were then.
        runtime, precision, score_min: what ran it, and the score threshold inside the file.
        dataset, split, images: name of the data set's folder, its part, and the number of images of it.
        metrics: as in `EvalResult`; NaN where no object decides.
    """

    artifact: str
    sha256: str
    runtime: str
    precision: str
    score_min: float | None
    dataset: str
    split: str
    images: int
    metrics: dict[str, float]

    @property
    def pictures(self) -> tuple[str, str, int]:
        """What it was measured on; accuracies on other pictures cannot be compared."""
        return self.dataset, self.split, self.images

    @property
    def pictures_text(self) -> str:
        return f"{self.images} images of {self.dataset}, {self.split}"

    @staticmethod
    def of(result: EvalResult) -> Accuracy:
        """Of an evaluation in this process."""
        return Accuracy.from_json(result.to_json())

    @staticmethod
    def from_json(value: dict[str, Any]) -> Accuracy:
        """From what `EvalResult.to_json` gives.

        Raises:
            pydantic.ValidationError, KeyError: fields are missing or of the wrong type.
        """
        metrics = {name: math.nan if number is None else number for name, number in value["metrics"].items()}
        return pydantic.TypeAdapter(Accuracy).validate_python({**value, "metrics": metrics})


def read_accuracy(path: Path) -> Accuracy:
    """Read what `edgedet eval --json` wrote.

    Raises:
        DataError: the file is missing, damaged, or does not say of which file it is.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        accuracy = Accuracy.from_json(value)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        first_line = str(error).splitlines()[0]
        raise DataError(f"{path}: holds no result of `edgedet eval` ({first_line})", "Evaluate again.") from error
    if not accuracy.sha256:
        raise DataError(f"{path}: does not say of which file it is", "Evaluate a saved model file.")
    return accuracy
