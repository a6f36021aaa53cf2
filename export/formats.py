"""The rows of the formats this package exports. Light on purpose: no converter is imported until a row is used."""

from edgedet.formats import Format

FORMATS = (
    Format(
        "onnx", ".onnx", "edgedet.export.to_onnx", precisions=("fp32", "fp16", "int8", "int8-weights"), extra="onnx"
    ),
    Format(
        "tflite",
        ".tflite",
        "edgedet.export.to_tflite",
        precisions=("fp32", "fp16", "int8", "int8-weights", "int8-dynamic", "int16x8"),
        extra="tflite",
    ),
    Format(
        "coreml",
        ".mlpackage",
        "edgedet.export.to_coreml",
        precisions=("fp16", "fp32", "int8", "int8-weights", "palette8", "palette6", "palette4", "pruned"),
        extra="coreml",
    ),
)
