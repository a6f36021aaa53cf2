"""ONNX: the traced network and decoder, then NonMaxSuppression, in one file that needs nothing but ONNX Runtime.

Input `image`: float32 (B, 3, H, W), RGB, 0..255 (normalisation is inside). Outputs, padded with zeros to a fixed
shape: `num_detections` (B, 1) int32, `detection_boxes` (B, D, 4) float32 xyxy in 0..1 of the input, `detection_scores`
(B, D) float32, best first, `detection_classes` (B, D) int32. The tensors `box_codes`, `logits`, `boxes` and `scores`
keep these names inside the graph. With `onnx_input="uint8-hwc"` the input is an image of any size, uint8
(height, width, 3), the file resizes it (onnx_input.py), and boxes are in 0..1 of that image.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import torch
from torch import Tensor, nn

from edgedet.decode import RawHeads
from edgedet.export.calibrate import CalibrationSet
from edgedet.export.card import KEY, FileCard
from edgedet.export.deployable import Deployable
from edgedet.export.layers import float_layers, layers_of
from edgedet.export.onnx_input import take_images
from edgedet.export.onnx_int8 import make_integer, store_weights_as_int8
from edgedet.export.onnx_nms import suppression_graph
from edgedet.export.onnx_normalise import fold_std
from edgedet.export.options import ExportOptions
from edgedet.spec import DetectorSpec

if TYPE_CHECKING:
    from edgedet.export.onnx_runner import OnnxRunner

OPSET = 18
IR_VERSION = 9  # what ONNX Runtime 1.17 still reads
INPUT = "image"
TAPS = ("box_codes", "logits", "boxes", "scores")
LABELS_KEY = "labels"


def problems(spec: DetectorSpec, options: ExportOptions) -> list[str]:
    """ONNX expresses every spec; only images of different sizes cannot share one batch."""
    if _takes_images(options) and options.dynamic_batch:
        return ["--dynamic-batch does not go with --onnx-input uint8-hwc: images of different sizes make no batch"]
    return []


def notes(spec: DetectorSpec, options: ExportOptions) -> list[str]:
    """What an app must know or do."""
    found = [f"opset {OPSET}, IR version {IR_VERSION}: ONNX Runtime 1.17 or newer"]
    if options.precision == "int8":
        found.append(
            "8-bit layers may saturate on x86 processors without VNNI; there, set the session's configuration entry "
            "session.x64quantprecision to 1"
        )
    if _takes_images(options):
        return [
            *found,
            f"input `{INPUT}`: uint8 (height, width, 3), RGB, of any size, as a decoder gives it; the file resizes "
            f"({spec.input.resize}) and normalises",
            "boxes are in 0..1 of the image that went in; multiply by its width and height",
        ]
    batch = "any number of images" if options.dynamic_batch else "1 image"
    found.append(
        f"input `{INPUT}`: float32 NCHW, RGB 0..255, {spec.input.width} px wide, {spec.input.height} px high, {batch}; "
        "the file normalises"
    )
    if spec.input.resize == "letterbox":
        found.append(
            "the app must letterbox: scale the image to fit, centre it, fill the rest with grey "
            f"{spec.input.pad_value}, and undo this for the boxes"
        )
    return found


def export(
    deployable: Deployable,
    options: ExportOptions,
    card: FileCard,
    path: Path,
    calibration: CalibrationSet | None = None,
) -> None:
    """Write the file. Equal inputs give equal bytes."""
    model = _trace(deployable, options)
    if options.precision in _INTEGER:
        _INTEGER[options.precision](model, deployable, options, calibration)
    fold_std(model.graph, INPUT)
    _join(model.graph, suppression_graph(deployable.spec))
    _name_batch(model.graph, "batch" if options.dynamic_batch else 1)
    if _takes_images(options):
        take_images(model.graph, deployable.spec.input, deployable.spec.nms.max_detections)
    _drop_unused(model.graph)
    model.ir_version = IR_VERSION
    properties = {KEY: card.to_json(), LABELS_KEY: json.dumps(card.spec.class_names, ensure_ascii=False)}
    onnx.helper.set_model_props(model, properties)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _integer(
    model: onnx.ModelProto, deployable: Deployable, options: ExportOptions, calibration: CalibrationSet | None
) -> None:
    assert calibration is not None  # the pipeline asks for it
    make_integer(model, deployable, float_layers(layers_of(deployable), options), calibration, INPUT, TAPS[:2])


def _integer_weights(
    model: onnx.ModelProto, deployable: Deployable, options: ExportOptions, calibration: CalibrationSet | None
) -> None:
    store_weights_as_int8(model, deployable, float_layers(layers_of(deployable), options), TAPS[:2])


_INTEGER = {"int8": _integer, "int8-weights": _integer_weights}


def open_runner(path: Path, threads: int | None = None) -> OnnxRunner:
    """Load a file that `export` wrote; see OnnxRunner."""
    from edgedet.export.onnx_runner import OnnxRunner

    return OnnxRunner(path, threads)


def _takes_images(options: ExportOptions) -> bool:
    return options.onnx_input == "uint8-hwc"


class _Traced(nn.Module):
    """Deployable with the TAPS as outputs."""

    def __init__(self, deployable: Deployable) -> None:
        super().__init__()
        self.deployable = deployable

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        raw = self.deployable.raw(image)
        boxes_xyxy_unit, scores = self.deployable.decoder(raw)
        return raw.box_codes, raw.logits, boxes_xyxy_unit, scores


class _HalfNetwork(nn.Module):
    """Weights and activations in float16 between float32 ends; decoding stays in float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.half()

    def forward(self, normalised: Tensor) -> RawHeads:
        raw: RawHeads = self.network(normalised.half())
        return RawHeads(raw.box_codes.float(), raw.logits.float())


