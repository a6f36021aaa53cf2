"""ObjectDetector of MediaPipe Tasks: see programs/task_detector.py."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "programs"))

from program import Normalisation, run_client
from task_detector import open_model


def load(_: Normalisation) -> Any:
    import mediapipe
    from mediapipe.tasks import python as tasks
    from mediapipe.tasks.python import vision

    def create(path: str) -> Any:
        options = vision.ObjectDetectorOptions(base_options=tasks.BaseOptions(model_asset_path=path), max_results=-1)
        return vision.ObjectDetector.create_from_options(options)

    return partial(open_model, create, mediapipe.Image.create_from_file)


run_client("mediapipe", load)
