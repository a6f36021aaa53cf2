"""Accuracy: VOC 2007, VOC 2010 and COCO average precision, curves, confusions, plots."""

from edgedet.evaluation.confusion import Confusion, Example, Mistake
from edgedet.evaluation.evaluate import Detector, EvalResult, Source, evaluate, evaluate_detections
from edgedet.evaluation.voc import PrecisionRecall

__all__ = [
    "Confusion", "Detector", "EvalResult", "Example", "Mistake", "PrecisionRecall", "Source", "evaluate",
    "evaluate_detections",
]  # fmt: skip
