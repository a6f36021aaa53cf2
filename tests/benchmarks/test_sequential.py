from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedet.benchmarks.sequential import ERROR, Look, decide, looks


def test_looks_share_out_the_whole_error() -> None:
    planned = looks(200)
    assert [look.pairs for look in planned] == [25, 50, 100, 200]
    assert sum(look.error for look in planned) == pytest.approx(ERROR)
    assert looks(40) == (Look(20, pytest.approx(0.0225)), Look(40, pytest.approx(0.0275)))  # type: ignore[arg-type]
    assert looks(16) == (Look(16, pytest.approx(0.05)),)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="15 pairs are too few"):
        looks(15)


def test_the_interval_by_hand() -> None:
    """Six log ratios 0 .. 5: of the 21 means of pairs, the middle one is 2.5. At an error of 0.1, Wilcoxon's rank sum
    has mean 10.5 and standard deviation sqrt(6 * 7 * 13 / 24) = 4.77; 10.5 - 1.645 * 4.77 - 0.5 = 2.15, so the means
    with two below them and two above them are the ends: sorted they begin 0, 0.5, 1 and end 4, 4.5, 5."""
    found = decide([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], Look(6, 0.1), last=True)
    assert math.log(found.ratio) == pytest.approx(2.5)
    assert [math.log(end) for end in found.interval] == pytest.approx([1.0, 4.0])
    assert found.verdict == "slower"
    assert found.confidence == 0.9


def test_few_pairs_decide_nothing_at_a_small_error() -> None:
    found = decide([1.0] * 6, Look(6, 0.001), last=False)
    assert found.interval == (0.0, math.inf)
    assert (found.verdict, found.final) == ("no difference", False)


def test_verdicts_and_when_they_are_final() -> None:
    look, wide = Look(50, 0.01), np.linspace(-0.3, 0.3, 50)
    assert decide((wide + 0.5).tolist(), look, last=False).verdict == "slower"
    assert decide((wide - 0.5).tolist(), look, last=False).verdict == "faster"
    assert not decide(wide.tolist(), look, last=False).final
    last = decide(wide.tolist(), look, last=True)
    assert (last.verdict, last.final) == ("no difference", True)
    equal = decide((wide / 100).tolist(), look, last=False)  # the interval lies within 2 %: sure before the last look
    assert (equal.verdict, equal.final) == ("no difference", True)


def test_a_difference_within_the_margin_is_none() -> None:
    ratios = [math.log(1.009)] * 50
    assert decide(ratios, Look(50, 0.01), last=True).verdict == "no difference"
    assert decide([math.log(1.011)] * 50, Look(50, 0.01), last=True).verdict == "slower"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-0.5, 0.5), min_size=12, max_size=40))
def test_exchanging_the_files_turns_the_verdict_round(ratios: list[float]) -> None:
    look = Look(len(ratios), 0.05)
    one, other = decide(ratios, look, True), decide([-ratio for ratio in ratios], look, True)
    turned = {"faster": "slower", "slower": "faster", "no difference": "no difference"}
    assert other.verdict == turned[one.verdict]
    assert one.ratio * other.ratio == pytest.approx(1)
    assert one.interval[0] * other.interval[1] == pytest.approx(1)
    assert one.interval[0] <= one.ratio * (1 + 1e-12)
    assert one.ratio <= one.interval[1] * (1 + 1e-12)
