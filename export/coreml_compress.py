"""Compressed forms of a converted detector: integers, palettes of few values, and weights left out.

The float program is converted first; only its layers' weights, found by their values, are then replaced. Priors and the
constants of decoding are none of them and stay as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedet.errors import ExportError
from edgedet.export.calibrate import CalibrationSet
from edgedet.export.coreml_integers import IntegerActivations, IntegerWeights, affine_of
from edgedet.export.coreml_layers import LayerOperation, layer_operations
from edgedet.export.coreml_library import only_errors
from edgedet.export.coreml_palette import palette_keeping_sums
from edgedet.export.coreml_places import places_of
from edgedet.export.coreml_program import Detector, edited
from edgedet.export.coreml_ranges import measure_ranges
from edgedet.export.coreml_screen import IMAGES, too_coarse
from edgedet.export.deployable import Deployable
from edgedet.export.layers import Layer, float_layers, layers_of
from edgedet.export.mil_loader import Program, load_program
from edgedet.export.options import ExportOptions
from edgedet.quantization.rounding import Rounding, round_keeping_sums, round_to_nearest

with only_errors():
    import coremltools.optimize.coreml as cto
    from coremltools.optimize.coreml import _quantization_passes as weight_passes

_LOG = logging.getLogger(__name__)
SPARSITY = 0.2  # share of a layer's weights left out; without training after it, 0.3 cost a MobileNetV3 0.1 of AP
_FEWEST_WEIGHTS = 2048  # coremltools' own limit: in smaller tensors a palette or a mask saves nothing


@dataclass(frozen=True)
class _Job:
    """A float program and what of it is to be compressed."""

    program: Program
    source: Path
    layers: tuple[Layer, ...]
    operations: tuple[LayerOperation, ...]
    float_layers: tuple[str, ...]
    deployable: Deployable

    def chosen(self) -> Iterable[LayerOperation]:
        return (found for found in self.operations if found.layer not in self.float_layers)


# What is to be done, and the calibration where one was made, to passes of coremltools.
_Step = Callable[[_Job, CalibrationSet | None], list[Any]]


def compress(
    detector: Detector, deployable: Deployable, options: ExportOptions, calibration: CalibrationSet | None, path: Path
) -> Detector:
    """The detector in the precision of the options; itself where that is one of floats.

    Args:
        detector: an ML program in half precision up to the heads, for a target that has the precision's operators.
        path: of the package to be written, for error messages.

    Raises:
        ExportError: a layer to keep in float that does not exist.
    """
    step = _STEPS.get(options.precision)
    if step is None:
        return detector
    layers = layers_of(deployable)
    floats = float_layers(layers, options)
    assert detector.weight_file is not None
    program = load_program(detector.model.mlProgram, detector.weight_file.parent, path)
    found = layer_operations(program, layers)
    return edited(detector, step(_Job(program, path, layers, found, floats, deployable), calibration))


def _integer_weights(job: _Job, calibration: CalibrationSet | None) -> list[Any]:
    return [_weights_pass(job, round_keeping_sums)]


def _weights_pass(job: _Job, rounding: Rounding) -> IntegerWeights:
    """Not of small layers: on a trained SSDLite, the depthwise kernels of its first blocks, 0.5 % of all weights, cost
    0.011 of AP, and all others together nothing.
    """
    values = {layer.name: layer.weight.numpy() for layer in job.layers}
    large = {found.weight: values[found.layer] for found in job.chosen() if values[found.layer].size > _FEWEST_WEIGHTS}
    return IntegerWeights(large, rounding)


def _integers(job: _Job, calibration: CalibrationSet | None) -> list[Any]:
    """Weights and activations. Ranges that training learned come before those of calibration."""
    if calibration is None:
        raise ExportError("8-bit activations need calibration", "Give --calibration DATA.")
    places = places_of(job.program, job.operations, job.float_layers)
    learned = job.deployable.activation_ranges
    known = {name: learned[layer] for name, layer in places.layer_of.items() if layer in learned}
    measured = measure_ranges(job.program, job.source, [n for n in places.reads if n not in known], calibration)
    affine = {name: affine_of(*values) for name, values in measured.items()}
    images = calibration.network_pixels[:IMAGES]
    coarse = too_coarse(job.program, job.source, affine, places.reads, images) if affine else ()
    if coarse:
        _LOG.info("kept in half precision, because 8 bits cannot hold them: %s", ", ".join(coarse))
    affine = {name: value for name, value in affine.items() if name not in coarse}
    affine |= {name: affine_of(*values) for name, values in known.items()}
    return [IntegerActivations(affine, places.reads), _weights_pass(job, round_to_nearest)]


def _palette(bits: int) -> _Step:
    """A table for each layer. Depthwise kernels, a few per cent of all weights, get one of 256 values: on a trained
    SSDLite they cost 0.005 of the 0.014 AP that 6 bits for all lost.
    """

    def step(job: _Job, calibration: CalibrationSet | None) -> list[Any]:
        depthwise = {layer.name for layer in job.layers if layer.is_depthwise}
        config = _configured(job, lambda layer: _palettizer(8 if layer in depthwise else bits))
        return [weight_passes.palettize_weights(config)]

    return step


def _palettizer(bits: int) -> Any:
    return cto.OpPalettizerConfig(
        mode="custom", lut_function=lambda weight: palette_keeping_sums(weight, bits), weight_threshold=_FEWEST_WEIGHTS
    )


def _pruned(job: _Job, calibration: CalibrationSet | None) -> list[Any]:
    """Depthwise kernels keep all their weights: each output rests on nine of them."""
    config = cto.OpMagnitudePrunerConfig(target_sparsity=SPARSITY, weight_threshold=_FEWEST_WEIGHTS)
    depthwise = {layer.name for layer in job.layers if layer.is_depthwise}
    return [weight_passes.prune_weights(_configured(job, lambda layer: None if layer in depthwise else config))]


def _configured(job: _Job, config_of_layer: Callable[[str], Any]) -> Any:
    """coremltools' configuration for the weights of the chosen layers and nothing else."""
    return cto.OptimizationConfig(op_name_configs={each.weight: config_of_layer(each.layer) for each in job.chosen()})


_STEPS: dict[str, _Step] = {
    "int8": _integers,
    "int8-weights": _integer_weights,
    "palette8": _palette(8),
    "palette6": _palette(6),
    "palette4": _palette(4),
    "pruned": _pruned,
}
