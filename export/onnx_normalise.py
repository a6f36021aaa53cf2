"""Normalising an image without a pass over it for the division."""

from __future__ import annotations

import numpy as np
import onnx

from edgedet.export.onnx_graph import OnnxGraph


def fold_std(proto: onnx.GraphProto, image: str) -> None:
    """Put 1 / std into the weights of the convolution that alone reads the normalised image, in place.

    (x - mean) / std of zero padding is zero, and so is x - mean, so nothing changes but the order of products. The mean
    stays an operator: added to the bias, it would be missing where the padding is. Where the image goes another way, or
    the weights are not plain 32-bit floats (1 / std of a small one is no normal number in 16 bits), nothing is done.

    Args:
        image: name of the graph's input, values 0..255.
    """
    graph = OnnxGraph(proto)
    scaling = graph.only_reader(image)
    if scaling is not None and scaling.op_type == "Sub":
        scaling = graph.only_reader(scaling.output[0])
    if scaling is None or scaling.op_type != "Mul":
        return
    factor = graph.constants.get(scaling.input[1])
    layer = graph.only_reader(scaling.output[0])
    if factor is None or factor.size != 1 or layer is None or layer.op_type != "Conv":
        return
    weights = graph.constants.get(layer.input[1])
    if weights is None or weights.dtype != np.float32 or len(graph.readers(layer.input[1])) > 1:
        return
    layer.input[0] = scaling.input[0]
    layer.input[1] = graph.constant(f"{layer.input[1]}_of_pixels", np.asarray(weights * factor, np.float32))
    graph.nodes.remove(scaling)
    graph.refresh()
    graph.store()
