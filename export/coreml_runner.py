"""Runners of .mlpackage files: Core ML's own prediction on macOS, the reference runtime everywhere else."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgedet.boxes import cxcywh_to_xyxy
from edgedet.errors import ModelFileError, NotRunError
from edgedet.export.card import KEY, CardRunner, FileCard
from edgedet.export.coreml_library import ct
from edgedet.export.coreml_names import (
    BOX_CODES,
    CONFIDENCE,
    COORDINATES,
    IMAGE,
    LOGITS,
    RAW_CONFIDENCE,
    RAW_COORDINATES,
    SCORES,
)
from edgedet.export.coreml_package import Package
from edgedet.export.coreml_rules import package_problems
from edgedet.export.mil_loader import load_program
from edgedet.export.mil_runtime import Executable
from edgedet.nms import non_maximum_suppression
from edgedet.runner import Float32Array, HeadOutputs, Runner, UnitDetections
from edgedet.spec import NmsSpec

_FORMAT = "coreml"


def read_card(package: Package) -> FileCard:
    """The card of a package, once the package is known to be a pipeline that the card's spec describes.

    Raises:
        ModelFileError: exported by something else, not a pipeline of detector and suppression, or changed since.
    """
    metadata = package.model.description.metadata.userDefined
    card = FileCard.from_json(dict(metadata).get(KEY), str(package.path))
    problems = package_problems(package.model)
    size = card.spec.input
    image = next((f.type.imageType for f in package.model.description.input if f.name == IMAGE), None)
    if image is not None and (image.width, image.height) != (size.width, size.height):
        problems.append(f"its image is {image.width}x{image.height}, its spec says {size.width}x{size.height}")
    if problems:
        raise ModelFileError(f"{package.path}: {problems[0]}", "Export it again; the package was changed since.")
    return card


@dataclass(frozen=True)
class SuppressionStage:
    """The saved NonMaximumSuppression model. Its own thresholds and limits are used, not the spec's."""

    nms: NmsSpec

    @staticmethod
    def from_model(model: Any) -> SuppressionStage:
        """Read the stage's protobuf; NonMaximumSuppression.proto defines each field.

        perClass: only boxes with the same best label suppress each other. Rows of the results are limited by their
        shape's range. A box is suppressed when IoU > threshold: at a threshold of 1 nothing is, says the format.
        """
        saved = model.nonMaximumSuppression
        arrays = {f.name: f.type.multiArrayType for f in (*model.description.input, *model.description.output)}
        rows_raw = int(arrays[saved.confidenceInputFeatureName].shape[0])
        limit = int(arrays[saved.confidenceOutputFeatureName].shapeRange.sizeRanges[0].upperBound)
        return SuppressionStage(
            NmsSpec(
                score_min=saved.confidenceThreshold,
                iou_max=saved.iouThreshold,
                pre_topk=rows_raw,
                max_detections=rows_raw if limit < 0 else min(limit, rows_raw),
                class_agnostic=not saved.pickTop.perClass,
                labels_per_box="best",
            )
        )

    def __call__(self, confidence: Tensor, coordinates: Tensor) -> tuple[Tensor, Tensor]:
        """raw_confidence (N, C) and raw_coordinates (N, 4) cxcywh to the rows that are kept, best first."""
        kept = non_maximum_suppression(cxcywh_to_xyxy(coordinates), confidence, self.nms).prior_indices
        return confidence[kept], coordinates[kept]


def _as_detections(confidence: Tensor, coordinates: Tensor, nms: NmsSpec) -> UnitDetections:
    """What the pipeline gives, as the app reads it: each row's best column is its class; padded rows hold zeros."""
    scores, class_ids = confidence.max(dim=1)
    order = torch.sort(scores, descending=True, stable=True).indices[: nms.max_detections]
    order = order[scores[order] > 0]
    boxes = cxcywh_to_xyxy(coordinates[order])
    return UnitDetections(boxes.numpy(), scores[order].numpy(), class_ids[order].numpy())


