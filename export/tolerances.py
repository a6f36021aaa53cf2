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
# Integers, for all formats the same, because the arithmetic is. Half more than the worst of networks trained on
# photographs, which is more than small random ones show. 8-bit weights: p99 0.27, max 0.89, score 0.40, a corner 11 px;
# with 8-bit activations or 6-bit palettes: p99 0.29, max 1.25, score 0.47, a corner 10 px. One scale that is wrong by a
# quarter to a half errs more (tests/export: test_onnx_int8.py, test_tflite_integers.py, test_coreml_compress.py).
_WEIGHTS = Tolerance(head_p99=0.4, head_max=1.3, box_px=16.0, score=0.6, iou=0.12, borderline_share=0.4, coco_ap=0.005)
_INT8 = Tolerance(head_p99=0.45, head_max=1.8, box_px=16.0, score=0.7, iou=0.12, borderline_share=0.4, coco_ap=0.012)
# 4-bit palettes and pruning, of small random networks: p99 1.03, box 21 px, score 0.73. A network bears them only with
# training behind it, and a trained SSDLite failed in a 4-bit palette, whose AP it had lost too.
_COARSE = Tolerance(head_p99=1.4, head_max=3.0, box_px=40.0, score=0.9, iou=0.2, borderline_share=0.7, coco_ap=0.3)

TOLERANCES: dict[tuple[str, str], Tolerance] = {
    ("torch", "fp32"): _FP32,
    ("onnx", "fp32"): _FP32,
    ("onnx", "fp16"): _FP16,
    ("onnx", "int8"): _INT8,
    ("onnx", "int8-weights"): _WEIGHTS,
    ("tflite", "fp32"): _FP32,
    ("tflite", "fp16"): _FP16,
    ("tflite", "int8"): _INT8,
    ("tflite", "int8-dynamic"): _INT8,
    ("tflite", "int8-weights"): _WEIGHTS,
    ("tflite", "int16x8"): _WEIGHTS,
    ("coreml", "fp32"): _FP32,
    ("coreml", "fp16"): _FP16,
    ("coreml", "int8"): _INT8,
    ("coreml", "int8-weights"): _WEIGHTS,
    ("coreml", "palette8"): _WEIGHTS,
    ("coreml", "palette6"): _INT8,
    ("coreml", "palette4"): _COARSE,
    ("coreml", "pruned"): _COARSE,
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
