"""Where the time inside a file goes, as a measurement carries it."""

from __future__ import annotations

from dataclasses import dataclass

AGREES = 0.05


@dataclass(frozen=True)
class Parts:
    """Parts of a file, by operator attribution in runs of their own.

    Attributes:
        method: "trace" (the runtime's own profile) or "cut" (differences between files that end earlier).
        parts_ms: by part, in the order a picture passes them: "normalise", "backbone", "head", "decode", "nms", or
            several of them in one name ("backbone and head") where they cannot be told apart.
        sum_ms: of all parts.
        total_ms: of the whole file in the same rounds, without a profiler.
        traced_ms: as the profiler tells the sum, its own time included; None for a file that was cut.
        runs: of each side.
    """

    method: str
    parts_ms: dict[str, float]
    sum_ms: float
    total_ms: float
    traced_ms: float | None
    runs: int

    @property
    def agrees(self) -> bool:
        """Whether the sum lies within 5 % of the total; differences always add up."""
        return abs(self.sum_ms / self.total_ms - 1) <= AGREES
