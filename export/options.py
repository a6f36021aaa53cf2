"""ExportOptions: what a user may choose for one export, beyond the thresholds, which are in the spec.

An option of one format bears that format's name before an underscore (`tflite_layout`). The pipeline derives the rest
from the name: asking for it without its format is refused, and its value becomes a part of the file's name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any

from edgedet.errors import ExportError
from edgedet.export.precisions import CALIBRATION_METHODS, DEFAULT_IMAGES, PRECISIONS


def _choice(default: str, *others: str) -> Any:
    return field(default=default, metadata={"choices": (default, *others)})


@dataclass(frozen=True)
class ExportOptions:
    """Options of one export.

    Attributes:
        precision: one of the format's `precisions`.
        dynamic_batch: let the first dimension vary, where the format can.
        class_padding: pad the class columns where a runtime is known to need it (Core ML, see to_coreml).
        onnx_input: "float-nchw", pixels 0..255 of the network's size, or "uint8-hwc", an image of any size as a
            decoder gives it: the graph resizes.
        tflite_layout: "postprocess", four outputs with suppression inside, or "mediapipe-gpu", raw encodings and
            scores without custom operators, for MediaPipe to decode.
        tflite_input: "float32", normalised pixels, or "uint8", pixels 0..255 with the normalisation inside.
        coreml_target: the oldest system the file must run on.
        coreml_nms: suppression as a model of the pipeline (what Vision recognises), as an operator, or none.
        calibration_method: how the range of an activation follows from the values seen in calibration.
        float_layers: layers (edgedet.export.layers) that keep float weights and activations in an integer file.

    Raises:
        ExportError: a value that is not a choice.
    """

    precision: str = "fp32"
    dynamic_batch: bool = False
    class_padding: bool = True
    onnx_input: str = _choice("float-nchw", "uint8-hwc")
    tflite_layout: str = _choice("postprocess", "mediapipe-gpu")
    tflite_input: str = _choice("float32", "uint8")
    coreml_target: str = _choice("iOS15", "iOS14", "iOS16", "iOS17", "iOS18")
    coreml_nms: str = _choice("pipeline", "op", "none")
    calibration_method: str = CALIBRATION_METHODS[0]
    float_layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for option in _choices():
            value, allowed = getattr(self, option.name), option.metadata["choices"]
            if value not in allowed:
                raise ExportError(
                    f"{flag(option.name)} {value}: there is no such choice", f"Choose from {', '.join(allowed)}."
                )
        if self.calibration_method not in CALIBRATION_METHODS:
            raise ExportError(
                f"--calibration-method {self.calibration_method}: there is no such choice",
                f"Choose from {', '.join(CALIBRATION_METHODS)}.",
            )

    def problems_of_formats(self, formats: Iterable[str]) -> list[str]:
        """Options that were chosen for a format which is not exported, in the user's words."""
        asked = set(formats)
        return [
            f"{flag(option.name)} {getattr(self, option.name)} concerns {owner} only, which is not exported"
            for option in self._changed()
            if (owner := option.name.split("_")[0]) not in asked
        ]

    def problems_of_precision(self, calibrated: bool) -> list[str]:
        """What does not go with the precision, in the user's words.

        Args:
            calibrated: images for calibration were given.
        """
        row, found = PRECISIONS[self.precision], []
        if row.needs_calibration and not calibrated:
            found.append(
                f"precision {row.name} needs photographs to measure the ranges of activations on: give --calibration "
                f"DATA, {DEFAULT_IMAGES} images or more like those the detector will see"
            )
        if not row.needs_calibration and (calibrated or self.calibration_method != CALIBRATION_METHODS[0]):
            found.append(f"precision {row.name} measures no ranges: leave --calibration and its options out")
        if self.float_layers and not row.mixed:
            found.append(f"precision {row.name} has no integer layers: leave --float-layers out")
        return found

    def to_json(self) -> dict[str, Any]:
        """All options; those of integer files only where they were chosen."""
        value = asdict(self)
        if self.float_layers:
            value["float_layers"] = list(self.float_layers)
        else:
            del value["float_layers"]
        if not PRECISIONS[self.precision].needs_calibration:
            del value["calibration_method"]
        return value

    def precision_parts(self) -> tuple[str, ...]:
        """What an integer file's name says beside its precision: a method other than the default, layers in float."""
        method = () if self.calibration_method == CALIBRATION_METHODS[0] else (self.calibration_method,)
        return (*method, *(("mixed",) if self.float_layers else ()))

    def variant(self, format: str) -> tuple[str, ...]:
        """Values that differ from the default and concern this format: they become a part of the file's name."""
        return tuple(
            str(getattr(self, option.name)) for option in self._changed() if option.name.startswith(f"{format}_")
        )

    def _changed(self) -> list[Field[Any]]:
        return [option for option in _choices() if getattr(self, option.name) != option.default]


def choices(name: str) -> tuple[str, ...]:
    """What an option may be, the default first."""
    (found,) = (option for option in _choices() if option.name == name)
    allowed: tuple[str, ...] = found.metadata["choices"]
    return allowed


def flag(name: str) -> str:
    """The option's name on the command line."""
    return "--" + name.replace("_", "-")


def _choices() -> list[Field[Any]]:
    return [option for option in fields(ExportOptions) if "choices" in option.metadata]
