"""Where warm-up ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Found = Literal["change point", "none", "too few runs", "not settled", "by count", "by tool"]


@dataclass(frozen=True)
class WarmUp:
    """Runs after the first that do not count.

    Attributes:
        runs: how many they are.
        found: "change point": the times changed there for good; "none": they never did; "too few runs": to tell;
            "not settled": they still changed at the end; "by count": a fixed number; "by tool": a tool on the device
            decided by itself.
    """

    runs: int
    found: Found
