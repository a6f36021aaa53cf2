"""Are the boxes that the browser found those of this host? The same file, the same input, the limits of parity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from edgedet.benchmarks.devices.browser_jobs import BrowserFile
from edgedet.boxes import clip_xyxy
from edgedet.errors import EdgedetError
from edgedet.export.parity_match import Candidates, FloatArray, Found, Outcome, match
from edgedet.export.tolerances import tolerance_of
from edgedet.preprocess import to_image_px, to_network_pixels
from edgedet.runner import UnitDetections
from edgedet.spec import DetectorSpec


def compare(file: BrowserFile, answers: Sequence[UnitDetections]) -> str:
    """One line that says how well they agree.

    Raises:
        EdgedetError: a box, a score or a class is off by more than the format's tolerance; a time of such a run would
            not be that of the file.
    """
    spec = file.runner.spec
    if len(answers) != len(file.pictures):
        raise EdgedetError(
            f"{file.path}: the browser answered on {len(answers)} of {len(file.pictures)} pictures", "Try again."
        )
    if any((answer.class_ids >= len(spec.class_names)).any() for answer in answers):
        raise EdgedetError(f"{file.path}: the browser found classes that the file does not have", "Export it again.")
    limits = tolerance_of(file.facts.format, file.facts.precision)
    outcome = Outcome()
    for k, answer in enumerate(answers):
        wanted, candidates = _reference(file, k)
        match(wanted, _found(answer, spec), candidates, spec.nms, limits, outcome)
    box_px, score = max(outcome.box_errors_px, default=0.0), max(outcome.score_errors, default=0.0)
    seen = outcome.reference + outcome.extra
    counts = f"{outcome.missed} missed, {outcome.extra} extra, {outcome.label_flips} of another class"
    errors = f"boxes within {box_px:.4f} px, scores within {score:.6f}"
    wrong = (
        outcome.missed or outcome.extra or outcome.label_flips or outcome.borderline > limits.borderline_share * seen
    )
    if wrong or box_px > limits.box_px or score > limits.score:
        differences = f"{counts}, {outcome.borderline} ties, {errors}"
        raise EdgedetError(
            f"{file.path}: the browser's detections are not this host's ({differences})",
            "Try the other backend or another browser.",
        )
    if not seen:
        return "neither the browser nor this host found anything, so they were not compared"
    return f"as on this host: {outcome.matched} of {outcome.reference} the same, {outcome.borderline} ties, {errors}"


def _reference(file: BrowserFile, k: int) -> tuple[Found, Candidates]:
    """This host's detections and candidates, in pixels of the network's input or, for whole pictures, of its size."""
    runner, image = file.runner, file.pictures[k]
    spec = runner.spec
    pixels = to_network_pixels(image, spec.input)
    heads = runner.heads(pixels)
    assert heads.boxes_xyxy_unit is not None
    assert heads.scores is not None
    if not file.takes_images:
        return _found(runner.infer(pixels), spec), _candidates(heads.boxes_xyxy_unit, heads.scores, spec)
    height, width = image.shape[:2]
    found = runner(image)
    of_the_image = np.array((width, height) * 2, np.float32)
    boxes: FloatArray = to_image_px(torch.from_numpy(heads.boxes_xyxy_unit), width, height, spec.input).numpy()
    boxes = (boxes / of_the_image).astype(np.float32)
    unit = UnitDetections(found.boxes_xyxy_px / of_the_image, found.scores, found.class_ids)
    return _found(unit, spec), _candidates(boxes, heads.scores, spec)


def _candidates(boxes_xyxy_unit: FloatArray, scores: FloatArray, spec: DetectorSpec) -> Candidates:
    boxes = _to_px(boxes_xyxy_unit, spec)
    return Candidates(_inside(boxes, spec), scores, boxes)


def _found(raw: UnitDetections, spec: DetectorSpec) -> Found:
    boxes = _to_px(raw.boxes_xyxy_unit, spec)
    return Found(_inside(boxes, spec), raw.scores, raw.class_ids, boxes)


def _to_px(boxes_xyxy_unit: FloatArray, spec: DetectorSpec) -> FloatArray:
    boxes: FloatArray = boxes_xyxy_unit * np.array((spec.input.width, spec.input.height) * 2, np.float32)
    return boxes


def _inside(boxes_xyxy_px: FloatArray, spec: DetectorSpec) -> FloatArray:
    cut: FloatArray = clip_xyxy(torch.from_numpy(boxes_xyxy_px), spec.input.width, spec.input.height).numpy()
    return cut
