"""What each precision makes of the converted float graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgedet.export.calibrate import CalibrationSet
from edgedet.export.deployable import Deployable
from edgedet.export.layers import float_layers, layers_of, refuse_unfit_weights
from edgedet.export.options import ExportOptions
from edgedet.export.tflite_equalize import candidates, equalize
from edgedet.export.tflite_fp16 import store_weights_as_float16
from edgedet.export.tflite_graph import Graph
from edgedet.export.tflite_int8 import make_integer
from edgedet.export.tflite_integer_plan import Plan, make_plan, narrow_behind
from edgedet.export.tflite_integer_rewrite import Rewritten, split_hard_swish, swish_inputs
from edgedet.export.tflite_layers import activation_of, operators_of_layers
from edgedet.export.tflite_merge import merge_pairs
from edgedet.export.tflite_ranges import Range, measure_channels, measure_ranges
from edgedet.export.tflite_rewrite import rewrite_exactly
from edgedet.export.tflite_runner import BOX_CODES, LOGITS
from edgedet.export.tflite_scales import choose_scales
from edgedet.export.tflite_weights import store_weights_as_int8
from edgedet.quantization import BEFORE_ACTIVATION
from edgedet.spec import InputSpec


@dataclass(frozen=True)
class Job:
    """A graph as the converter wrote it, and what shall become of it."""

    graph: Graph
    deployable: Deployable
    options: ExportOptions
    calibration: CalibrationSet | None

    def float_operators(self) -> set[int]:
        """`id` of the operators of layers that stay float; known before anything is rewritten."""
        layers = layers_of(self.deployable)
        names = float_layers(layers, self.options)
        found = operators_of_layers(self.graph, [layer for layer in layers if layer.name in names])
        return {id(op) for operators in found.values() for op in operators}


def to_precision(job: Job) -> None:
    """Change the graph in place; box codes, logits and all that follows stay float tensors of the same names.

    Raises:
        ExportError: a weight does not fit the precision, or a layer that was named is not in the network.
    """
    _PRECISIONS[job.options.precision](job)


def _fp32(job: Job) -> None:
    rewrite_exactly(job.graph)


def _fp16(job: Job) -> None:
    rewrite_exactly(job.graph)
    store_weights_as_float16(job.graph)


def _int8_weights(job: Job) -> None:
    refuse_unfit_weights(layers_of(job.deployable))
    floats = job.float_operators()
    rewrite_exactly(job.graph)
    store_weights_as_int8(job.graph, floats, dynamic=job.options.precision == "int8-dynamic")


def _integer(job: Job) -> None:
    graph, bits = job.graph, 16 if job.options.precision == "int16x8" else 8
    refuse_unfit_weights(layers_of(job.deployable))
    floats, learned = job.float_operators(), _learned(job)
    moved = rewrite_exactly(graph)
    if bits == 8:
        merge_pairs(graph, floats)
        floats |= {id(operator) for operator in narrow_behind(graph, floats)}
    rewritten = _even_out(job, bits, floats)
    plan = make_plan(graph, (graph.tensor(BOX_CODES), graph.tensor(LOGITS)), floats)
    ranges = _ranges(job, plan, rewritten)
    for tensor, (low, high) in learned.items():
        factor, now = rewritten.factors.get(tensor, 1.0), moved.get(tensor, tensor)
        for group in plan.groups:  # what only moves these values has their range, not the one that was measured
            if now in group:
                ranges |= dict.fromkeys(group, (low * factor, high * factor))
    make_integer(graph, plan, choose_scales(graph, plan, ranges, bits))


def _even_out(job: Job, bits: int, floats: set[int]) -> Rewritten:
    """HARD_SWISH split; channels of unlike ranges brought to one, except where training has seen them share a scale."""
    graph, image = job.graph, job.deployable.spec.input
    if bits == 16 or job.deployable.activation_ranges:
        return split_hard_swish(graph, {}, floats)
    assert job.calibration is not None
    channels = measure_channels(graph, (*candidates(graph), *swish_inputs(graph)), job.calibration, image)
    equalize(graph, channels)
    return split_hard_swish(graph, channels, floats)


def _learned(job: Job) -> dict[int, Range]:
    """Ranges that training found, by tensor of the converted graph; those of tensors that it lacks are left out."""
    known = job.deployable.activation_ranges
    if not known:
        return {}
    found: dict[int, Range] = {}
    for name, operators in operators_of_layers(job.graph, layers_of(job.deployable)).items():
        for operator in operators if name in known else ():
            tensor = activation_of(job.graph, operator, is_own=name + BEFORE_ACTIVATION in known)
            if tensor is not None:
                found[tensor] = known[name]
    return found


def _ranges(job: Job, plan: Plan, rewritten: Rewritten) -> dict[int, Range]:
    """Of every tensor of the plan; the image's follows from its normalisation."""
    graph, image = job.graph, job.deployable.spec.input
    assert job.calibration is not None  # export_model refuses before
    (source,) = (int(tensor) for tensor in graph.main.inputs)
    ranges = measure_ranges(graph, (t for t in plan.tensors() if t != source), job.calibration, image)
    ranges[source] = _image_range(image)
    for tensor, floor in rewritten.floors.items():
        if tensor in ranges:
            ranges[tensor] = (max(ranges[tensor][0], floor), ranges[tensor][1])
    return ranges


def _image_range(image: InputSpec) -> Range:
    return (0 - image.mean) / image.std, (255 - image.mean) / image.std


_PRECISIONS: dict[str, Callable[[Job], Any]] = {
    "fp32": _fp32,
    "fp16": _fp16,
    "int8": _integer,
    "int16x8": _integer,
    "int8-weights": _int8_weights,
    "int8-dynamic": _int8_weights,
}
PRECISIONS = tuple(_PRECISIONS)
