"""Scales and zero points from ranges, within the ratios that XNNPACK takes.

XNNPACK refuses an operator whose output is far finer or coarser than its inputs (tflite_delegate.RATIOS, LiteRT 2.3).
Trained networks stay far within its limits. Where one is broken, a scale is made coarser: the values at the limit are
then a 256th of the other tensor's steps, so nothing is lost that counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedet.export.tflite_delegate import RATIOS
from edgedet.export.tflite_graph import Graph
from edgedet.export.tflite_integer_plan import WEIGHTED, Plan, activations
from edgedet.export.tflite_ranges import Range

_ROUNDING = 1.001  # stay clear of the limits by this
_NARROWEST_ADD, _WIDEST_ADD = RATIOS["ADD"]
_NARROWEST_MUL, _WIDEST_MUL = RATIOS["MUL"]
_NARROWEST_LEAKY, _WIDEST_LEAKY = RATIOS["LEAKY_RELU"]
_WIDEST_LAYER = RATIOS["CONV_2D"][1]
_LEAST_SCALE = 1e-9


@dataclass(frozen=True)
class Integers:
    """How one tensor's integers are meant: value = scale x (integer - zero_point).

    Attributes:
        bits: 8 or 16.
    """

    scale: float
    zero_point: int
    bits: int

    @property
    def dtype(self) -> str:
        return f"int{self.bits}"

    def of(self, values: npt.ArrayLike) -> npt.NDArray[Any]:
        """Values as integers, cut to what there is."""
        limit = 2 ** (self.bits - 1)
        found = np.rint(np.asarray(values, np.float64) / self.scale) + self.zero_point
        return np.clip(found, -limit, limit - 1).astype(self.dtype)


def integers_of_range(low: float, high: float, bits: int, coarsest: float = 0.0) -> Integers:
    """For values from `low` to `high`, zero included: asymmetric in 8 bits, symmetric in 16 as TFLite demands.

    Args:
        coarsest: the scale is at least this.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    least = max(coarsest, _LEAST_SCALE)
    if bits == 16:
        return Integers(float(np.float32(max(max(-low, high) / 32767, least))), 0, bits)
    scale = float(np.float32(max((high - low) / 255, least)))
    return Integers(scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)), bits)


def weight_scales(weights: npt.NDArray[np.float32], axis: int) -> npt.NDArray[np.float32]:
    """One for each output channel: the largest weight is 127."""
    others = tuple(place for place in range(weights.ndim) if place != axis)
    scales: npt.NDArray[np.float32] = np.maximum(np.abs(weights).max(axis=others) / np.float32(127), np.float32(1e-12))
    return scales


def choose_scales(graph: Graph, plan: Plan, ranges: Mapping[int, Range], bits: int) -> dict[int, Integers]:
    """The integers of each tensor of the plan.

    Args:
        ranges: of every tensor of the plan.
    """
    group_of = {tensor: number for number, group in enumerate(plan.groups) for tensor in group}
    wide = [(min(ranges[t][0] for t in group), max(ranges[t][1] for t in group)) for group in plan.groups]
    scales = [integers_of_range(low, high, bits).scale for low, high in wide]
    if bits == 8:
        _keep_ratios(graph, plan, group_of, scales)
    chosen = [integers_of_range(*span, bits, scale) for span, scale in zip(wide, scales, strict=True)]
    return {tensor: chosen[number] for tensor, number in group_of.items()}


def constant_integers(value: npt.NDArray[np.float32], bits: int) -> Integers:
    """Of a constant that is added or multiplied."""
    return integers_of_range(float(value.min()), float(value.max()), bits)


def _keep_ratios(graph: Graph, plan: Plan, group_of: dict[int, int], scales: list[float]) -> None:
    """Make scales coarser until every operator's ratios are within XNNPACK's limits."""
    for _ in range(len(plan.operators)):
        before = scales.copy()
        for operator in plan.operators:
            _keep_ratio(graph, operator, group_of, scales)
        if scales == before:
            return


def _keep_ratio(graph: Graph, operator: Any, group_of: dict[int, int], scales: list[float]) -> None:
    name, target = graph.operator_name(operator), group_of[int(operator.outputs[0])]
    sources = [group_of[tensor] for tensor in activations(graph, operator)]

    def at_least(group: int, scale: float) -> None:
        scales[group] = max(scales[group], scale)

    if name in ("ADD", "SUB"):
        for source in sources:
            at_least(source, scales[target] * _NARROWEST_ADD * _ROUNDING)
            at_least(target, scales[source] / _WIDEST_ADD * _ROUNDING)
    elif name == "LEAKY_RELU":
        alpha = float(operator.builtinOptions.alpha)
        at_least(sources[0], scales[target] * _NARROWEST_LEAKY / min(1.0, alpha or 1.0) * _ROUNDING)
        at_least(target, scales[sources[0]] / _WIDEST_LEAKY * _ROUNDING)
    elif name == "MUL":
        constants = [value for t in operator.inputs if (value := graph.constant(int(t))) is not None]
        product = math.prod([*(scales[s] for s in sources), *(constant_integers(c, 8).scale for c in constants)])
        at_least(target, product / _WIDEST_MUL * _ROUNDING)
        if product < scales[target] * _NARROWEST_MUL * _ROUNDING:
            at_least(sources[0], scales[sources[0]] * scales[target] * _NARROWEST_MUL * _ROUNDING / product)
    elif name in WEIGHTED:
        weights: Any = graph.constant(int(operator.inputs[1]))
        largest = float(weight_scales(weights, WEIGHTED[name]).max())
        at_least(target, scales[sources[0]] * largest / _WIDEST_LAYER * _ROUNDING)
