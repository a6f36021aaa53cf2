"""The range of each inner tensor of a float graph over the calibration images: LiteRT runs the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgedet.export.calibrate import CalibrationSet
from edgedet.export.ranges import RangeMeter
from edgedet.export.tflite_graph import Graph
from edgedet.preprocess import normalise_hwc
from edgedet.progress import track
from edgedet.spec import InputSpec

Range = tuple[float, float]
Channels = npt.NDArray[np.float32]

_ENOUGH_FOR_CHANNELS = 32  # images: which channels are small shows early


def measure_ranges(
    graph: Graph, tensors: Iterable[int], calibration: CalibrationSet, image: InputSpec
) -> dict[int, Range]:
    """Run the graph on every image.

    Args:
        graph: float, with normalised pixels as its input.
        tensors: to be measured.
        calibration: the images.
        image: mean and standard deviation.

    Returns:
        For each tensor its range by the method of the calibration; it holds 0.
    """
    wanted = list(dict.fromkeys(tensors))
    meters = [RangeMeter(calibration.record.method) for _ in wanted]
    for values in _runs(graph, wanted, calibration, len(calibration), image):
        for meter, value in zip(meters, values, strict=True):
            meter.add(value())
    return {tensor: meter.range() for tensor, meter in zip(wanted, meters, strict=True)}


def measure_channels(
    graph: Graph, tensors: Iterable[int], calibration: CalibrationSet, image: InputSpec
) -> dict[int, tuple[Channels, Channels]]:
    """Least and greatest value of each channel, the last axis, over the first images.

    Args and result: as above, with two arrays (C,) float32 for each tensor.
    """
    wanted = list(dict.fromkeys(tensors))
    low: dict[int, Channels] = {}
    high: dict[int, Channels] = {}
    for values in _runs(graph, wanted, calibration, _ENOUGH_FOR_CHANNELS, image) if wanted else ():
        for tensor, value in zip(wanted, values, strict=True):
            rows = value().reshape(-1, graph.shape(tensor)[-1])
            low[tensor] = np.minimum(low[tensor], rows.min(0)) if tensor in low else rows.min(0)
            high[tensor] = np.maximum(high[tensor], rows.max(0)) if tensor in high else rows.max(0)
            del rows
    return {tensor: (low[tensor], high[tensor]) for tensor in wanted}


def _runs(
    graph: Graph, tensors: Sequence[int], calibration: CalibrationSet, count: int, image: InputSpec
) -> Iterator[list[Callable[[], npt.NDArray[np.float32]]]]:
    """Run the graph on the first `count` images; gives functions that look at the tensors' values, without copying."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=_with_outputs(graph, tensors), num_threads=1)
    interpreter.allocate_tensors()
    values = [interpreter.tensor(detail["index"]) for detail in interpreter.get_output_details()]
    normalised = np.empty((1, image.height, image.width, 3), np.float32)
    count = min(count, len(calibration))
    for pixels in track(islice(calibration.pixels(), count), "Measuring ranges", total=count):
        normalise_hwc(torch.from_numpy(pixels).permute(2, 0, 1), image, normalised[0])
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], normalised)
        interpreter.invoke()
        yield values


def _with_outputs(graph: Graph, tensors: Sequence[int]) -> bytes:
    """The graph with these tensors as outputs, so that a delegate hands them out."""
    copy: Any = Graph.parse(graph.to_bytes())
    (image,) = (int(tensor) for tensor in copy.main.inputs)
    copy.set_signature({"image": image}, {f"{tensor:05}": tensor for tensor in tensors})
    copy.prune()
    data: bytes = copy.to_bytes()
    return data
