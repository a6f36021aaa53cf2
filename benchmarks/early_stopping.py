"""MLPerf's early-stopping estimate of p90."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EarlyStopping:
    """Result of the mode.

    Attributes:
        queries: runs that count, and seconds: that they took.
        p90_ms: a time that at most a tenth of all runs exceeds, with 99 % confidence; None with too few queries.
        valid: whether there were at least 1024 queries and 60 seconds.
    """

    queries: int
    seconds: float
    p90_ms: float | None
    valid: bool
