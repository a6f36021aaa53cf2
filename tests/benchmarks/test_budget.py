from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from edgedet.benchmarks import budget_check
from edgedet.benchmarks.budget import Check, judge, limits_for, number_text, read_budget
from edgedet.benchmarks.budget_check import Bench, check_files
from edgedet.benchmarks.devices import host
from edgedet.benchmarks.environment import DeviceInfo, host_info
from edgedet.benchmarks.junit import junit_xml
from edgedet.benchmarks.latency import Latency
from edgedet.benchmarks.map_loss import map_loss
from edgedet.benchmarks.noise import NoiseCheck
from edgedet.benchmarks.request import Request
from edgedet.benchmarks.stats import summarise
from edgedet.data import Dataset
from edgedet.errors import ConfigError, ModelFileError
from edgedet.evaluation import EvalResult, evaluate_detections
from edgedet.runner import Detections
from tests.benchmarks.conftest import latency_of
from tests.benchmarks.test_harness import app

BUSY = NoiseCheck("other work", 1.0, 0.25, "other work kept 1.00 cores busy")


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def timed(low_ms: float, high_ms: float, **changes: Any) -> Latency:
    """A measurement with p90 halfway between the ends of its interval."""
    latency = latency_of("model.pt", "torch 2")
    steady = replace(summarise([1.0]), p90_ms=(low_ms + high_ms) / 2, intervals_ms={"p90": (low_ms, high_ms)})
    return replace(latency, steady=steady, **changes)


class ByHand:
    """A device that answers what it was given, or fails with it."""

    name = "by hand"

    def __init__(self, answer: Latency | Exception) -> None:
        self.answer = answer

    def describe(self) -> DeviceInfo:
        return host_info()

    def measure(self, file: Path, request: Request) -> Latency:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def p90(answer: Latency | Exception, tmp_path: Path, limit: float = 40.0) -> Check:
    budget = write(tmp_path / "budget.yaml", f"schema: 1\nbudgets: [{{p90_ms: {limit}}}]")
    model = write(tmp_path / "model.pt", "anything")
    (check,) = check_files([model], read_budget(budget), Bench(ByHand(answer), Request()))
    return check


def test_an_interval_decides_only_as_a_whole() -> None:
    assert judge("f", "p90_ms", 40.0, 39.0, (38.0, 40.0)).status == "pass"
    assert judge("f", "p90_ms", 40.0, 39.0, (38.0, 40.1)).status == "undecided"
    assert judge("f", "p90_ms", 40.0, 41.0, (40.1, 42.0)).status == "fail"
    assert judge("f", "bytes", 40, 40).status == "pass"
    assert judge("f", "bytes", 40, 41).status == "fail"


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0, 50), st.floats(0, 50))
def test_a_looser_limit_never_makes_a_check_worse(limit: float, value: float, below: float, more: float) -> None:
    order = ("fail", "undecided", "pass")
    interval = (value - below, value + below)
    strict, loose = (judge("f", "p90_ms", end, value, interval).status for end in (limit, limit + more))
    assert order.index(loose) >= order.index(strict)


def test_patterns_and_the_last_word(tmp_path: Path) -> None:
    text = """
schema: 1
budgets:
  - {bytes: 9000000, p90_ms: 60}
  - {files: "*.tflite", p90_ms: 40, operators_outside: 3}
"""
    budgets = read_budget(write(tmp_path / "budget.yaml", text))
    assert limits_for(Path("a/model.onnx"), budgets) == [("bytes", 9000000), ("p90_ms", 60.0)]
    tflite = [("bytes", 9000000), ("p90_ms", 40.0), ("operators_outside", 3)]
    assert limits_for(Path("a/model.tflite"), budgets) == tflite
    with pytest.raises(ConfigError, match=r"model\.onnx: no budget is for this file"):
        limits_for(Path("model.onnx"), budgets[1:])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schema: 1\nbudgets: [{p90: 40}]", r"budgets\.0\.p90: Extra inputs"),
        ("schema: 1\nbudgets: [{bytes: -1}]", r"budgets\.0\.bytes: .*greater than or equal to 0"),
        ("schema: 1\nbudgets: [{bytes: many}]", r"budgets\.0\.bytes: .*valid integer"),
        ("schema: 2\nbudgets: [{bytes: 1}]", r"schema: Input should be 1"),
        ("schema: 1\nbudgets: []", r"budgets: .*at least 1"),
        ("nothing", r"the whole: "),
        ("schema: [", r"is no YAML"),
    ],
)
def test_a_wrong_budget_is_refused_by_its_field(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_budget(write(tmp_path / "budget.yaml", text))


def test_a_missing_budget_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_budget(tmp_path / "absent.yaml")


def test_latency_against_its_limit(tmp_path: Path) -> None:
    assert p90(timed(30, 39), tmp_path).status == "pass"
    assert p90(timed(41, 50), tmp_path).status == "fail"
    assert p90(timed(39, 50), tmp_path).status == "undecided"


def test_a_disturbed_measurement_can_keep_a_budget_but_not_break_it(tmp_path: Path) -> None:
    slow, fast = p90(timed(41, 50, noise=(BUSY,)), tmp_path), p90(timed(30, 39, noise=(BUSY,)), tmp_path)
    assert (slow.status, slow.reason) == ("undecided", BUSY.meaning)
    assert fast.status == "pass"


def test_what_says_nothing_about_a_device_never_passes(tmp_path: Path) -> None:
    assert p90(timed(1, 2, runtime="reference runtime (torch)"), tmp_path).status == "undecided"
    few = p90(latency_of("model.pt", "torch 2"), tmp_path)  # three samples have no interval
    assert (few.status, few.reason) == ("undecided", "3 runs are too few: --seconds")
    gone = p90(ModelFileError("model.pt: damaged", "Export it again."), tmp_path)
    assert (gone.status, gone.reason) == ("not run", "model.pt: damaged. Export it again.")


def test_files_that_cannot_be_measured_are_not_run(tmp_path: Path) -> None:
    text = "schema: 1\nbudgets: [{bytes: 10, map_loss: 0.01}]"
    budgets = read_budget(write(tmp_path / "budget.yaml", text))
    model = write(tmp_path / "model.pt", "anything")
    bench = Bench(ByHand(timed(1, 2)), Request())
    checks = check_files([tmp_path / "absent.pt", model], budgets, bench)
    assert [check.status for check in checks] == ["not run", "not run", "pass", "not run"]
    assert "no such file" in checks[0].reason
    assert "Give --against and --data" in checks[3].reason


class Partly:
    """A runner that leaves two operators to its interpreter."""

    runtime = "runtime 1"

    def operators_outside_delegate(self) -> tuple[str, ...]:
        return ("TOPK_V2", "GATHER")


def test_operators_outside_the_delegate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model_pt: Path) -> None:
    budgets = read_budget(write(tmp_path / "budget.yaml", "schema: 1\nbudgets: [{operators_outside: 1}]"))
    bench = Bench(ByHand(timed(1, 2)), Request())
    (check,) = check_files([model_pt], budgets, bench)
    assert check.status == "not run"
    assert "has no delegates" in check.reason
    monkeypatch.setattr(budget_check, "load", lambda *_: Partly())
    (check,) = check_files([model_pt], budgets, bench)
    assert (check.status, check.value, check.reason) == ("fail", 2, "TOPK_V2, GATHER")


