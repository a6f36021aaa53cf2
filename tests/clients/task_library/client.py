"""ObjectDetector of the TFLite Task Library: see programs/task_detector.py."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "programs"))

from program import Normalisation, run_client
from task_detector import open_model


def load(_: Normalisation) -> Any:
    from tflite_support.task import core, processor, vision

    def create(path: str) -> Any:
        options = vision.ObjectDetectorOptions(core.BaseOptions(path, num_threads=2), processor.DetectionOptions())
        return vision.ObjectDetector.create_from_options(options)

    return partial(open_model, create, vision.TensorImage.create_from_file)


run_client("tflite-support", load)
