"""Is the file the model? Compared at three depths on real images, then by accuracy.

1. heads: the network's own outputs. 2. decoded: boxes in pixels and scores, before suppression. 3. detections: what the
file answers. 4. accuracy: the change in average precision, where a data set is given. A depth that a file does not let
us read is "not run" with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from edgedet.boxes import clip_xyxy
from edgedet.errors import EdgedetError
from edgedet.export.card import CardRunner
from edgedet.export.parity_match import Candidates, Found, Outcome, box_errors_px, match
from edgedet.export.parity_report import Check, Depth, ErrorStats, ParityReport
from edgedet.export.tolerances import Tolerance, tolerance_of
from edgedet.model_file import weights_sha256
from edgedet.preprocess import UInt8Image, to_network_pixels
from edgedet.runner import HeadOutputs, Runner, UnitDetections
from edgedet.spec import DetectorSpec
from edgedet.torch_runner import TorchRunner

if TYPE_CHECKING:
    from edgedet.evaluation import EvalResult

__all__ = ["ParityReport", "accuracy_depth", "compare"]

FloatArray = npt.NDArray[np.float32]
_NO_DATA = "no data set was given"
_UNREADABLE = "the file does not let these tensors be read"


def compare(reference: TorchRunner, runner: Runner, images: Iterable[UInt8Image]) -> ParityReport:
    """Run both on the same images.

    Args:
        reference: of model.pt; it is given the thresholds of the file.
        runner: of the exported file.
        images: (H, W, 3) uint8 RGB.

    Raises:
        EdgedetError: the file's spec or weights are not those of the model: a comparison would mean nothing.
    """
    reference = reference.with_nms(runner.spec.nms)
    _refuse_other_origin(reference, runner)
    limits = tolerance_of(runner.format, runner.precision)
    comparison = _Comparison(reference, runner, limits)
    for image in images:
        comparison.add(image)
    depths = (
        comparison.heads_depth(),
        comparison.decoded_depth(),
        comparison.detections_depth(),
        Depth("accuracy", reason=_NO_DATA),
    )
    return ParityReport(runner.format, runner.precision, runner.runtime, comparison.images, depths)


def _refuse_other_origin(reference: TorchRunner, runner: Runner) -> None:
    """Spec and weights that the file names must be those of the model."""
    remedy = "Compare it with the model.pt it came from, or export again."
    expected, actual = reference.spec.to_dict(), runner.spec.to_dict()
    keys = {**expected, **actual}  # a field that says nothing is not there
    if differences := [key for key in keys if expected.get(key) != actual.get(key)]:
        raise EdgedetError(
            f"{runner.path}: its spec is not that of {reference.path} ({', '.join(differences)} differ)", remedy
        )
    if isinstance(runner, CardRunner) and runner.card.weights_sha256 != weights_sha256(reference.model.state_dict()):
        raise EdgedetError(f"{runner.path}: was exported from other weights than {reference.path} holds", remedy)


def accuracy_depth(reference: EvalResult, found: EvalResult, limits: Tolerance) -> Depth:
    """The change in average precision from model.pt to the file, over the same images."""
    values: dict[str, float] = {}
    for name, before in reference.metrics.items():
        after = found.metrics[name]
        if np.isfinite(before) and np.isfinite(after):
            values |= {f"{name}_model": before, f"{name}_file": after, f"{name}_change": after - before}
    if "coco_ap_change" not in values:
        return Depth("accuracy", reason="the data set has no object that counts", values=values)
    change = Check("change in COCO AP", abs(values["coco_ap_change"]), limits.coco_ap)
    return Depth("accuracy", (change,), values=values)


class _Comparison:
    """Errors gathered image by image."""

    def __init__(self, reference: TorchRunner, runner: Runner, limits: Tolerance) -> None:
        self.reference, self.runner, self.limits = reference, runner, limits
        self.images = 0
        self.heads: dict[str, list[tuple[FloatArray, FloatArray]]] = {"box_codes": [], "logits": []}
        self.boxes: list[FloatArray] = []
        self.scores: list[FloatArray] = []
        self.outcome = Outcome()

    def add(self, image: UInt8Image) -> None:
        spec = self.runner.spec
        pixels = to_network_pixels(image, spec.input)
        expected, actual = self.reference.heads(pixels), self.runner.heads(pixels)
        self._add_heads(expected, actual)
        self._add_decoded(expected, actual)
        assert expected.boxes_xyxy_unit is not None
        assert expected.scores is not None
        boxes = _to_px(expected.boxes_xyxy_unit, spec)
        candidates = Candidates(_inside(boxes, spec), expected.scores, boxes)
        wanted, found = _found(self.reference.infer(pixels), spec), _found(self.runner.infer(pixels), spec)
        match(wanted, found, candidates, spec.nms, self.limits, self.outcome)
        self.images += 1

    def _add_heads(self, expected: HeadOutputs, actual: HeadOutputs) -> None:
        for name, pairs in self.heads.items():
            want, got = getattr(expected, name), getattr(actual, name)
            if got is not None:
                pairs.append((want, _same_shape(name, got, want, self.runner)))

    def _add_decoded(self, expected: HeadOutputs, actual: HeadOutputs) -> None:
        assert expected.boxes_xyxy_unit is not None
        assert expected.scores is not None
        spec = self.runner.spec
        if actual.boxes_xyxy_unit is not None:
            got = _same_shape("boxes", actual.boxes_xyxy_unit, expected.boxes_xyxy_unit, self.runner)
            rows = expected.scores.max(axis=1) >= spec.nms.score_min  # only candidates can ever be seen
            self.boxes.append(box_errors_px(_to_px(expected.boxes_xyxy_unit[rows], spec), _to_px(got[rows], spec)))
        if actual.scores is not None:
            self.scores.append(
                np.abs(_same_shape("scores", actual.scores, expected.scores, self.runner) - expected.scores)
            )

    def heads_depth(self) -> Depth:
        errors, checks, absent = {}, [], []
        for name, pairs in self.heads.items():
            if not pairs:
                absent.append(name)
                continue
            want, got = (np.stack(side) for side in zip(*pairs, strict=True))
            stats = ErrorStats.of(np.abs(want - got) / max(float(want.std()), 1e-6))
            errors[f"{name}_std"] = stats
            checks.append(Check(f"{name} p99 (standard deviations)", stats.p99, self.limits.head_p99))
            checks.append(Check(f"{name} max (standard deviations)", stats.max, self.limits.head_max))
        return Depth("heads", tuple(checks), self._absence(absent), errors)

    def decoded_depth(self) -> Depth:
        errors, checks, absent = {}, [], []
        rows = (("box", "_px", self.boxes, self.limits.box_px), ("score", "", self.scores, self.limits.score))
        for name, unit, parts, limit in rows:
            flat = np.concatenate([part.ravel() for part in parts]) if parts else np.empty(0, np.float32)
            if not flat.size:
                absent.append(name)
                continue
            stats = ErrorStats.of(flat)
            errors[name + unit] = stats
            checks.append(Check(f"{name}{unit} max", stats.max, limit))
        return Depth("decoded", tuple(checks), self._absence(absent), errors)

    def detections_depth(self) -> Depth:
        out = self.outcome
        seen = out.reference + out.extra
        if not seen:
            reason = f"nothing was found in {self.images} images; give images with objects (--data)"
            return Depth("detections", reason=reason, counts=out.counts())
        errors = {
            "box_px": ErrorStats.of(np.array(out.box_errors_px)),
            "score": ErrorStats.of(np.array(out.score_errors)),
        }
        checks = (
            Check("missed", out.missed, 0),
            Check("extra", out.extra, 0),
            Check("label flips", out.label_flips, 0),
            Check("share of borderline detections", out.borderline / seen, self.limits.borderline_share),
            Check("box_px max", errors["box_px"].max, self.limits.box_px),
            Check("score max", errors["score"].max, self.limits.score),
        )
        return Depth("detections", checks, errors=errors, counts=out.counts())

    def _absence(self, absent: list[str]) -> str:
        if not self.images:
            return "no images were given"
        return f"{', '.join(absent)}: {_UNREADABLE}" if absent else ""


def _to_px(boxes_xyxy_unit: FloatArray, spec: DetectorSpec) -> FloatArray:
    """Unit boxes to pixels of the network input."""
    return boxes_xyxy_unit * np.array((spec.input.width, spec.input.height) * 2, np.float32)


def _found(raw: UnitDetections, spec: DetectorSpec) -> Found:
    boxes = _to_px(raw.boxes_xyxy_unit, spec)
    return Found(_inside(boxes, spec), raw.scores, raw.class_ids, boxes)


def _inside(boxes_xyxy_px: FloatArray, spec: DetectorSpec) -> FloatArray:
    """Boxes cut to the network input, as every runner cuts them in the end; some files do it themselves."""
    cut: FloatArray = clip_xyxy(torch.from_numpy(boxes_xyxy_px), spec.input.width, spec.input.height).numpy()
    return cut


def _same_shape(name: str, got: FloatArray, want: FloatArray, runner: Runner) -> FloatArray:
    if got.shape != want.shape:
        raise EdgedetError(
            f"{runner.path}: {name} have shape {got.shape}, the model's have {want.shape}", "Export the model again."
        )
    return got
