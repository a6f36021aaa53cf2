from __future__ import annotations

import numpy as np
import pytest

from edgedet.benchmarks.rate import at_rate
from edgedet.benchmarks.sustained import Minute, sustained


def test_throttling_after_ninety_seconds() -> None:
    """One run a second, 10 ms for 90 s, 12 ms for another 90: the second minute is half and half."""
    result = sustained([10.0] * 90 + [12.0] * 90, [float(k) for k in range(180)])
    assert result.minutes == (Minute(0, 60, 10, 10), Minute(60, 60, 11, 12), Minute(120, 60, 12, 12))
    assert (result.burst_ms, result.sustained_ms, result.ratio) == (10, 12, 1.2)
    assert result.throttle_onset_s == 90


def test_a_dip_that_recovers_is_no_throttling() -> None:
    result = sustained([10.0] * 60 + [12.0] * 60 + [10.0] * 60, [float(k) for k in range(180)])
    assert (result.ratio, result.throttle_onset_s) == (1, None)


def test_starts_count_from_the_first_run_that_counts() -> None:
    result = sustained([10.0] * 30, [100.0 + k for k in range(30)])
    assert [minute.start_s for minute in result.minutes] == [0]
    with pytest.raises(ValueError, match="3 runs with 0 starts"):
        sustained([1.0, 2.0, 3.0], [])


def test_a_fast_detector_answers_every_picture() -> None:
    """30 pictures a second, 20 ms each, taken a moment after they arrive."""
    starts = np.arange(60) / 30 + 1e-5
    result = at_rate([20.0] * 60, starts.tolist(), 30.0)
    assert (result.offered, result.answered, result.dropped, result.late) == (60, 60, 0, 0)
    assert result.fps_reached == pytest.approx(30)
    assert result.age_p50_ms == pytest.approx(20, abs=0.02)


def test_a_slow_detector_drops_and_is_late() -> None:
    """10 pictures a second, 150 ms each, one after the other: the newest picture is 0, 1, 3, 4 at each start, and its
    age at the answer 150, 150 + 50, 150, 150 + 50 ms."""
    result = at_rate([150.0] * 4, [0.0, 0.15, 0.30, 0.45], 10.0)
    assert (result.offered, result.answered, result.dropped, result.late) == (5, 4, 1, 4)
    assert result.fps_reached == pytest.approx(8)
    assert (result.age_p50_ms, result.age_p90_ms) == (pytest.approx(175), pytest.approx(200))