class ReferenceRunner(CardRunner):
    """Runs the saved package on any system: its program in the reference runtime, then its suppression stage."""

    def __init__(self, package: Package) -> None:
        card = read_card(package)
        runtime = f"reference runtime (Core ML package in torch {torch.__version__})"
        super().__init__(package.path, card, _FORMAT, runtime)
        detector, suppression = package.model.pipeline.models
        program = load_program(detector.mlProgram, package.weights_dir, package.path)
        self.executable = Executable(program, package.path)
        self.suppression = SuppressionStage.from_model(suppression)

    @torch.inference_mode()
    def infer(self, network_pixels: Tensor) -> UnitDetections:
        values = self._run(network_pixels, (RAW_CONFIDENCE, RAW_COORDINATES))
        kept = self.suppression(values[RAW_CONFIDENCE], values[RAW_COORDINATES])
        return _as_detections(*kept, self.suppression.nms)

    @torch.inference_mode()
    def heads(self, network_pixels: Tensor) -> HeadOutputs:
        """Values inside the program, where the converter kept their names; scores are those of all classes."""
        names = {wanted: self._name_in_program(wanted) for wanted in (BOX_CODES, LOGITS, SCORES)}
        values = self._run(network_pixels, [RAW_COORDINATES, *(name for name in names.values() if name)])

        def rows(wanted: str) -> Float32Array | None:
            name = names[wanted]
            return values[name].reshape(self.spec.num_priors, -1).numpy() if name else None

        boxes_xyxy = cxcywh_to_xyxy(values[RAW_COORDINATES])
        return HeadOutputs(rows(BOX_CODES), rows(LOGITS), boxes_xyxy.numpy(), rows(SCORES))

    def _run(self, network_pixels: Tensor, wanted: Any) -> dict[str, Tensor]:
        return self.executable.run({IMAGE: network_pixels[None].float()}, wanted)

    def _name_in_program(self, wanted: str) -> str | None:
        """The converter appends to a variable's name when it changes its precision."""
        names = {output.name for operation in self.executable.program.operations for output in operation.outputs}
        return next((name for name in (wanted, f"{wanted}_cast_fp16") if name in names), None)


class NativeRunner(CardRunner):
    """Runs the package through Core ML itself, which exists on macOS only."""

    def __init__(self, package: Package) -> None:
        card = read_card(package)
        runtime = f"Core ML (macOS {platform.mac_ver()[0]})"
        super().__init__(package.path, card, _FORMAT, runtime)
        try:
            self._pipeline = ct.models.MLModel(str(package.path))
        except RuntimeError as error:
            raise NotRunError(
                f"{package.path}: Core ML on this system does not load it ({error})", "It needs macOS 12 or later."
            ) from error
        self._package = package
        self._detector: Any = None

    def infer(self, network_pixels: Tensor) -> UnitDetections:
        found = self._pipeline.predict({IMAGE: _picture(network_pixels)})
        return _as_detections(_matrix(found, CONFIDENCE), _matrix(found, COORDINATES), self.spec.nms)

    def heads(self, network_pixels: Tensor) -> HeadOutputs:
        """Core ML gives out the first stage's results only: boxes, but confidences of best classes, so no scores."""
        if self._detector is None:
            stage = self._package.model.pipeline.models[0]
            self._detector = ct.models.MLModel(stage, weights_dir=str(self._package.weights_dir))
        raw = self._detector.predict({IMAGE: _picture(network_pixels)})
        return HeadOutputs(None, None, cxcywh_to_xyxy(_matrix(raw, RAW_COORDINATES)).numpy(), None)


def _picture(network_pixels: Tensor) -> Any:
    from PIL import Image

    return Image.fromarray(network_pixels.permute(1, 2, 0).contiguous().numpy())


def _matrix(outputs: Mapping[str, Any], name: str) -> Tensor:
    array = np.asarray(outputs[name], dtype=np.float32)
    return torch.from_numpy(array.reshape(-1, array.shape[-1]))


def open_package(package: Package, threads: int | None = None) -> Runner:
    """The runner this machine has. `threads` sets torch's process-wide thread count; Core ML chooses its own."""
    if platform.system() == "Darwin":
        return NativeRunner(package)
    if threads is not None:
        torch.set_num_threads(threads)
    return ReferenceRunner(package)
