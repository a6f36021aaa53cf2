"""edgedet: a folder of labelled photographs in, detector files that a phone runs as they are out.

import edgedet
runner = edgedet.load("model.tflite")      # .pt, .onnx, .tflite or .mlpackage
detections = runner(image_u8_hwc)          # boxes_xyxy_px, scores, class_ids
"""

from edgedet.errors import EdgedetError
from edgedet.formats import load
from edgedet.runner import Detections, Runner
from edgedet.spec import DetectorSpec

__all__ = ["Detections", "DetectorSpec", "EdgedetError", "Runner", "load"]
__version__ = "0.1.0"
