"""The Pareto front by hand and as a property; charts that stand on their own."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedet.benchmarks.report_charts import distribution_charts, pareto_charts
from edgedet.benchmarks.report_pareto import front, left_out, panels
from edgedet.benchmarks.report_svg import COLOURS, colour_of, ink_on
from tests.benchmarks.report_cases import BUSY, accuracy, entry, timed, told


def test_the_front_by_hand() -> None:
    """(3, .5) is beaten by (2, .5), and (4, .4) by what is faster and better; equal pairs do not beat each other."""
    points = [(2.0, 0.5), (3.0, 0.5), (1.0, 0.3), (4.0, 0.4), (5.0, 0.6), (5.0, 0.6)]
    assert front(points) == [True, False, True, False, True, True]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1))
def test_every_file_off_the_front_is_beaten_by_one_on_it(pairs: list[tuple[int, int]]) -> None:
    points = [(float(a), float(b)) for a, b in pairs]
    on = front(points)
    best = [p for p, kept in zip(points, on, strict=True) if kept]
    assert best
    for point, kept in zip(points, on, strict=True):
        beaten = any(o[0] <= point[0] and o[1] >= point[1] and o != point for o in best)
        assert beaten is not kept


def test_panels_hold_what_can_be_compared() -> None:
    entries = [
        entry("model.pt", 0.5, timed("model.pt", 9.0)),
        entry("a.onnx", 0.5, timed("a.onnx", 4.0), timed("a.onnx", 40.0, "ssh:pi", "Board", noise=(BUSY,))),
        entry("b.onnx", 0.4, timed("b.onnx", 2.0)),
        entry("none.onnx", None, timed("none.onnx", 1.0)),
        replace(entry("other.onnx", None, timed("other.onnx", 1.0)), accuracies=(accuracy("other.onnx", 0.9, 3),)),
        entry("nan.onnx", float("nan"), timed("nan.onnx", 1.0)),
    ]
    phone, board = panels(entries)
    assert [(p.number, p.p50_ms, p.ap, p.on_front) for p in phone.points] == [
        (3, 2.0, 0.4, True), (2, 4.0, 0.5, True), (1, 9.0, 0.5, False),
    ]  # fmt: skip
    assert [(p.number, p.trusted, p.interval_ms) for p in board.points] == [(2, False, (39.6, 40.4))]
    assert left_out(entries) == ["other.onnx", "nan.onnx"]
    charts = pareto_charts([phone, board])
    assert [chart.title for chart in charts] == ["Phone", "Board"]
    assert charts[0].caption == "On the front: b.onnx (2.00 ms, 0.4000), a.onnx (4.00 ms, 0.5000)."
    assert pareto_charts([]) == []


def test_distributions_tell_what_they_cannot_show() -> None:
    spiked = timed("a.onnx", 5.0, samples=[1.0] * 499 + [40.0])
    entries = [entry("a.onnx", 0.5, spiked), entry("b.tflite", 0.5, told("b.tflite", 7.0))]
    (chart,) = distribution_charts(entries)
    assert chart.caption.startswith("a.onnx: 1 runs beyond the axis, up to 200.0 ms.")
    assert "b.tflite: the tool keeps single runs to itself" in chart.caption
    assert distribution_charts([entry("a.onnx")]) == []


def test_charts_need_nothing_and_follow_the_page() -> None:
    entries = [entry("a.onnx", 0.5, timed("a.onnx", 5.0)), entry("b.onnx", 0.4, timed("b.onnx", 500.0))]
    for chart in (*pareto_charts(panels(entries)), *distribution_charts(entries)):
        assert chart.svg.startswith("<svg")
        assert "currentColor" in chart.svg
        assert not re.search(r"https?:|#010203|#fdfefd|<!--", chart.svg)
        used = set(re.findall(r"(?:href=\"|url\()#([^\")]+)", chart.svg))
        assert used <= set(re.findall(r'id="([^"]+)"', chart.svg))
        assert all(colour_of(k) in chart.svg for k in (1, 2))


def _luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("colour", COLOURS)
def test_numbers_on_discs_can_be_read(colour: str) -> None:
    """WCAG 2 asks for a contrast of 4.5 to 1."""
    dark, light = sorted((_luminance(colour), _luminance(ink_on(colour))))
    assert (light + 0.05) / (dark + 0.05) >= 4.5
