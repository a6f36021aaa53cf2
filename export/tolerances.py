"""How far an exported file may be from model.pt: one table, a row for each format and precision.

Errors of heads are in standard deviations of the reference's tensor, of boxes in pixels of the network input, of scores
in 0..1. The numbers are two to three (fp16; a trained SSDLite at 320 px moved a corner by 0.6 px) to ten (fp32) times
the worst that networks of every kind showed; a wrong order, sign or scale errs far more.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgedet.errors import ExportError


@dataclass(frozen=True)
class Tolerance:
    """Limits for one kind of file.

    Attributes:
        head_p99, head_max: 99th percentile and maximum of the error of box codes and logits, in standard deviations.
        box_px: maximum error of a box corner, in pixels, for a box of up to 64 px; larger boxes may err in proportion.
        score: maximum error of a score.
        iou: suppression is in doubt where IoU is nearer to iou_max than this.
        borderline_share: at most this share of detections may differ because of a tie within the limits above.
        coco_ap: maximum change of COCO AP, up or down.
    """

    head_p99: float
    head_max: float
    box_px: float
    score: float
    iou: float
    borderline_share: float
    coco_ap: float


_FP32 = Tolerance(head_p99=1e-4, head_max=1e-3, box_px=0.02, score=2e-4, iou=1e-3, borderline_share=0.02, coco_ap=0.002)
_FP16 = Tolerance(head_p99=0.08, head_max=0.3, box_px=1.0, score=0.06, iou=0.02, borderline_share=0.10, coco_ap=0.005)
# 8-bit weights in TFLite; the worst of small random networks: p99 0.14, max 0.30, box 3.1 px, score 0.11.
_TFLITE_WEIGHTS = Tolerance(
    head_p99=0.2, head_max=0.45, box_px=4.0, score=0.2, iou=0.08, borderline_share=0.25, coco_ap=0.005
)
# 8-bit activations as well: p99 0.23, max 0.45, box 4.3 px, score 0.23.
_TFLITE_INT8 = Tolerance(
    head_p99=0.35, head_max=0.8, box_px=8.0, score=0.3, iou=0.12, borderline_share=0.4, coco_ap=0.012
)
# 8 bits in ONNX: two thirds more than trained networks showed on photographs like those of their calibration. One scale
# that is wrong by a quarter errs more (tests/export/test_onnx_int8.py).
_INT8 = Tolerance(head_p99=0.5, head_max=1.5, box_px=10.0, score=0.5, iou=0.12, borderline_share=0.40, coco_ap=0.012)
_INT8_WEIGHTS = Tolerance(
    head_p99=0.4, head_max=1.2, box_px=8.0, score=0.45, iou=0.10, borderline_share=0.40, coco_ap=0.004
)

# Core ML, of small random networks: 8-bit weights p99 0.12, box 1.5 px, score 0.08; 8-bit activations or 6-bit palettes
# p99 0.29, box 8 px, score 0.16; 4-bit palettes and pruning p99 1.03, box 21 px, score 0.73, which a network bears only
# with training behind it. A scale that is wrong by a half errs more than 8 bits may (test_coreml_compress.py).
_COREML_WEIGHTS = Tolerance(
    head_p99=0.2, head_max=0.45, box_px=4.0, score=0.2, iou=0.08, borderline_share=0.25, coco_ap=0.005
)
_COREML_INT8 = Tolerance(
    head_p99=0.4, head_max=0.8, box_px=10.0, score=0.3, iou=0.12, borderline_share=0.4, coco_ap=0.015
)
_COREML_COARSE = Tolerance(
    head_p99=1.4, head_max=3.0, box_px=40.0, score=0.9, iou=0.2, borderline_share=0.7, coco_ap=0.3
)

TOLERANCES: dict[tuple[str, str], Tolerance] = {
    ("torch", "fp32"): _FP32,
    ("onnx", "fp32"): _FP32,
    ("onnx", "fp16"): _FP16,
    ("onnx", "int8"): _INT8,
    ("onnx", "int8-weights"): _INT8_WEIGHTS,
    ("tflite", "fp32"): _FP32,
    ("tflite", "fp16"): _FP16,
    ("tflite", "int8"): _TFLITE_INT8,
    ("tflite", "int8-dynamic"): _TFLITE_INT8,
    ("tflite", "int8-weights"): _TFLITE_WEIGHTS,
    ("tflite", "int16x8"): _TFLITE_WEIGHTS,
    ("coreml", "fp32"): _FP32,
    ("coreml", "fp16"): _FP16,
    ("coreml", "int8"): _COREML_INT8,
    ("coreml", "int8-weights"): _COREML_WEIGHTS,
    ("coreml", "palette8"): _COREML_WEIGHTS,
    ("coreml", "palette6"): _COREML_INT8,
    ("coreml", "palette4"): _COREML_COARSE,
    ("coreml", "pruned"): _COREML_COARSE,
}


def tolerance_of(format: str, precision: str) -> Tolerance:
    """The row of a kind of file.

    Raises:
        ExportError: a format or precision without a row: nothing may pass unmeasured.
    """
    try:
        return TOLERANCES[format, precision]
    except KeyError as error:
        raise ExportError(
            f"there are no tolerances for {format} {precision}", "Add a row to edgedet.export.tolerances."
        ) from error
