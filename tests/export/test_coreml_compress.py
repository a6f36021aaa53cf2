"""Compressed Core ML programs: which weights and activations change, by how much, and that a wrong number shows."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgedet.errors import ExportError, ModelFileError
from edgedet.export import to_coreml
from edgedet.export.card import FileCard
from edgedet.export.coreml_integers import affine_of, quantized_weight
from edgedet.export.coreml_package import read_package
from edgedet.export.coreml_runner import detector_of, detector_program
from edgedet.export.coreml_targets import target_of
from edgedet.export.deployable import Deployable
from edgedet.export.inspect_coreml import operations, read
from edgedet.export.options import ExportOptions
from edgedet.export.parity import compare
from edgedet.preprocess import UInt8Image
from tests.export.coreml_packages import copy_of, model_of, yolo
from tests.exported_files import calibration_pictures

COMPRESSED = ("int8", "int8-weights", "palette8", "palette6", "palette4", "pruned")
Packages = Callable[[str], Path]

pytestmark = pytest.mark.usefixtures("lowered")


@pytest.fixture(scope="module")
def packages(lowered: None, tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """Precision to a package that several tests read; none may change it."""

    @cache
    def make(precision: str) -> Path:
        return _make(tmp_path_factory.mktemp(precision) / "shared.mlpackage", precision)

    return make


def _make(path: Path, precision: str, ranges: dict[str, tuple[float, float]] | None = None, **options: Any) -> Path:
    spec = yolo()
    deployable = Deployable(model_of(spec).model, spec)
    deployable.activation_ranges = ranges or {}
    card = FileCard(spec, precision, deployable.weights_sha256, "0.1.0")
    calibration = calibration_pictures(spec.input) if precision == "int8" else None
    to_coreml.export(deployable, ExportOptions(precision, **options), card, path, calibration)
    return path


def _counts(package: Path) -> Counter[str]:
    program = detector_of(read_package(package)).mlProgram
    return Counter(operation.type for operation in operations(program))


def _bytes(package: Path) -> dict[str, bytes]:
    return {str(f.relative_to(package)): f.read_bytes() for f in package.rglob("*") if f.is_file()}


def test_range_to_scale_and_zero_point() -> None:
    """-1..4 in 255 steps: 5 / 255 is 0.019608, in half precision 1285 / 2**16; zero is 51 steps above -128."""
    affine = affine_of(-1.0, 4.0)
    assert float(affine.scale) == 1285 / 2**16
    assert affine.zero_point == -77
    assert affine_of(0.5, 2.55).zero_point == -128, "a range is widened to hold zero"
    assert affine_of(-2.0, -1.0).zero_point == 127
    assert affine_of(0.0, 0.0).scale > 0


def test_integers_of_weights_by_hand() -> None:
    weight = np.array([[[[1.27, -0.635]]], [[[0.0, 0.0]]], [[[-254.0, 3.0]]]], np.float32)
    integers, scale = quantized_weight(weight)
    assert integers.reshape(3, 2).tolist() == [[127, -63], [0, 0], [-127, 2]]  # -63.49, and 1.5 to even
    assert scale.tolist() == [float(np.float16(0.01)), 1.0, 2.0]


@pytest.mark.parametrize("precision", COMPRESSED)
def test_same_inputs_give_the_same_bytes(precision: str, tmp_path: Path, packages: Packages) -> None:
    again = _make(tmp_path / "again.mlpackage", precision)
    assert _bytes(packages(precision)) == _bytes(again)
    assert read_package(again).model.specificationVersion == target_of(ExportOptions(precision)).version


@pytest.mark.parametrize(
    ("precision", "operator"),
    [
        ("int8-weights", "constexpr_affine_dequantize"),
        ("palette4", "constexpr_lut_to_dense"),
        ("pruned", "constexpr_sparse_to_dense"),
    ],
)
def test_only_large_layers_change_and_those_that_were_not_spared(
    precision: str, operator: str, tmp_path: Path, packages: Packages
) -> None:
    """Of 15 layers, 6 have more than 2048 weights; the priors of decoding have as many and must stay."""
    assert _counts(packages(precision))[operator] == 6
    spared = _make(tmp_path / "spared.mlpackage", precision, float_layers=("body.layers.12.0", "body.layers.13"))
    assert _counts(spared)[operator] == 4
    with pytest.raises(ExportError, match=r"no layer 'body\.layer'"):
        _make(tmp_path / "none.mlpackage", precision, float_layers=("body.layer",))


@pytest.mark.parametrize("precision", ["int8-weights", "palette6", "palette4", "pruned"])
def test_the_forms_of_two_systems_hold_the_same_weights(precision: str, tmp_path: Path, packages: Packages) -> None:
    """iOS 16 packs several indices into a byte of its own; iOS 18 has number types of 1, 4 and 6 bits."""
    newer = _make(tmp_path / "newer.mlpackage", precision, coreml_target="iOS18")
    old, new = (_weights(path) for path in (packages(precision), newer))
    assert len(old) == len(new) == 15
    for a, b in zip(old, new, strict=True):
        assert torch.equal(a, b)
    assert _bytes(packages(precision)) != _bytes(newer)


def _weights(package: Path) -> list[torch.Tensor]:
    """Of each convolution, unpacked, in order."""
    program = detector_program(read_package(package))
    return [program.constants[str(op.inputs["weight"])] for op in program.operations if op.type == "conv"]


def test_activations_are_integers_up_to_the_heads_and_no_further(packages: Packages) -> None:
    program = detector_program(read_package(packages("int8")))
    kinds = [operation.type for operation in program.operations]
    assert kinds.count("quantize") >= 15
    last = max(index for index, kind in enumerate(kinds) if kind == "dequantize")
    behind = [output.name for operation in program.operations[last:] for output in operation.outputs]
    assert any(name.startswith("box_codes") for name in behind)
    assert any(name.startswith("logits") for name in behind)
    reads = {str(operation.inputs["input"]) for operation in program.operations if operation.type == "quantize"}
    assert not any(name.startswith(("box_codes", "logits", "batch_")) for name in reads)


def test_ranges_of_training_come_before_those_of_calibration(tmp_path: Path, packages: Packages) -> None:
    learned = affine_of(-0.7, 3.1)
    path = _make(tmp_path / "qat.mlpackage", "int8", ranges={"body.layers.8.0": (-0.7, 3.1)})

    def scales(package: Path) -> set[float]:
        program = detector_program(read_package(package))
        names = [operation.inputs["scale"] for operation in program.operations if operation.type == "quantize"]
        return {program.constants[str(name)] for name in names}

    assert float(learned.scale) in scales(path)
    assert float(learned.scale) not in scales(packages("int8"))


def test_no_layer_no_integers(tmp_path: Path) -> None:
    everything = ("body", "box_heads", "class_heads")
    counts = _counts(_make(tmp_path / "floats.mlpackage", "int8", float_layers=everything))
    assert not counts["quantize"]
    assert not counts["constexpr_affine_dequantize"]


def test_integers_without_calibration_are_refused(tmp_path: Path) -> None:
    spec = yolo()
    deployable = Deployable(model_of(spec).model, spec)
    card = FileCard(spec, "int8", deployable.weights_sha256, "0.1.0")
    with pytest.raises(ExportError, match="calibration"):
        to_coreml.export(deployable, ExportOptions("int8"), card, tmp_path / "no.mlpackage")


def _constexpr(package: Path, edit: Callable[[Any, bytearray], None]) -> None:
    """Edit the largest compressed weight of a package: its operation and the bytes of the weight file."""
    read_again = read_package(package)
    program = detector_of(read_again).mlProgram
    largest = max(
        (operation for operation in operations(program) if operation.type.startswith("constexpr_")),
        key=lambda operation: np.prod([d.constant.size for d in operation.outputs[0].type.tensorType.dimensions]),
    )
    file = read_again.weights_dir / "weight.bin"
    weights = bytearray(file.read_bytes())
    edit(largest, weights)
    file.write_bytes(weights)
    (read_again.weights_dir.parent / "model.mlmodel").write_bytes(read_again.model.SerializeToString())


def _one_wrong_scale(operation: Any, weights: bytearray) -> None:
    entry = operation.attributes["scale"].blobFileValue.offset
    size, start = struct.unpack_from("<QQ", weights, entry + 8)
    scales = np.frombuffer(weights, np.float16, size // 2, start)
    scales[:] = scales * np.float16(1.5)


@pytest.mark.parametrize("precision", ["int8-weights", "int8"])
def test_one_wrong_scale_fails_parity(
    precision: str, tmp_path: Path, packages: Packages, photos: Sequence[UInt8Image]
) -> None:
    broken = copy_of(packages(precision), tmp_path)
    reference = model_of(yolo())
    assert compare(reference, to_coreml.open_runner(broken), photos).passed
    _constexpr(broken, _one_wrong_scale)
    report = compare(reference, to_coreml.open_runner(broken), photos)
    assert not report.passed
    assert report.depth("heads").status == "failed"


def _too_few_indices(operation: Any, weights: bytearray) -> None:
    operation.attributes["indices"].type.tensorType.dimensions[0].constant.size -= 1


def _another_shape(operation: Any, weights: bytearray) -> None:
    operation.outputs[0].type.tensorType.dimensions[0].constant.size += 1


def _cut_off(operation: Any, weights: bytearray) -> None:
    del weights[len(weights) // 2 :]


@pytest.mark.parametrize(
    ("edit", "message"),
    [(_too_few_indices, "does not fill"), (_another_shape, "declared is"), (_cut_off, "truncated")],
)
def test_damaged_weights_are_named(
    edit: Callable[[Any, bytearray], None], message: str, tmp_path: Path, packages: Packages
) -> None:
    broken = copy_of(packages("palette6"), tmp_path)
    _constexpr(broken, edit)
    with pytest.raises(ModelFileError, match=message):
        to_coreml.open_runner(broken)


def test_inspection_counts_what_is_stored(packages: Packages) -> None:
    """133120 weights of six layers, six bits each, in bytes; their tables are floats."""
    report = read(packages("palette6"))
    large = sum((4608, 18432, 73728, 4096, 18432, 13824))
    assert report.weight_bytes["uint8"] == large * 6 // 8
    zero_points = 32 + 64 + 128 + 32 + 64 + 32  # one a channel
    assert read(packages("int8-weights")).weight_bytes["int8"] == large + zero_points


@pytest.mark.parametrize(
    ("precision", "target", "expected"),
    [
        ("palette6", "iOS15", "iOS16"),
        ("int8", "iOS15", "iOS17"),
        ("int8", "iOS18", "iOS18"),
        ("fp16", "iOS15", "iOS15"),
    ],
)
def test_the_system_rises_with_the_precision_and_is_said(precision: str, target: str, expected: str) -> None:
    options = ExportOptions(precision, coreml_target=target)
    assert target_of(options).name == expected
    assert to_coreml.problems(yolo(), options) == []
    systems = target_of(options).systems
    assert f"Runs on {systems} and later." in to_coreml.notes(yolo(), options)


@pytest.mark.parametrize(("precision", "target", "remedy"), [("int8", "iOS16", "iOS17"), ("pruned", "iOS14", "iOS16")])
def test_a_system_too_old_is_refused(precision: str, target: str, remedy: str) -> None:
    problems = to_coreml.problems(yolo(), ExportOptions(precision, coreml_target=target))
    assert any(f"--coreml-target {remedy} or later" in problem for problem in problems)


def test_notes_say_what_is_stored_and_what_it_needs() -> None:
    text = " ".join(to_coreml.notes(yolo(), ExportOptions("palette6", float_layers=("a", "b"))))
    assert "6-bit indices" in text
    assert "older systems do not load the file" in text
    assert "2 layers were kept" in text
    assert "reference runtime" in " ".join(to_coreml.notes(yolo(), ExportOptions("int8")))