def test_map_loss_of_equal_and_of_better_detections(result: EvalResult, dataset: Dataset) -> None:
    """The fixture takes discs for squares; a detector that does not is better, so its loss is negative."""
    same = map_loss(result, result, resamples=5)
    assert (same.value, same.interval) == (0.0, (0.0, 0.0))
    right = [
        Detections(s.objects.boxes_xyxy_px, found.scores, s.objects.class_ids)
        for s, found in zip(dataset.samples, result.detections, strict=True)
    ]
    better = map_loss(result, evaluate_detections(dataset, right, result.source), resamples=20)
    assert better.value == pytest.approx(result.metrics["coco_ap"] - 1, abs=1e-6)
    assert better.interval[0] <= better.value <= better.interval[1] <= 0


CHECKS = (
    Check("a.onnx", "bytes", 10, "pass", 9),
    Check("a.onnx", "p90_ms", 40, "fail", 45.678, (44.0, 47.0)),
    Check("a.onnx", "map_loss", 0.01, "undecided", 0.009, (0.0, 0.02)),
    Check("b.onnx", "bytes", 10, "not run", reason="no such <file>"),
)


def test_junit_by_hand() -> None:
    root = ElementTree.fromstring(junit_xml(CHECKS))
    assert root.tag == "testsuites"
    (suite,) = root
    assert {key: suite.get(key) for key in ("tests", "failures", "errors")} == {
        "tests": "4", "failures": "1", "errors": "2",
    }  # fmt: skip
    assert [[child.tag for child in case] for case in suite] == [["system-out"], ["failure"], ["error"], ["error"]]
    failure = suite[1][0]
    assert suite[1].get("name") == "p90_ms <= 40"
    assert failure.get("message") == "fail: p90_ms 45.68 (44 to 47 with 95 % confidence) limit 40"
    assert (suite[3][0].get("message") or "").endswith("no such <file>")


def test_numbers_as_text() -> None:
    assert [number_text(n) for n in (9354040, 40.0, 0.01234567, 57.7583)] == ["9354040", "40", "0.01235", "57.76"]


@pytest.mark.parametrize(
    ("limit_bytes", "low_ms", "code"), [(10**9, 30, 0), (1, 30, 1), (1, 39.5, 1), (10**9, 39.5, 3)]
)
def test_the_command_and_its_exit_codes(
    monkeypatch: pytest.MonkeyPatch, model_pt: Path, tmp_path: Path, limit_bytes: int, low_ms: float, code: int
) -> None:
    monkeypatch.setattr(host, "measure_here", lambda *_: timed(low_ms, low_ms + 1))
    budget = write(tmp_path / "b.yaml", f"schema: 1\nbudgets: [{{bytes: {limit_bytes}, p90_ms: 40}}]")
    junit, out = tmp_path / "j.xml", tmp_path / "c.json"
    words = ["check", str(model_pt), "--budget", str(budget), "--junit", str(junit), "--json", str(out)]
    result = CliRunner().invoke(app(), words)
    assert result.exit_code == code, result.output
    assert ElementTree.parse(junit).getroot().get("tests") == "2"
    value = json.loads(out.read_text())
    assert value["schema"] == 1
    assert [check["limit_name"] for check in value["checks"]] == ["bytes", "p90_ms"]
