"""What the object detectors of TFLite Task Library and MediaPipe Tasks have in common: they read the metadata, resize,
normalise and name the classes, and answer in the same terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from program import Detect, as_detections


def open_model(create: Callable[[str], Any], read_image: Callable[[str], Any], path: str) -> Detect:
    """A detector that `create` makes from a file, on images that `read_image` reads."""
    detector = create(path)
    return lambda image_path: _rows(detector.detect(read_image(image_path)).detections)


def _rows(found: Any) -> dict[str, Any]:
    """One row a category: MediaPipe joins boxes that are exactly equal into one detection of several categories."""
    rows = [(_corners(detection.bounding_box), category) for detection in found for category in detection.categories]
    return as_detections([box for box, _ in rows], [c.score for _, c in rows], [c.category_name for _, c in rows])


def _corners(box: Any) -> tuple[float, float, float, float]:
    return box.origin_x, box.origin_y, box.origin_x + box.width, box.origin_y + box.height
