"""Which epoch was the best, and how long there has been none better: read from the record, so a resume knows it too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Best:
    """What the validations so far say.

    Attributes:
        epoch: of the best value, the first of equals; 0 before any validation gave one.
        value: of the metric.
        waited: validations since the last gain of more than `min_delta` over the one before.
    """

    epoch: int
    value: float
    waited: int


def best_of(lines: Sequence[dict[str, Any]], monitor: str, min_delta: float) -> Best:
    """Go through the lines of a record.

    Args:
        lines: with "epoch" and "val", the metrics or None.
        monitor: name of the metric; a validation without it counts as no gain.
    """
    epoch, best, mark, waited = 0, -math.inf, -math.inf, 0
    for line in lines:
        if line["val"] is None:
            continue
        value = line["val"].get(monitor, -math.inf)
        if value > best:
            epoch, best = line["epoch"], value
        gained = value > mark + min_delta
        mark, waited = (value, 0) if gained else (mark, waited + 1)
    return Best(epoch, best, waited)
