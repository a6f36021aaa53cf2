"""The hazards of 8-bit .onnx files, whoever made them: with QuantizeLinear around operators, or of QLinear operators.

Which operators ONNX Runtime fuses: edgedet.export.onnx_integer_plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from edgedet.export import int8_hazards as hazards
from edgedet.export.contracts import InapplicableError, RuleError, apply_rules
from edgedet.export.findings import Finding
from edgedet.export.inspect_onnx import OnnxFile
from edgedet.export.onnx_integer_plan import FUSED, LAYERS, MOVES

_WEIGHTED = (*LAYERS, "ConvTranspose")
_BOUNDED = ("Sigmoid", "HardSigmoid", "Softmax")  # give 0..1
_EXPONENTIAL = ("Softmax", "LogSoftmax", "Exp")
_QLINEAR = {"QLinearSoftmax", "QLinearConv", "QLinearMatMul"}
_MOST_HOPS = 50  # through operators that only move data; a damaged graph may be a ring


@dataclass
class _Integers:
    """An ONNX graph as the rules look at it."""

    file: OnnxFile

    @cached_property
    def nodes(self) -> list[Any]:
        nodes = list(self.file.model.graph.node)
        if not any(node.op_type == "QuantizeLinear" or node.op_type in _QLINEAR for node in nodes):
            raise InapplicableError("nothing in this file computes in 8 bits")
        return nodes

    @cached_property
    def makers(self) -> dict[str, Any]:
        return {name: node for node in self.nodes for name in node.output}

    @cached_property
    def readers(self) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                found.setdefault(name, []).append(node)
        return found

    def constant(self, name: str) -> npt.NDArray[Any] | None:
        tensor = self.file.initializers.get(name)
        if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
            return None
        try:
            values = numpy_helper.to_array(tensor)
            return values if values.dtype.kind in "iuf" else None
        except (ValueError, TypeError, KeyError, OverflowError):  # its bytes and its shape do not agree
            return None

    def width(self, node: Any) -> float | None:
        """Of the range that a QuantizeLinear or DequantizeLinear of one scale can say."""
        scale = self.constant(node.input[1]) if len(node.input) > 1 else None
        return 255 * abs(float(scale.reshape(-1)[0])) if scale is not None and scale.size == 1 else None

    def rounding(self, node: Any) -> Any | None:
        """The QuantizeLinear behind a node, activations between them allowed."""
        for _ in range(_MOST_HOPS):
            readers = self.readers.get(node.output[0], []) if node.output else []
            if len(readers) != 1:
                return None
            if readers[0].op_type == "QuantizeLinear":
                return readers[0]
            if readers[0].op_type not in ("Relu", "Clip"):
                return None
            node = readers[0]
        return None

    def is_read_integer(self, tensor: str) -> bool:
        maker = self.makers.get(tensor)
        return maker is not None and maker.op_type == "DequantizeLinear"

    def source_width(self, tensor: str) -> float | None:
        """The width of the range of what a tensor was before data was only moved and rounded."""
        width = None
        for _ in range(_MOST_HOPS):
            maker = self.makers.get(tensor)
            if maker is None or not maker.input:
                return width
            if maker.op_type in _BOUNDED:
                return 1.0
            if maker.op_type in ("QuantizeLinear", "DequantizeLinear"):
                width = self.width(maker)
            elif maker.op_type not in MOVES:
                return width
            tensor = maker.input[0]
        return width

    def layers(self) -> Iterator[tuple[Any, Any]]:
        """Layers, and the DequantizeLinear of their weights."""
        for node in self.nodes:
            if node.op_type in _WEIGHTED and len(node.input) > 1 and self.is_read_integer(node.input[1]):
                reading = self.makers[node.input[1]]
                if len(reading.input) > 1:
                    yield node, reading


def _joined_ranges(graph: _Integers) -> str:
    joins = [node for node in graph.nodes if node.op_type == "Concat" and graph.rounding(node) is not None]
    for node in joins:
        rounding = graph.rounding(node)
        widths = [graph.source_width(name) for name in node.input]
        known = [*(width for width in widths if width), *filter(None, [graph.width(rounding)])]
        if len(known) > 1 and hazards.are_unlike(known):
            raise RuleError(hazards.joined(node.output[0], max(known), min(known)))
    return f"{len(joins)} joins in 8 bits, all of like ranges"


def _outliers(graph: _Integers) -> str:
    for node, reading in graph.layers():
        scales, rounding = graph.constant(reading.input[1]), graph.rounding(node)
        width = graph.width(rounding) if rounding is not None else None
        if scales is None or width is None:
            continue
        ratio = hazards.outlier_ratio(scales.astype(np.float32).reshape(-1), width)
        if ratio is not None:
            raise RuleError(hazards.outlying(reading.input[0], ratio, width))
    return "no layer's output hides small channels behind a large one, as far as the scales tell"


def _softmax(graph: _Integers) -> str:
    found = [
        node.name or node.op_type
        for node in graph.nodes
        if node.op_type == "QLinearSoftmax" or (node.op_type in _EXPONENTIAL and _is_between(graph, node))
    ]
    if found:
        raise RuleError(hazards.counted("exponentials in 8 bits", found))
    return "softmax and exp are computed in float"


def _is_between(graph: _Integers, node: Any) -> bool:
    """Dequantized before and rounded behind."""
    data = [name for name in node.input if name and name not in graph.file.initializers]
    return bool(data) and all(map(graph.is_read_integer, data)) and graph.rounding(node) is not None


def _batch_norm(graph: _Integers) -> str:
    found = [node.name or node.op_type for node in graph.nodes if node.op_type == "BatchNormalization"]
    if found:
        raise RuleError(hazards.counted("batch norms beside 8-bit layers", found))
    return "batch norms are folded"


def _per_channel(graph: _Integers) -> str:
    places = [(node, reading.input[0], reading.input[1]) for node, reading in graph.layers()]
    places += [(node, node.input[3], node.input[4]) for node in graph.nodes if _is_qlinear_conv(node)]
    if not places:
        raise InapplicableError("no layer has 8-bit weights")
    found = [node.name or node.op_type for node, weights, scale in places if _has_one_scale(graph, weights, scale)]
    if found:
        raise RuleError(hazards.counted(f"of {len(places)} layers have one scale for all channels", found))
    return f"{len(places)} layers, each with a scale for each channel"


def _is_qlinear_conv(node: Any) -> bool:
    return node.op_type == "QLinearConv" and len(node.input) > 4


def _has_one_scale(graph: _Integers, weights: str, scale: str) -> bool:
    scales, tensor = graph.constant(scale), graph.file.initializers.get(weights)
    channels = tensor.dims[0] if tensor is not None and tensor.dims else 1
    return scales is not None and scales.size == 1 and channels > 1


def _unfused(graph: _Integers) -> str:
    """Layers may be in float on purpose; two conversions around another operator are lost time."""
    quiet = {*FUSED, *_WEIGHTED, *_EXPONENTIAL, "QuantizeLinear", "DequantizeLinear"}
    found = [node.op_type for node in graph.nodes if node.op_type not in quiet and _is_between(graph, node)]
    if found:
        raise RuleError(hazards.counted("operators between 8-bit tensors that ONNX Runtime computes in float", found))
    return "ONNX Runtime fuses every operator between 8-bit tensors"


RULES = hazards.rules(
    {
        hazards.JOINED_RANGES: _joined_ranges,
        hazards.OUTLIERS: _outliers,
        hazards.SOFTMAX: _softmax,
        hazards.BATCH_NORM: _batch_norm,
        hazards.PER_CHANNEL: _per_channel,
        hazards.UNFUSED: _unfused,
    }
)


def findings(file: OnnxFile) -> list[Finding]:
    """One finding for each rule; none applies to a file without 8-bit operators."""
    return apply_rules(RULES, _Integers(file))
