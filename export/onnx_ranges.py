"""The range of each inner tensor of a float ONNX graph over the calibration images: ONNX Runtime runs the graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime

from edgedet.export.calibrate import CalibrationSet
from edgedet.export.ranges import RangeMeter
from edgedet.progress import track

Range = tuple[float, float]


def measure_ranges(
    model: onnx.ModelProto, image: str, tensors: Sequence[str], calibration: CalibrationSet
) -> dict[str, Range]:
    """Run the graph on every image.

    Args:
        model: float, from `image`, float32 (1, 3, H, W) of values 0..255.
        image: name of the input.
        tensors: float tensors inside.

    Returns:
        For each tensor its range by the method of the calibration; it holds 0.
    """
    session = _session(model, image, tensors)
    meters = {tensor: RangeMeter(calibration.record.method) for tensor in tensors}
    for pixels in track(calibration.pixels(), "Measuring ranges", total=len(calibration)):
        fed = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)
        for tensor, values in zip(tensors, session.run(list(tensors), {image: fed}), strict=True):
            meters[tensor].add(values)
    return {tensor: meter.range() for tensor, meter in meters.items()}


def _session(model: onnx.ModelProto, image: str, tensors: Sequence[str]) -> onnxruntime.InferenceSession:
    """The graph up to the tensors, each an output."""
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    del cut.graph.output[:]
    cut.graph.output.extend(onnx.helper.make_tensor_value_info(t, onnx.TensorProto.FLOAT, None) for t in tensors)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # The plain operators one after the other on one thread: the same ranges, to the last bit, each time.
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(cut.SerializeToString(), options, providers=["CPUExecutionProvider"])