def _trace(deployable: Deployable, options: ExportOptions) -> onnx.ModelProto:
    """The graph from `image` to TAPS, through torch's exporter, without its notes on where each node came from."""
    if options.precision == "fp16":
        deployable = copy.deepcopy(deployable)
        deployable.network = _HalfNetwork(deployable.network)
    image = deployable.spec.input
    example = torch.zeros(2 if options.dynamic_batch else 1, 3, image.height, image.width)
    with _quiet():
        program = torch.onnx.export(
            _Traced(deployable).eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(TAPS),
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}} if options.dynamic_batch else None,
            verbose=False,
        )
    assert program is not None
    return _without_origins(program.model_proto)


def _without_origins(traced: onnx.ModelProto) -> onnx.ModelProto:
    """Source lines and file paths of this machine do not belong into a file that ships."""
    graph = traced.graph
    for proto in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del proto.metadata_props[:]
    del traced.metadata_props[:], graph.metadata_props[:], traced.functions[:]
    return traced


def _join(graph: onnx.GraphProto, suppression: onnx.GraphProto) -> None:
    """Append the suppression, whose inputs are called as two of the TAPS; the TAPS become inner tensors."""
    graph.name = "edgedet"
    graph.value_info.extend(graph.output)
    del graph.output[:]
    graph.node.extend(suppression.node)
    graph.initializer.extend(suppression.initializer)
    graph.output.extend(suppression.output)


def _name_batch(graph: onnx.GraphProto, batch: str | int) -> None:
    """One name for the first dimension of every input and output, or 1."""
    for value in (*graph.input, *graph.output):
        dim = value.type.tensor_type.shape.dim[0]
        if isinstance(batch, str):
            dim.dim_param = batch
        else:
            dim.dim_value = batch


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Constants that this spec's variant of a graph does not read: runtimes warn of each."""
    used = {name for node in graph.node for name in node.input}
    kept = [value for value in graph.initializer if value.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch's exporter prints progress and warns about its own internals; neither is for our users."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
