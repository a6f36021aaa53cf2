"""Runner: one callable for every file kind. Evaluation, parity and latency take runners and know no format."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgedet.boxes import clip_xyxy
from edgedet.preprocess import UInt8Image, to_image_px, to_network_pixels
from edgedet.spec import DetectorSpec

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Detections:
    """Objects found in one image, best score first.

    Attributes:
        boxes_xyxy_px: (M, 4) float32, pixels of the ORIGINAL image, clipped to it, never empty boxes.
        scores: (M,) float32 in 0..1.
        class_ids: (M,) int64, indices into the spec's class_names.
    """

    boxes_xyxy_px: Float32Array
    scores: Float32Array
    class_ids: Int64Array

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class UnitDetections:
    """What a file's NMS gives: boxes_xyxy_unit (M, 4) in 0..1 of the network input, scores (M,), class_ids (M,)."""

    boxes_xyxy_unit: Float32Array
    scores: Float32Array
    class_ids: Int64Array


@dataclass(frozen=True)
class HeadOutputs:
    """What a file computes before suppression, for parity. None where the file does not let a tensor be read.

    Attributes:
        box_codes: (N, 4) and logits: (N, K), the network's own outputs in prior order.
        boxes_xyxy_unit: (N, 4) decoded, in 0..1 of the network input, and scores: (N, C), background removed.
    """

    box_codes: Float32Array | None
    logits: Float32Array | None
    boxes_xyxy_unit: Float32Array | None
    scores: Float32Array | None


@dataclass(frozen=True)
class StageTimes:
    """Milliseconds of one image: resize and normalisation, the file itself, boxes back to the image's pixels."""

    preprocess_ms: float
    inference_ms: float
    postprocess_ms: float

    @property
    def total_ms(self) -> float:
        return self.preprocess_ms + self.inference_ms + self.postprocess_ms


class Runner(ABC):
    """A loaded model file: uint8 HWC RGB image in, `Detections` in pixels of that image out.

    Attributes:
        path: the file that was loaded, and the only thing that is run.
        spec: the spec embedded in the file.
        format: row name in edgedet.formats ("torch", "onnx", ...).
        precision: "fp32", "fp16", ...
        runtime: name and version of what executes the file, as tables print it.
        provider: what inside the runtime does, as the runtime calls it (an execution provider, a delegate); "" where
            there is no choice.
    """

    provider: str = ""

    def __init__(self, path: Path, spec: DetectorSpec, format: str, precision: str, runtime: str) -> None:
        self.path = path
        self.spec = spec
        self.format = format
        self.precision = precision
        self.runtime = runtime

    @abstractmethod
    def infer(self, network_pixels: Tensor) -> UnitDetections:
        """Run the file on (3, height, width) uint8 network pixels: normalise, heads, decode, NMS."""

    def heads(self, network_pixels: Tensor) -> HeadOutputs:
        """Intermediate tensors of the file for (3, height, width) uint8 network pixels; slow, for parity only."""
        return HeadOutputs(None, None, None, None)

    def __call__(self, image_u8_hwc: UInt8Image) -> Detections:
        """Detect objects in one (H, W, 3) uint8 RGB image."""
        return self.timed(image_u8_hwc)[0]

    def timed(self, image_u8_hwc: UInt8Image) -> tuple[Detections, StageTimes]:
        """The same as calling, with the time of each stage."""
        start = time.perf_counter()
        pixels = to_network_pixels(image_u8_hwc, self.spec.input)
        prepared = time.perf_counter()
        found = self.infer(pixels)
        inferred = time.perf_counter()
        detections = to_detections(found, image_u8_hwc.shape[1], image_u8_hwc.shape[0], self.spec)
        done = time.perf_counter()
        return detections, StageTimes((prepared - start) * 1e3, (inferred - prepared) * 1e3, (done - inferred) * 1e3)


def to_detections(found: UnitDetections, image_width: int, image_height: int, spec: DetectorSpec) -> Detections:
    """Boxes of the network input to pixels of the original image; what lies outside is cut, what is then empty goes."""
    boxes = to_image_px(torch.from_numpy(found.boxes_xyxy_unit), image_width, image_height, spec.input)
    boxes = clip_xyxy(boxes, image_width, image_height)
    visible = ((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])).numpy()
    order = np.argsort(-found.scores[visible], kind="stable")
    return Detections(
        boxes.numpy()[visible][order].astype(np.float32, copy=False),
        found.scores[visible][order].astype(np.float32, copy=False),
        found.class_ids[visible][order].astype(np.int64, copy=False),
    )
