"""The detector part of a package: a torch trace, converted to an ML program or, for iOS 14, to a neural network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgedet.export.coreml_library import ct, only_errors
from edgedet.export.coreml_names import BOX_CODES, IMAGE, LOGITS
from edgedet.export.coreml_stages import Stage
from edgedet.export.coreml_targets import Target


@dataclass(frozen=True)
class Detector:
    """A converted stage: Model protobuf, and the weight file of an ML program (a network holds its weights itself)."""

    model: Any
    weight_file: Path | None
    owner: Any  # coremltools deletes the weight file when its own object goes

    @staticmethod
    def of(converted: Any) -> Detector:
        """What coremltools converted."""
        model = converted.get_spec()
        model.description.metadata.Clear()  # it holds the date of conversion: equal models shall give equal bytes
        if model.WhichOneof("Type") == "mlProgram":
            return Detector(model, Path(converted.weights_dir) / "weight.bin", converted)
        return Detector(model, None, converted)


class BeforeDecoding:
    """Selects the operators that may run in half precision: the network up to the raw heads, not what follows.

    Half precision near 1 has steps of 0.0005 to 0.001, which is 0.16 to 0.31 px of 320. Decoding 3234 SSD priors in it
    moved box corners by up to 0.36 px (0.05 px on average) from the same codes decoded in float32. Decoding is a
    handful of operators on a few thousand rows, next to a stage that runs on the CPU and takes float32, so keeping it
    in float32 costs little.

    An instance is what coremltools calls an op_selector; it sees the operators in order of execution.
    """

    def __init__(self) -> None:
        self._decoded: set[str] = set()

    def __call__(self, operation: Any) -> bool:
        inputs = [variable.name for value in operation.inputs.values() for variable in _variables(value)]
        follows = any(name in self._decoded or name.split("_cast_fp16")[0] in (BOX_CODES, LOGITS) for name in inputs)
        if follows:
            self._decoded.update(variable.name for variable in operation.outputs)
        return not follows


def _variables(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def convert_detector(stage: Stage, precision: str, target: Target) -> Detector:
    """Convert a stage for a target system.

    Normalisation is part of the trace (subtract the mean, divide by std), so that it is written down once for all
    formats; ImageType's own scale and bias would be lowered to the same two operators.

    Args:
        stage: image to what the file gives.
        precision: "fp32", or any other for half precision up to the raw heads; a neural network declares no precision.
        target: the oldest system that shall run it.
    """
    size = stage.deployable.spec.input
    image = torch.zeros(1, 3, size.height, size.width)
    trace: Any = torch.jit.trace  # not torch.export: only the tracer keeps the names of variables
    settings = {}
    if target.is_program:
        half = ct.transform.FP16ComputePrecision(BeforeDecoding())
        settings["compute_precision"] = ct.precision.FLOAT32 if precision == "fp32" else half
    with only_errors(), torch.no_grad():
        traced = trace(stage.eval(), image, check_trace=False)
        outputs = stage(image)
        converted = ct.convert(
            traced,
            convert_to=target.model_type,
            inputs=[ct.ImageType(name=IMAGE, shape=tuple(image.shape), color_layout=ct.colorlayout.RGB)],
            outputs=[ct.TensorType(name=name, dtype=dtype) for name, dtype in stage.outputs],
            minimum_deployment_target=target.of_coremltools(),
            skip_model_load=True,
            **settings,
        )
    detector = Detector.of(converted)
    if not target.is_program:
        _declare_shapes(detector.model, [tuple(tensor.shape) for tensor in outputs])
    return detector


def edited(detector: Detector, passes: Iterable[Any]) -> Detector:
    """An ML program after some more passes of coremltools, and none that were not asked for.

    Its functions that compress a model run all passes of a conversion again behind their own, which takes six times as
    long and takes pairs of quantize and dequantize apart.

    Args:
        detector: an ML program.
        passes: coremltools graph passes, in order.
    """
    from coremltools.converters.mil.converter import mil_convert
    from coremltools.converters.mil.frontend.milproto import load as milproto

    assert detector.weight_file is not None
    version = detector.model.specificationVersion
    with only_errors():
        program = milproto.load(detector.model, version, str(detector.weight_file.parent))
        for each in passes:
            each.apply(program)
        converted = mil_convert(
            program,
            convert_to="mlprogram",
            convert_from="milinternal",
            specification_version=version,
            compute_units=ct.ComputeUnit.ALL,
            model_description=detector.model.description,
            pass_pipeline=ct.PassPipeline.EMPTY,
            skip_model_load=True,
        )
    return Detector.of(converted)


def _declare_shapes(model: Any, shapes: list[tuple[int, ...]]) -> None:
    """A network's outputs come without shapes, but suppression and apps need them."""
    for feature, shape in zip(model.description.output, shapes, strict=True):
        del feature.type.multiArrayType.shape[:]
        feature.type.multiArrayType.shape.extend(shape)
