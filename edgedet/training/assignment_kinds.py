"""The rules of matching by the names that a configuration gives them: a table, so that the losses know none of them."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from edgedet.config import LossConfig
from edgedet.config.loss import matching_of
from edgedet.spec import DetectorSpec
from edgedet.training.assignment_ssd import RetinaNetMatcher, SsdMatcher
from edgedet.training.assignment_yolo import YoloMatcher
from edgedet.training.assignment_yolo_v1 import YoloV1Matcher

# Name -> module: (Targets, predicted boxes (B, N, 4) in 0..1, detached) -> Matches.
MATCHERS: dict[str, Callable[[DetectorSpec, LossConfig], nn.Module]] = {
    "ssd": SsdMatcher,
    "retinanet": RetinaNetMatcher,
    "yolo": YoloMatcher,
    "yolo_v1": YoloV1Matcher,
}


def make_matcher(spec: DetectorSpec, config: LossConfig) -> nn.Module:
    """The rule that `loss.matching` names, or the one of the coding's paper."""
    return MATCHERS[matching_of(spec.coding, config)](spec, config)
