"""Every format x every network x every precision: exported, loaded again, and equal to the model."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgedet.export.artifact import Artifact
from edgedet.export.tolerances import TOLERANCES
from edgedet.formats import export_formats
from edgedet.models import BACKBONES, HEADS
from tests.export.conftest import Exported
from tests.small_models import SPECS

# Palettes differ in their number of bits only: 6 bits stand for all of them, but for one network.
_ALIKE = {"palette8": ("yolov3_tiny",), "palette4": ("yolov3_tiny",)}
CELLS = [
    (name, row.name, precision)
    for name in SPECS
    for row in export_formats()
    for precision in row.precisions
    if name in _ALIKE.get(precision, SPECS)
]


def test_the_matrix_covers_every_kind_of_network() -> None:
    """Heads that one function builds of the same layers count once; so do backbones that differ in activation only."""
    assert {HEADS[spec.network.head].build for spec in SPECS.values()} == {head.build for head in HEADS.values()}
    assert {spec.network.backbone for spec in SPECS.values()} | {"mobilenet_v1_relu"} == {*BACKBONES, ""}


def test_the_matrix_covers_the_three_formats_and_every_precision_has_tolerances() -> None:
    assert {row.name for row in export_formats()} >= {"onnx", "tflite", "coreml"}
    for row in export_formats():
        assert {"fp32", "fp16"} <= set(row.precisions)
        assert all((row.name, precision) in TOLERANCES for precision in row.precisions)


@pytest.mark.parametrize(("name", "format", "precision"), CELLS)
def test_file_equals_model(
    exported: Callable[[str, str, str], Exported], name: str, format: str, precision: str
) -> None:
    artifact = exported(name, format, precision).artifact
    report = artifact.parity

    assert report.passed, report.reasons()
    assert report.depth("detections").counts["reference"] >= 20
    for depth in ("heads", "decoded", "detections"):
        assert report.depth(depth).status == "passed", report.depth(depth).reason


@pytest.mark.parametrize(("name", "format", "precision"), CELLS)
def test_file_and_json_say_what_they_are(
    exported: Callable[[str, str, str], Exported], name: str, format: str, precision: str
) -> None:
    made = exported(name, format, precision)
    runner, reference = made.runner(), made.reference()

    assert (runner.format, runner.precision) == (format, precision)
    assert runner.spec == reference.spec
    assert Artifact.read(made.artifact.path) == made.artifact
    assert made.artifact.spec_digest == reference.spec.digest()
