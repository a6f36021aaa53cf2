"""TFLite: litert-torch lowers the network and the decoder's first step; our own builder adds NMS and metadata.

No TensorFlow is involved. The file takes normalised pixels, (1, H, W, 3) float32; mean and standard deviation stand in
its metadata, from which the Task Library and MediaPipe do the normalisation. Or it takes the pixels themselves, uint8.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from edgedet.errors import ExportError
from edgedet.export.calibrate import CalibrationSet
from edgedet.export.card import KEY, FileCard
from edgedet.export.deployable import Deployable
from edgedet.export.options import ExportOptions
from edgedet.export.tflite_compact import compact
from edgedet.export.tflite_encodings import (
    ENCODING_OUTPUTS,
    add_encodings,
    decoding_entry,
    mediapipe_nms,
    not_for_gpu,
)
from edgedet.export.tflite_graph import Graph
from edgedet.export.tflite_input import take_uint8
from edgedet.export.tflite_metadata import METADATA, append_files, detector_metadata, encodings_metadata
from edgedet.export.tflite_metadata_schema import Fields, write_metadata
from edgedet.export.tflite_notes import notes, problems
from edgedet.export.tflite_postprocess import SIGNATURE_OUTPUTS, add_postprocess
from edgedet.export.tflite_quantize import Job, to_precision
from edgedet.export.tflite_runner import BOX_CODES, DELTAS, LOGITS, SCORES, TfliteRunner, open_runner
from edgedet.spec import DetectorSpec

__all__ = ["TfliteRunner", "export", "file_spec", "notes", "open_runner", "problems"]

_INPUT = "image"


def file_spec(spec: DetectorSpec, options: ExportOptions) -> DetectorSpec:
    """The spec that the file carries: with the suppression that its detections really get."""
    return replace(spec, nms=mediapipe_nms(spec)) if _is_mediapipe(options) else spec


def export(
    deployable: Deployable,
    options: ExportOptions,
    card: FileCard,
    path: Path,
    calibration: CalibrationSet | None = None,
) -> None:
    """Write the complete .tflite: network, NMS or encodings, metadata, labels and card.

    Raises:
        ExportError: fp16 was asked for and a weight does not fit, or the GPU delegate lacks an operator.
    """
    graph = Graph.parse(_lower(deployable))
    _name_tensors(graph)
    to_precision(Job(graph, deployable, options, calibration))
    image, uint8 = graph.tensor(_INPUT), options.tflite_input == "uint8"
    if uint8:
        image = take_uint8(graph, image, card.spec.input)
    add_end = _add_encodings if _is_mediapipe(options) else _add_postprocess
    outputs, metadata = add_end(graph, deployable, card.spec, uint8)
    graph.set_signature({_INPUT: image}, outputs)
    compact(graph)
    graph.add_metadata(METADATA, write_metadata(metadata))
    graph.add_metadata(KEY, card.to_json().encode())
    path.write_bytes(append_files(graph.to_bytes(), card.spec.class_names))


def _is_mediapipe(options: ExportOptions) -> bool:
    return options.tflite_layout == "mediapipe-gpu"


def _add_postprocess(
    graph: Graph, deployable: Deployable, spec: DetectorSpec, uint8: bool
) -> tuple[dict[str, int], Fields]:
    """The four outputs, and the metadata that describe them."""
    priors = deployable.decoder.priors_cxcywh.numpy()
    outputs = add_postprocess(graph, graph.tensor(DELTAS), graph.tensor(SCORES), priors, spec.nms)
    return dict(zip(SIGNATURE_OUTPUTS, outputs, strict=True)), detector_metadata(spec, uint8)


def _add_encodings(
    graph: Graph, deployable: Deployable, spec: DetectorSpec, uint8: bool
) -> tuple[dict[str, int], Fields]:
    """MediaPipe's two outputs, and the metadata that describe them."""
    outputs = add_encodings(graph, graph.tensor(DELTAS)), graph.tensor(SCORES)
    if lacking := not_for_gpu(graph):
        raise ExportError(
            f"TFLite's GPU delegate does not take {', '.join(lacking)} of this network",
            "Leave --tflite-layout mediapipe-gpu out; the file with the four outputs runs on the CPU.",
        )
    decoding = decoding_entry(deployable.decoder.priors_cxcywh.numpy(), spec.num_classes)
    return dict(zip(ENCODING_OUTPUTS, outputs, strict=True)), encodings_metadata(spec, decoding, uint8)


class _Heads(nn.Module):
    """(1, H, W, 3) normalised image to everything before suppression; the raw heads are there for parity to read."""

    def __init__(self, deployable: Deployable) -> None:
        super().__init__()
        self.deployable = deployable

    def forward(self, image_nhwc: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        box_codes, logits = self.deployable.heads(image_nhwc.permute(0, 3, 1, 2))
        decoder = self.deployable.decoder
        return box_codes, logits, decoder.deltas(box_codes), decoder.scores(logits)


def _lower(deployable: Deployable) -> bytes:
    """The flatbuffer of `_Heads`, as litert-torch writes it."""
    image = deployable.spec.input
    with _quiet_converter():
        import litert_torch

        converted = litert_torch.convert(_Heads(deployable).eval(), (torch.zeros(1, image.height, image.width, 3),))
        return bytes(converted.model_content())


def _name_tensors(graph: Graph) -> None:
    """Give the ends of the converted graph the names that the rest of this package uses."""
    graph.rename(int(graph.main.inputs[0]), _INPUT)
    for tensor, name in zip(graph.main.outputs, (BOX_CODES, LOGITS, DELTAS, SCORES), strict=True):
        graph.rename(int(tensor), name)


@contextmanager
def _quiet_converter() -> Iterator[None]:
    """No progress lines on stdout and no native chatter on stderr; errors still come through."""
    # The last one silences a notice of a native library that respects no log level; nothing here computes with it.
    wanted = {"LITERT_TORCH_SHOW_PROGRESS": "n", "TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"}
    before = {key: os.environ.get(key) for key in wanted}
    os.environ.update({key: value for key, value in wanted.items() if before[key] is None})
    logger = logging.getLogger("torch.utils._pytree")  # warns about an enum of torchao's, at import
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
