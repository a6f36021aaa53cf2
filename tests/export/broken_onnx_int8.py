"""A good 8-bit .onnx with exactly one hazard each."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from edgedet.export import int8_hazards as hazards
from tests.export.broken import Broken


def _constant(model: Any, name: str) -> Any:
    return next(value for value in model.graph.initializer if value.name == name)


def _set(model: Any, name: str, value: Any) -> None:
    _constant(model, name).CopyFrom(numpy_helper.from_array(np.asarray(value), name))


def _maker(model: Any, tensor: str) -> Any:
    return next(node for node in model.graph.node if tensor in node.output)


def _is_rounded(model: Any, node: Any) -> bool:
    readers = [other for other in model.graph.node if node.output and node.output[0] in other.input]
    return any(reader.op_type == "QuantizeLinear" for reader in readers)


def _unlike(model: Any) -> None:
    """The range behind the join of two branches, a hundred times as wide."""
    join = next(node for node in model.graph.node if node.op_type == "Concat" and _is_rounded(model, node))
    rounding = next(node for node in model.graph.node if join.output[0] in node.input)
    value = numpy_helper.to_array(_constant(model, rounding.input[1]))
    _set(model, rounding.input[1], value * np.float32(100))


def _outlier(model: Any) -> None:
    """One channel of the first 8-bit layer a thousand times as large, and the range that this needs."""
    floats = {value.name for value in model.graph.initializer}
    layer = next(node for node in model.graph.node if node.op_type == "Conv" and node.input[1] not in floats)
    scales = _maker(model, layer.input[1]).input[1]
    values = numpy_helper.to_array(_constant(model, scales)).copy()
    values[0] *= 1000
    _set(model, scales, values)
    rounding = next(node for node in model.graph.node if layer.output[0] in node.input)
    _set(model, rounding.input[1], np.float32(2.0))


def _between(kind: str, **attributes: Any) -> Any:
    """An operator behind the first dequantized activation, and roundings around it."""

    def change(model: Any) -> None:
        leaky = next(node for node in model.graph.node if node.op_type == "LeakyRelu")
        rounding = next(node for node in model.graph.node if leaky.output[0] in node.input)
        place = list(model.graph.node).index(rounding)
        nodes = [
            helper.make_node("QuantizeLinear", [leaky.output[0], *rounding.input[1:]], ["extra_uint8"]),
            helper.make_node("DequantizeLinear", ["extra_uint8", *rounding.input[1:]], ["extra"]),
            helper.make_node(kind, ["extra"], ["extra_result"], **attributes),
        ]
        rounding.input[0] = "extra_result"
        for offset, node in enumerate(nodes):
            model.graph.node.insert(place + offset, node)

    return change


def _batch_norm(model: Any) -> None:
    resize = next(node for node in model.graph.node if node.op_type == "Softplus" or node.op_type == "Exp")
    names = [f"norm_{part}" for part in ("scale", "bias", "mean", "variance")]
    model.graph.initializer.extend(numpy_helper.from_array(np.ones(1, np.float32), name) for name in names)
    place = list(model.graph.node).index(resize)
    norm = helper.make_node("BatchNormalization", [resize.input[0], *names], ["normed"])
    resize.input[0] = "normed"
    model.graph.node.insert(place, norm)


def _one_scale(model: Any) -> None:
    layer = [node for node in model.graph.node if node.op_type == "Conv"][3]
    reading = _maker(model, layer.input[1])
    _set(model, reading.input[1], np.float32(0.01))
    _set(model, reading.input[2], np.int8(0))


BROKEN = tuple(
    Broken(rule, ("onnx-int8",), "onnx-int8", change)
    for rule, change in (
        (hazards.JOINED_RANGES, _unlike),
        (hazards.OUTLIERS, _outlier),
        (hazards.SOFTMAX, _between("Softmax", axis=1)),
        (hazards.BATCH_NORM, _batch_norm),
        (hazards.PER_CHANNEL, _one_scale),
        (hazards.UNFUSED, _between("Erf")),
    )
)
