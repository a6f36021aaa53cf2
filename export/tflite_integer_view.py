"""A .tflite of any origin as the rules about 8 bits look at it: scales, layers, and where values come from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from edgedet.export.contracts import InapplicableError
from edgedet.export.inspect_tflite import Operator, Tensor, TfliteFile
from edgedet.export.tflite_integer_plan import MOVING, WEIGHTED

CHANNEL_AXES = {**WEIGHTED, "TRANSPOSE_CONV": 0}  # of weights
JOINS = ("CONCATENATION", "PACK")
BOUNDED = ("LOGISTIC", "SOFTMAX")  # give 0..1
_MOVES = {*MOVING, "DEPTH_TO_SPACE", "EXPAND_DIMS", "GATHER", "RESIZE_BILINEAR", "SPACE_TO_DEPTH", "SPLIT_V", "SQUEEZE"}
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
_CLAMPS = ("RELU", "RELU6")
_MOST_INPUTS = 5  # of an operator that moves data: shapes and places beside the tensor itself
_MOST_HOPS = 20  # through operators that only move data; a damaged graph may be a ring


@dataclass(frozen=True)
class Source:
    """Where a tensor's values come from, once what only moves and rounds them is left out.

    Attributes:
        width: of the range, None when the file does not say.
        maker: the operator, None for inputs and constants.
    """

    width: float | None
    maker: Operator | None


@dataclass(frozen=True)
class Layer:
    """An operator with 8-bit weights: the tensors it reads, by index; `direct` without a DEQUANTIZE between."""

    operator: Operator
    data: int
    weights: int
    direct: bool


@dataclass
class IntegerGraph:
    """A graph as the rules look at it; the first access raises InapplicableError where no rule applies."""

    file: TfliteFile
    _sources: dict[int, Source] = field(default_factory=dict)

    @cached_property
    def operators(self) -> tuple[Operator, ...]:
        found = self.file.operators
        computing = (op for op in found if op.name not in _CONVERSIONS and not op.custom)
        if not self.layers and not any(self.has_scale(t) for op in computing for t in (*op.inputs, *op.outputs)):
            raise InapplicableError("nothing in this file is stored or computed as integers with a scale")
        return found

    @cached_property
    def readers(self) -> dict[int, list[Operator]]:
        found: dict[int, list[Operator]] = {}
        for operator in self.file.operators:
            for tensor in operator.inputs:
                found.setdefault(tensor, []).append(operator)
        return found

    @cached_property
    def layers(self) -> list[Layer]:
        return list(self._layers())

    @cached_property
    def layer_of(self) -> dict[int, Layer]:
        """By `id` of the operator."""
        return {id(layer.operator): layer for layer in self.layers}

    @cached_property
    def finest_and_coarsest(self) -> dict[int, tuple[float, float]]:
        """Scales of weights, by tensor."""
        scales = {layer.weights: list(map(abs, self.file.tensors[layer.weights].scales)) for layer in self.layers}
        return {tensor: (min(found), max(found)) for tensor, found in scales.items()}

    def _layers(self) -> Iterator[Layer]:
        for operator in self.file.operators:
            data = 2 if operator.name == "TRANSPOSE_CONV" else 0
            if operator.name not in CHANNEL_AXES or len(operator.inputs) <= max(1, data):
                continue
            weights = operator.inputs[1]
            maker = self.file.producers.get(weights)
            if maker is not None and maker.name == "DEQUANTIZE" and maker.inputs:
                weights = maker.inputs[0]
            if operator.inputs[data] >= 0 and self.is_8_bit(weights) and self.is_constant(weights):
                yield Layer(operator, operator.inputs[data], weights, maker is None)

    def tensor(self, index: int) -> Tensor | None:
        return self.file.tensors[index] if index >= 0 else None

    def has_scale(self, index: int) -> bool:
        tensor = self.tensor(index)
        return tensor is not None and bool(tensor.scales) and tensor.dtype in ("int8", "uint8", "int16")

    def is_8_bit(self, index: int) -> bool:
        tensor = self.tensor(index)
        return tensor is not None and bool(tensor.scales) and tensor.dtype in ("int8", "uint8")

    def is_constant(self, index: int) -> bool:
        return index >= 0 and len(self.file.stored(index)) > 0

    def name(self, index: int) -> str:
        tensor = self.tensor(index)
        return tensor.name if tensor is not None else ""

    def values(self, operator: Operator) -> list[int]:
        """The inputs that are there and no constants."""
        return [tensor for tensor in operator.inputs if tensor >= 0 and not self.is_constant(tensor)]

    def computes_8_bit(self, operator: Operator) -> bool:
        return any(map(self.is_8_bit, operator.outputs)) and any(map(self.is_8_bit, self.values(operator)))

    def scale(self, index: int) -> float | None:
        """Of 8 bits with one scale; None also for a scale that means nothing."""
        tensor = self.tensor(index)
        if tensor is None or not self.is_8_bit(index) or len(tensor.scales) != 1:
            return None
        scale = abs(tensor.scales[0])
        return scale if math.isfinite(scale) and scale > 0 else None

    def width(self, index: int) -> float | None:
        """Of the range that 8 bits of one scale can say."""
        scale = self.scale(index)
        return 255 * scale if scale is not None else None

    def rounded(self, operator: Operator) -> int | None:
        """The 8-bit tensor that holds an operator's result, behind activations and a QUANTIZE where there are any."""
        for _ in range(_MOST_HOPS):
            if not operator.outputs or self.is_8_bit(operator.outputs[0]):
                return operator.outputs[0] if operator.outputs else None
            readers = self.readers.get(operator.outputs[0], [])
            if len(readers) != 1 or readers[0].name not in ("QUANTIZE", *_CLAMPS):
                return None
            operator = readers[0]
        return None

    def source(self, tensor: int) -> Source:
        """Looked for once for each tensor: a hostile file may join the same one a million times."""
        if tensor not in self._sources:
            self._sources[tensor] = self._source(tensor)
        return self._sources[tensor]

    def _source(self, tensor: int) -> Source:
        width = self.width(tensor)
        for _ in range(_MOST_HOPS):
            maker = self.file.producers.get(tensor)
            if maker is None:
                return Source(width, None)
            if maker.name in BOUNDED:
                return Source(1.0, maker)
            if maker.name not in (*_MOVES, *_CONVERSIONS) or maker.name in JOINS:
                return Source(width, maker)
            places = [place for place in maker.inputs[:_MOST_INPUTS] if place >= 0 and not self.is_constant(place)]
            if not places:
                return Source(width, maker)
            tensor = places[0]
            width = self.width(tensor) or width
        return Source(width, None)
