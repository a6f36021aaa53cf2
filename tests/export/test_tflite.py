"""Whole .tflite files: exported, loaded again and compared with the network they came from."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgedet.decode import RawHeads
from edgedet.errors import ModelFileError, NotRunError
from edgedet.export import to_tflite
from edgedet.export.card import KEY, FileCard
from edgedet.export.deployable import Deployable
from edgedet.export.options import ExportOptions
from edgedet.export.parity import compare
from edgedet.export.tflite_encodings import not_for_gpu
from edgedet.export.tflite_graph import Graph
from edgedet.export.tflite_metadata import append_files, read_labels
from edgedet.export.tflite_postprocess import ANCHORS, OUTPUTS
from edgedet.export.tflite_runner import DELTAS, SCORES
from edgedet.levels import make_levels
from edgedet.preprocess import UInt8Image, to_network_pixels
from edgedet.runner import Detections
from edgedet.spec import DetectorSpec, NmsSpec
from edgedet.torch_runner import TorchRunner
from tests.export.conftest import Exported
from tests.small_models import SPECS, small_model, small_spec

Export = Callable[..., tuple[Path, TorchRunner]]
Shared = Callable[[str, str, str], Exported]
NMS = NmsSpec(score_min=0.3)  # few enough detections that none ties with another


class Toy(nn.Module):
    """One convolution for each head: converts in a second."""

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__()
        self.num_logits = spec.num_logits
        self.boxes = nn.Conv2d(3, 4, 32, stride=32)
        self.classes = nn.Conv2d(3, spec.num_logits, 32, stride=32)

    def forward(self, image: Tensor) -> RawHeads:
        def rows(x: Tensor, columns: int) -> Tensor:
            return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, columns)

        return RawHeads(rows(self.boxes(image), 4), rows(self.classes(image), self.num_logits))


def toy_spec() -> DetectorSpec:
    levels = make_levels([(3, 4)], [[(40.0, 30.0)]], 96, 128)
    return replace(SPECS["ssdlite_mobilenet_v2"], name="toy", levels=levels, nms=NmsSpec(score_min=0.01))


@cache
def case(name: str) -> tuple[nn.Module, DetectorSpec]:
    if name == "toy":
        torch.manual_seed(0)
        return Toy(toy_spec()).eval(), toy_spec()
    spec = small_spec(name, nms=NMS)
    return small_model(spec), spec


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """(case, precision, spec changes) to (file, reference). Each network is converted once; the rest takes no time."""
    folder = tmp_path_factory.mktemp("tflite")

    def make(name: str, precision: str = "fp32", **changes: Any) -> tuple[Path, TorchRunner]:
        model, spec = case(name)
        spec = replace(spec, **changes)
        path = folder / f"{name}-{precision}-{spec.digest()}.tflite"
        if not path.exists():
            deployable, options = Deployable(model, spec), ExportOptions(precision)
            assert to_tflite.problems(spec, options) == []
            card = FileCard(spec, precision, deployable.weights_sha256, "0.0")
            to_tflite.export(deployable, options, card, path)
        return path, TorchRunner(model, spec, Path("model.pt"))

    return make


def clear(found: Detections, score_min: float = 0.3) -> Detections:
    """Without weak detections: what suppression would have kept with a higher threshold."""
    kept = found.scores >= score_min
    return Detections(found.boxes_xyxy_px[kept], found.scores[kept], found.class_ids[kept])


def assert_same(found: Detections, expected: Detections, px: float, score: float) -> None:
    """The same objects: every row of one has its like in the other."""
    assert len(found) == len(expected)
    for box, value, label in zip(expected.boxes_xyxy_px, expected.scores, expected.class_ids, strict=True):
        error = np.abs(found.boxes_xyxy_px - box).max(axis=1) / px
        error = np.maximum(error, np.abs(found.scores - value) / score)
        assert error[found.class_ids == label].min() <= 1


@pytest.mark.parametrize("name", SPECS)
def test_file_finds_what_the_network_finds(exported: Shared, photos: list[UInt8Image], name: str) -> None:
    shared = exported(name, "tflite", "fp32")
    runner, reference = shared.runner(), shared.reference()
    assert runner.spec == reference.spec
    assert (runner.format, runner.precision) == ("tflite", "fp32")
    assert runner.runtime.startswith("LiteRT ")
    report = compare(reference, runner, photos)
    assert report.depth("detections").status == "passed", report.reasons()
    assert report.depth("detections").counts["reference"] > 5
    assert "tensorflow" not in sys.modules


@pytest.mark.parametrize("name", SPECS)
def test_heads_are_the_files_own(exported: Shared, photos: list[UInt8Image], name: str) -> None:
    shared = exported(name, "tflite", "fp32")
    runner, reference = shared.runner(), shared.reference()
    pixels = to_network_pixels(photos[0], reference.spec.input)
    found, expected = runner.heads(pixels), reference.heads(pixels)
    for field in ("box_codes", "logits", "boxes_xyxy_unit", "scores"):
        actual, wanted = getattr(found, field), getattr(expected, field)
        np.testing.assert_allclose(actual, wanted, atol=2e-4 * wanted.std(), err_msg=field)


def test_file_cut_before_suppression_gives_deltas_and_scores(export: Export, photos: list[UInt8Image]) -> None:
    path, reference = export("yolov3_tiny")
    runner = to_tflite.open_runner(path)
    pixels = to_network_pixels(photos[0], reference.spec.input)
    deltas, scores = runner.before_nms()(pixels)  # type: ignore[misc]
    heads = runner.heads(pixels)
    assert deltas.shape == (1, reference.spec.num_priors, 4)
    np.testing.assert_allclose(scores[0], heads.scores, atol=1e-6)


def test_fp16_is_half_as_large_and_close(export: Export, photos: list[UInt8Image]) -> None:
    (path, reference), (full, _) = export("yolov3_tiny", "fp16"), export("yolov3_tiny")
    assert path.stat().st_size < 0.6 * full.stat().st_size
    runner = to_tflite.open_runner(path)
    assert runner.precision == "fp16"
    for photo in photos:
        pixels = to_network_pixels(photo, reference.spec.input)
        found, expected = runner.heads(pixels), reference.heads(pixels)
        assert found.scores is not None
        assert found.boxes_xyxy_unit is not None
        np.testing.assert_allclose(found.scores, expected.scores, atol=0.05)
        np.testing.assert_allclose(found.boxes_xyxy_unit, expected.boxes_xyxy_unit, atol=0.01)
        assert not np.array_equal(found.scores, expected.scores)  # the weights were rounded
    graph = Graph.parse(path.read_bytes())
    assert graph.dtype(graph.tensor(ANCHORS)) == "float32"


@pytest.mark.parametrize(
    "nms",
    [
        replace(NMS, class_agnostic=True),
        replace(NMS, labels_per_box="all", score_min=0.2),
        replace(NMS, labels_per_box="all", class_agnostic=True),
        replace(NMS, pre_topk=30, max_detections=5),
        replace(NMS, score_min=0.6, iou_max=0.2),
    ],
)
def test_every_kind_of_suppression(export: Export, photos: list[UInt8Image], nms: NmsSpec) -> None:
    path, reference = export("yolov3_tiny", nms=nms)
    runner = to_tflite.open_runner(path)
    for photo in photos:
        expected = reference(photo)
        assert len(expected) > 0
        assert_same(runner(photo), expected, px=5e-3, score=1e-4)


def test_letterbox_file_undoes_the_letterbox(export: Export, photos: list[UInt8Image]) -> None:
    spec = case("yolov3_tiny")[1]
    path, reference = export("yolov3_tiny", input=replace(spec.input, resize="letterbox"))
    runner = to_tflite.open_runner(path)
    for photo in photos:
        assert_same(runner(photo), reference(photo), px=5e-3, score=1e-4)
    stretch, letterbox = (to_tflite.notes(s, ExportOptions()) for s in (spec, reference.spec))
    assert any("letterbox" in note for note in letterbox)
    assert not any("letterbox" in note for note in stretch)


def test_threads_do_not_change_the_answer(export: Export, photos: list[UInt8Image]) -> None:
    path, _ = export("toy")
    one, two, four = (to_tflite.open_runner(path, threads)(photos[0]) for threads in (1, 2, 4))
    assert set(one.class_ids) == {0, 1, 2}
    assert_same(two, one, px=1e-3, score=1e-5)
    assert_same(four, one, px=1e-3, score=1e-5)
    with pytest.raises(NotRunError, match="16 threads"):
        to_tflite.open_runner(path, 17)


def test_file_says_everything_about_itself(export: Export) -> None:
    path, reference = export("toy")
    data = path.read_bytes()
    assert read_labels(data) == reference.spec.class_names
    graph = Graph.parse(data)
    names = [graph.main.tensors[int(t)].name.decode() for t in (*graph.main.inputs, *graph.main.outputs)]
    assert names == ["image", *OUTPUTS]
    assert [graph.shape(int(t)) for t in graph.main.outputs] == [(1, 100, 4), (1, 100), (1, 100), (1,)]
    assert graph.shape(int(graph.main.inputs[0])) == (1, 96, 128, 3)
    (signature,) = graph.model.signatureDefs
    assert [entry.name for entry in signature.outputs] == [
        b"detection_boxes", b"detection_classes", b"detection_scores", b"num_detections",
    ]  # fmt: skip


# What a network itself moves: YOLOv1 flattens channels first for its dense layers, Darknet's reorg layer moves blocks.
_OWN_TRANSPOSES = {"yolov1": 1, "darknet": 2}
_NOT_FOR_GPU = {"ssd300": ["REDUCE_MAX"]}  # norm without overflow


@pytest.mark.parametrize("name", SPECS)
def test_no_transpose_is_left_in_the_graph(exported: Shared, name: str) -> None:
    """The network is channels-first in torch and channels-last in the file; the change must cost nothing."""
    graph = Graph.parse(exported(name, "tflite", "fp32").artifact.path.read_bytes())
    assert graph.operators("CONV_2D")
    assert len(graph.operators("TRANSPOSE")) == _OWN_TRANSPOSES.get(name, 0)


@pytest.mark.parametrize("name", SPECS)
def test_networks_suit_the_gpu_delegate(exported: Shared, name: str) -> None:
    """All but suppression; the exporter refuses the layout for the GPU otherwise, with these names."""
    runner = exported(name, "tflite", "fp32").runner()
    assert isinstance(runner, to_tflite.TfliteRunner)
    assert not_for_gpu(runner.cut((DELTAS, SCORES))) == _NOT_FOR_GPU.get(name, [])


def test_conversion_is_silent(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model, spec = case("toy")
    before = dict(os.environ)
    deployable = Deployable(model, spec)
    path = tmp_path / "toy.tflite"
    to_tflite.export(deployable, ExportOptions(), FileCard(spec, "fp32", deployable.weights_sha256, "0.0"), path)
    to_tflite.open_runner(path)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert dict(os.environ) == before


def test_equal_models_give_equal_files(export: Export, tmp_path: Path) -> None:
    path, reference = export("toy")
    deployable = Deployable(*case("toy"))
    card = FileCard(reference.spec, "fp32", deployable.weights_sha256, "0.0")
    to_tflite.export(deployable, ExportOptions(), card, tmp_path / "again.tflite")
    assert (tmp_path / "again.tflite").read_bytes() == path.read_bytes()


def test_what_cannot_be_expressed_is_named() -> None:
    (found,) = to_tflite.problems(toy_spec(), ExportOptions(dynamic_batch=True))
    assert "TFLite_Detection_PostProcess" in found
    (found,) = to_tflite.problems(toy_spec(), ExportOptions(precision="int3"))
    assert "int3" in found


@pytest.mark.parametrize("keep", [0, 4, 20, 0.5, -1, -200])
def test_cut_file_is_refused(export: Export, tmp_path: Path, keep: float) -> None:
    data = export("toy")[0].read_bytes()
    path = tmp_path / "cut.tflite"
    path.write_bytes(data[: int(keep * len(data)) if 0 < keep < 1 else int(keep)])
    with pytest.raises(ModelFileError, match=r"cut\.tflite"):
        to_tflite.open_runner(path)


def test_flipped_bit_is_found(export: Export, tmp_path: Path) -> None:
    data = bytearray(export("toy")[0].read_bytes())
    data[len(data) // 2] ^= 1
    path = tmp_path / "flipped.tflite"
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match="not those that were exported"):
        to_tflite.open_runner(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    graph = Graph.empty()
    tensor = graph.add_tensor("x", (1,))
    graph.set_signature({"x": tensor}, {"x": tensor})
    path = tmp_path / "foreign.tflite"
    contents = {"no TFLite": b"just text", "something else": graph.to_bytes()}
    contents["no edgedet spec"] = append_files(graph.to_bytes(), ("a",))
    graph.add_metadata(KEY, b"{}")
    contents["damaged"] = append_files(graph.to_bytes(), ("a",))
    for message, content in contents.items():
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=message):
            to_tflite.open_runner(path)
    with pytest.raises(ModelFileError, match="missing"):
        to_tflite.open_runner(tmp_path / "missing.tflite")


def test_googles_file_is_foreign(shared_data: Path) -> None:
    folder = shared_data / "data/third_party/tflite_coco_ssd_mobilenet_v1"
    for path in sorted(folder.glob("*.tflite")):
        with pytest.raises(ModelFileError, match="exported by something else"):
            to_tflite.open_runner(path)
