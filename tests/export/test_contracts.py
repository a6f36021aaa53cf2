"""Each rule of each contract: it holds for a good file, and fails for one with exactly this thing broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgedet.export.contracts import CONTRACTS, Contract
from edgedet.export.inspect import Inspection, inspect_file, kind_of
from tests.export.broken import Broken
from tests.export.broken_files import BROKEN, break_file
from tests.exported_files import Export

BASES: dict[str, dict[str, Any]] = {
    "tflite": {},
    "tflite-uint8": {"tflite_input": "uint8"},
    "tflite-gpu": {"tflite_layout": "mediapipe-gpu"},
    "tflite-int8": {"precision": "int8"},
    "onnx": {},
    "onnx-images": {"onnx_input": "uint8-hwc"},
    "onnx-int8": {"precision": "int8"},
    "coreml": {},
    "coreml-network": {"coreml_target": "iOS14"},
    "coreml-unpadded": {"class_padding": False},
}
ALWAYS = {"tflite-gpu": {"task-library": ["output-count"]}}  # what no file of this base can keep
GOOD = [base for base in BASES if base != "coreml-unpadded"]  # that one is broken by an option of the export
FAST = "yolov3_tiny"  # the small model that converts fastest


@pytest.fixture(scope="session")
def good(exported: Export) -> Callable[[str], Path]:
    """Name of a row of BASES to its file."""
    return lambda base: exported(FAST, base.split("-")[0], **{"precision": "fp32", **BASES[base]}).artifact.path


def failing(found: Inspection) -> dict[str, list[str]]:
    """Names of the failing rules by contract."""
    return {
        contract: [finding.rule for finding in findings if finding.status == "fail"]
        for contract, findings in found.findings.items()
    }


@pytest.mark.parametrize("base", GOOD)
def test_good_files_keep_every_contract_of_their_kind(good: Callable[[str], Path], base: str) -> None:
    found = inspect_file(good(base))
    assert found.findings
    assert failing(found) == {name: ALWAYS.get(base, {}).get(name, []) for name in found.findings}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.id)
def test_each_broken_file_trips_exactly_its_rule(broken: Broken, good: Callable[[str], Path], tmp_path: Path) -> None:
    found = inspect_file(break_file(broken, good(broken.base), tmp_path))
    expected = {name: ALWAYS.get(broken.base, {}).get(name, []) for name in found.findings}
    assert failing(found) == {**expected, **{name: [broken.rule] for name in broken.contracts}}
    (finding,) = (f for f in found.findings[broken.contracts[0]] if f.status == "fail")
    assert finding.reason
    assert finding.fix


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
def test_every_rule_has_a_broken_file(contract: Contract, good: Callable[[str], Path]) -> None:
    base = next(name for name in GOOD if kind_of(good(name)).name == contract.kind)
    rules = [finding.rule for finding in inspect_file(good(base), [contract.name]).findings[contract.name]]
    broken = {one.rule for one in BROKEN if contract.name in one.contracts}
    assert len(set(rules)) == len(rules)
    assert set(rules) - broken == set()
