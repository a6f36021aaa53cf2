from __future__ import annotations

from pathlib import Path

import pytest

from edgedet.benchmarks import harness_check
from edgedet.benchmarks.harness_check import Agreement, Overhead, against_bare_calls, overhead
from tests.exported_files import Export


def test_the_loop_costs_at_least_what_it_records() -> None:
    cost = overhead(samples=200)
    assert cost.per_sample_us > cost.within_us >= 0


@pytest.mark.parametrize(
    ("format", "others"),
    [("onnx", ["onnxruntime"]), ("tflite", ["LiteRT, interpreter", "LiteRT, compiled model"])],
)
def test_bare_calls_run_the_same_file(exported: Export, format: str, others: list[str]) -> None:
    path = exported("ssdlite_mobilenet_v2", format, "fp32").artifact.path
    found = against_bare_calls(path, pairs=6)
    assert [row.other.rsplit(" 1.")[0] for row in found] == others
    for row in found:
        assert min(row.harness_ms, row.other_ms) > 0
        assert row.interval[0] <= row.ratio <= row.interval[1]


def test_agreement_by_hand() -> None:
    """Every time twice the other's: the ratio is 2, and so are both ends of its interval."""
    row = harness_check._agreement(Path("a.onnx"), "other", [2.0, 4.0, 6.0] * 4, [1.0, 2.0, 3.0] * 4)
    assert (row.harness_ms, row.other_ms) == (4.0, 2.0)
    assert (row.ratio, *row.interval) == pytest.approx((2.0, 2.0, 2.0))


@pytest.mark.parametrize(("ratio", "us", "code"), [(1.02, 3.0, 0), (1.04, 3.0, 1), (0.96, 3.0, 1), (1.0, 21.0, 1)])
def test_the_exit_code_is_the_aim(monkeypatch: pytest.MonkeyPatch, ratio: float, us: float, code: int) -> None:
    row = Agreement("a.onnx", "other", 1.0, 1.0, ratio, (0.9, 1.1))
    monkeypatch.setattr(harness_check, "overhead", lambda: Overhead(us, 0.1))
    monkeypatch.setattr(harness_check, "against_bare_calls", lambda path: [row])
    assert harness_check.main(["a.onnx", "--rounds", "0"]) == code
