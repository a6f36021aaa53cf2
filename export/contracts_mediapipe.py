"""The contract of MediaPipe Tasks' ObjectDetector (mediapipe 1.2): four outputs, or two with DETECTOR_METADATA."""

from __future__ import annotations

from edgedet.export.contracts import Rule, RuleError, apply_rules
from edgedet.export.contracts_detector_metadata import DETECTOR_METADATA
from edgedet.export.contracts_operators import known_operators
from edgedet.export.contracts_postprocess import POSTPROCESS
from edgedet.export.contracts_tflite_input import (
    INPUT_CONTENT,
    INPUT_TYPE,
    METADATA,
    NORMALIZATION,
    ONE_INPUT,
    PARSER_VERSION,
    PROCESS_UNITS,
    STORED_FILES,
    UNIFORM,
    input_metadata,
    input_shape,
)
from edgedet.export.contracts_tflite_output import output_rules
from edgedet.export.findings import Finding
from edgedet.export.inspect_tflite import TfliteFile

# mediapipe/tasks/cc/core/mediapipe_builtin_op_resolver.cc
_OPERATORS = (
    "MaxPoolingWithArgmax2D", "MaxUnpooling2D", "Convolution2DTransposeBias", "TransformTensorBilinear",
    "TransformLandmarks", "Landmarks2TransformMatrix", "NGramHash", "KmeansEmbeddingLookup",
    "TFSentencepieceTokenizeOp", "RaggedTensorToTensor", "FusedBatchNormV3",
)  # fmt: skip


def _one_graph(file: TfliteFile) -> str:
    if file.subgraphs != 1:
        raise RuleError(f"the file holds {file.subgraphs} graphs")
    return "the file holds one graph"


RULES = (
    Rule("one-graph", _one_graph, "Convert without control flow; it becomes graphs of its own."),
    known_operators(*_OPERATORS),
    ONE_INPUT,
    INPUT_TYPE,
    input_shape(3, 4),
    METADATA,
    PARSER_VERSION,
    STORED_FILES,
    input_metadata(),
    INPUT_CONTENT,
    NORMALIZATION,
    UNIFORM,
    PROCESS_UNITS,
    *output_rules((2, 4), ("float32", "uint8")),
    *POSTPROCESS,
    *DETECTOR_METADATA,
)


def findings(file: TfliteFile) -> list[Finding]:
    """One finding for each rule."""
    return apply_rules(RULES, file)
