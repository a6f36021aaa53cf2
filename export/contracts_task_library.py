"""The contract of the TFLite Task Library's ObjectDetector (tensorflow_lite_support, version 0.4.4)."""

from __future__ import annotations

from edgedet.export.contracts import apply_rules
from edgedet.export.contracts_operators import known_operators
from edgedet.export.contracts_postprocess import POSTPROCESS
from edgedet.export.contracts_tflite_input import (
    INPUT_CONTENT,
    INPUT_TYPE,
    METADATA,
    NORMALIZATION,
    ONE_INPUT,
    PROCESS_UNITS,
    STORED_FILES,
    input_metadata,
    input_shape,
)
from edgedet.export.contracts_tflite_output import output_rules
from edgedet.export.findings import Finding
from edgedet.export.inspect_tflite import TfliteFile

RULES = (
    known_operators(),
    ONE_INPUT,
    INPUT_TYPE,
    input_shape(3),
    METADATA,
    STORED_FILES,
    input_metadata(most=1),
    INPUT_CONTENT,
    NORMALIZATION,
    PROCESS_UNITS,
    *output_rules((4,), ("float32",)),
    *POSTPROCESS,
)


def findings(file: TfliteFile) -> list[Finding]:
    """One finding for each rule."""
    return apply_rules(RULES, file)
