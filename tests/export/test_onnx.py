"""The .onnx file: contract, batch, precision, names, bytes; and files that are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import edgedet
from edgedet.decode import Decoder, RawHeads
from edgedet.errors import ModelFileError
from edgedet.export import to_onnx
from edgedet.export.card import KEY, FileCard
from edgedet.export.deployable import Deployable
from edgedet.export.onnx_nms import OUTPUTS
from edgedet.export.options import ExportOptions
from edgedet.formats import load
from edgedet.nms import non_maximum_suppression
from edgedet.preprocess import UInt8Image, to_network_pixels
from edgedet.spec import DetectorSpec
from tests.export.conftest import Exported
from tests.small_models import SPECS, small_model

YOLO = SPECS["yolov3_tiny"]  # converts fastest
MakeExported = Callable[[str, str, str], Exported]


def _export(path: Path, spec: DetectorSpec = YOLO, options: ExportOptions | None = None) -> Path:
    deployable = Deployable(small_model(spec), spec)
    options = options or ExportOptions()
    card = FileCard(spec, options.precision, deployable.weights_sha256, edgedet.__version__)
    to_onnx.export(deployable, options, card, path)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _export(tmp_path_factory.mktemp("onnx") / "model.onnx")


def test_the_contract_of_inputs_and_outputs(file: Path) -> None:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [("image", "tensor(float)", [1, 3, 96, 128])]
    assert [(o.name, o.type, o.shape) for o in session.get_outputs()] == [
        ("num_detections", "tensor(int32)", [1, 1]),
        ("detection_boxes", "tensor(float)", [1, 100, 4]),
        ("detection_scores", "tensor(float)", [1, 100]),
        ("detection_classes", "tensor(int32)", [1, 100]),
    ]


def test_the_first_layer_divides_by_the_standard_deviation(file: Path) -> None:
    graph = onnx.load(file).graph
    assert [node.op_type for node in graph.node if graph.input[0].name in node.input] == ["Sub"]
    assert [node.op_type for node in graph.node if graph.node[0].output[0] in node.input] == ["Conv"]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", SPECS)
def test_old_runtimes_can_read_it(exported: MakeExported, name: str, precision: str) -> None:
    """ONNX Runtime 1.17, the floor, reads IR versions up to 9 and opsets up to 20 (its table of versions)."""
    model = onnx.load(str(exported(name, "onnx", precision).artifact.path))
    assert model.ir_version <= 9
    assert [(o.domain, 17 <= o.version <= 20) for o in model.opset_import] == [("", True)]
    onnx.checker.check_model(model, full_check=True)


def test_metadata_holds_spec_and_labels(file: Path) -> None:
    properties = {p.key: p.value for p in onnx.load(str(file)).metadata_props}
    assert FileCard.from_json(properties[KEY], "file").spec == YOLO
    assert json.loads(properties["labels"]) == list(YOLO.class_names)


def test_nothing_of_this_machine_is_in_the_file(file: Path) -> None:
    content = file.read_bytes()
    for word in (str(Path(edgedet.__file__).parent), "stack_trace", "site-packages"):
        assert word.encode() not in content


def test_equal_input_gives_equal_bytes(file: Path, tmp_path: Path) -> None:
    assert _export(tmp_path / "again.onnx").read_bytes() == file.read_bytes()


def test_the_network_is_fused(exported: MakeExported) -> None:
    """No batch norm is left, and hard-swish is one operator, which runtimes fuse into the convolution before it."""
    path = exported("ssdlite_mobilenet_v3_large_tree", "onnx", "fp32").artifact.path
    kinds = {node.op_type for node in onnx.load(str(path)).graph.node}
    assert "BatchNormalization" not in kinds
    assert "HardSwish" in kinds
    assert not kinds & {"If", "Loop", "Scan", "NonZero"}


def test_suppression_of_the_file_is_exactly_the_reference_on_its_own_boxes(
    exported: MakeExported, photos: list[UInt8Image]
) -> None:
    runner = exported("ssdlite_mobilenet_v2", "onnx", "fp32").runner()
    for photo in photos:
        pixels = to_network_pixels(photo, runner.spec.input)
        heads, found = runner.heads(pixels), runner.infer(pixels)
        assert heads.boxes_xyxy_unit is not None
        assert heads.scores is not None
        boxes, scores = torch.from_numpy(heads.boxes_xyxy_unit), torch.from_numpy(heads.scores)
        kept = non_maximum_suppression(boxes, scores, runner.spec.nms)
        assert len(kept.scores) > 10
        np.testing.assert_array_equal(found.class_ids, kept.class_ids)
        np.testing.assert_allclose(found.scores, kept.scores, atol=1e-6)
        np.testing.assert_allclose(found.boxes_xyxy_unit, boxes[kept.prior_indices], atol=1e-5)


def test_decoding_of_the_file_is_the_decoder_on_its_own_heads(file: Path, photos: list[UInt8Image]) -> None:
    heads = load(file).heads(to_network_pixels(photos[0], YOLO.input))
    assert heads.box_codes is not None
    assert heads.logits is not None
    raw = RawHeads(torch.from_numpy(heads.box_codes)[None], torch.from_numpy(heads.logits)[None])
    boxes, scores = Decoder(YOLO)(raw)
    np.testing.assert_allclose(heads.boxes_xyxy_unit, boxes[0], atol=1e-5)
    np.testing.assert_allclose(heads.scores, scores[0], atol=1e-6)


def test_dynamic_batch_equals_single_images(file: Path, photos: list[UInt8Image], tmp_path: Path) -> None:
    path = _export(tmp_path / "batch.onnx", options=ExportOptions(dynamic_batch=True))
    single, batch = (onnxruntime.InferenceSession(str(p), providers=["CPUExecutionProvider"]) for p in (file, path))
    assert [o.shape[0] for o in batch.get_outputs()] == ["batch"] * 4
    pixels = np.stack([to_network_pixels(photo, YOLO.input).numpy() for photo in photos]).astype(np.float32)
    flat = np.full_like(pixels[:1], 127)

    together = batch.run(OUTPUTS, {"image": np.concatenate((pixels, flat))})

    for index, image in enumerate((*pixels, *flat)):
        for got, want in zip(together, single.run(OUTPUTS, {"image": image[None]}), strict=True):
            np.testing.assert_allclose(got[index], want[0], atol=2e-5)
    assert len({int(n) for n in together[0][:, 0]}) > 1  # images of different counts share one tensor


def test_runner_reads_a_dynamic_file(photos: list[UInt8Image], file: Path, tmp_path: Path) -> None:
    path = _export(tmp_path / "batch.onnx", options=ExportOptions(dynamic_batch=True))
    one, other = load(file)(photos[0]), load(path)(photos[0])
    np.testing.assert_array_equal(one.class_ids, other.class_ids)


def test_fp16_halves_the_weights_and_keeps_float_ends(exported: MakeExported) -> None:
    half, full = (exported("ssdlite_mobilenet_v2", "onnx", p).artifact for p in ("fp16", "fp32"))
    assert half.size_bytes < 0.6 * full.size_bytes
    model = onnx.load(str(half.path))
    kinds = {i.name: i.data_type for i in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert {kinds[node.input[1]] for node in convolutions} == {onnx.TensorProto.FLOAT16}
    ends = (*model.graph.input, *model.graph.output)
    assert onnx.TensorProto.FLOAT16 not in {value.type.tensor_type.elem_type for value in ends}


@pytest.mark.parametrize(("labels", "agnostic"), [("all", False), ("best", True)])
def test_other_suppression_settings_are_in_the_file(
    photos: list[UInt8Image], tmp_path: Path, labels: str, agnostic: bool
) -> None:
    nms = replace(YOLO.nms, labels_per_box=labels, class_agnostic=agnostic, score_min=0.2)  # type: ignore[arg-type]
    spec = replace(YOLO, nms=nms)
    runner = load(_export(tmp_path / "model.onnx", spec))
    pixels = to_network_pixels(photos[0], spec.input)
    heads, found = runner.heads(pixels), runner.infer(pixels)
    assert heads.boxes_xyxy_unit is not None
    assert heads.scores is not None
    boxes, scores = torch.from_numpy(heads.boxes_xyxy_unit), torch.from_numpy(heads.scores)
    kept = non_maximum_suppression(boxes, scores, nms)
    np.testing.assert_array_equal(found.class_ids, kept.class_ids)
    np.testing.assert_allclose(found.scores, kept.scores, atol=1e-6)


def test_letterbox_is_noted_for_the_app() -> None:
    spec = replace(YOLO, input=replace(YOLO.input, resize="letterbox"))
    assert any("letterbox" in note for note in to_onnx.notes(spec, ExportOptions()))
    assert not any("letterbox" in note for note in to_onnx.notes(YOLO, ExportOptions()))


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "noise"])
def test_a_damaged_file_is_one_clear_error(file: Path, tmp_path: Path, damage: str) -> None:
    whole = file.read_bytes()
    content = {"empty": b"", "text": b"not a model\n", "truncated": whole[: len(whole) // 2], "noise": whole[::-1]}
    path = tmp_path / "broken.onnx"
    path.write_bytes(content[damage])
    with pytest.raises(ModelFileError, match=r"broken\.onnx") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_foreign_model_is_refused(tmp_path: Path) -> None:
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "foreign", value[:1], value[1:])
    path = tmp_path / "foreign.onnx"
    onnx.save(onnx.helper.make_model(graph, ir_version=9, opset_imports=[onnx.helper.make_opsetid("", 18)]), path)
    with pytest.raises(ModelFileError, match="carries no edgedet spec"):
        load(path)


@pytest.mark.parametrize("change", ["spec", "outputs"])
def test_a_file_changed_after_export_is_refused(file: Path, tmp_path: Path, change: str) -> None:
    model = onnx.load(str(file))
    if change == "spec":
        card = next(p for p in model.metadata_props if p.key == KEY)
        card.value = card.value.replace('"score_min":0.05', '"score_min":0.01')
    else:
        del model.graph.output[0]
    path = tmp_path / "changed.onnx"
    onnx.save(model, path)
    with pytest.raises(ModelFileError, match=r"changed\.onnx"):
        load(path)


def test_another_suffix_is_refused(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(file.read_bytes())
    with pytest.raises(ModelFileError, match="file name"):
        load(path)
    as_tflite = tmp_path / "model.tflite"
    as_tflite.write_bytes(file.read_bytes())
    with pytest.raises(ModelFileError, match=r"model\.tflite"):
        load(as_tflite)
