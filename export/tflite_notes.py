"""What a .tflite cannot express, and what the app that runs one must know, in the user's words."""

from __future__ import annotations

from edgedet.export.options import ExportOptions
from edgedet.export.tflite_encodings import IOU_MAX
from edgedet.export.tflite_postprocess import MAX_THREADS
from edgedet.export.tflite_quantize import PRECISIONS
from edgedet.spec import DetectorSpec, InputSpec

GPU_PRECISIONS = ("fp32", "fp16")


def problems(spec: DetectorSpec, options: ExportOptions) -> list[str]:
    """What a .tflite cannot express; empty when the export can start."""
    found = []
    if options.precision not in PRECISIONS:
        found.append(f"--precision {options.precision}: TFLite files are written as {', '.join(PRECISIONS)}")
    mediapipe = options.tflite_layout == "mediapipe-gpu"
    if mediapipe and options.precision not in GPU_PRECISIONS:
        found.append(
            f"--tflite-layout mediapipe-gpu: GPUs compute in floats, so the file is written as "
            f"{' or '.join(GPU_PRECISIONS)}, not as {options.precision}"
        )
    if options.dynamic_batch:
        taker = "MediaPipe" if mediapipe else "TFLite_Detection_PostProcess"
        found.append(f"a dynamic batch: {taker} takes one image; leave the option out")
    if mediapipe and spec.input.resize == "letterbox":
        found.append("--tflite-layout mediapipe-gpu: MediaPipe stretches images, and this model wants them letterboxed")
    if mediapipe and spec.nms.labels_per_box == "all":
        found.append("--tflite-layout mediapipe-gpu: MediaPipe keeps only the best label of a box (labels_per_box)")
    return found


def notes(spec: DetectorSpec, options: ExportOptions) -> list[str]:
    """What the app must know or do.

    Args:
        spec: the model's, with the thresholds that were asked for.
        options: of the export.
    """
    end = _mediapipe_notes(spec) if options.tflite_layout == "mediapipe-gpu" else _postprocess_notes(spec)
    return [_input_note(spec.input, options), *end]


def _input_note(image: InputSpec, options: ExportOptions) -> str:
    shape = f"(1, {image.height}, {image.width}, 3), RGB"
    if options.tflite_input == "uint8":
        note = f"input `image`: uint8 {shape}, pixels 0..255 as they are; the file normalises them"
        if options.tflite_layout == "mediapipe-gpu":
            note += "; MediaPipe prepares uint8 images on the CPU, so a float32 input suits the GPU better"
        return note
    return (
        f"input `image`: float32 {shape}, (value - {image.mean:g}) / {image.std:g}; the Task Library and MediaPipe do "
        "this from the file's metadata, an app that runs the interpreter itself must do it"
    )


def _postprocess_notes(spec: DetectorSpec) -> list[str]:
    found = [
        "outputs: boxes as (ymin, xmin, ymax, xmax) in 0..1 of the input, cut to it; class indices as floats; "
        "scores; the number of detections, and rows from that number on hold nothing",
        f"threads: at most {MAX_THREADS}; with more, the runtime's suppression may lose a class",
    ]
    if spec.input.resize == "letterbox":
        found.append(
            "the app must letterbox: scale the image to fit, centre it, fill the rest with grey "
            f"{spec.input.pad_value}, and undo this for the boxes; the Task Library and MediaPipe stretch, so use the "
            "interpreter without them"
        )
    return found


def _mediapipe_notes(spec: DetectorSpec) -> list[str]:
    nms = spec.nms
    return [
        "outputs: `location`, offsets (dy, dx, log h, log w) relative to the anchors in DETECTOR_METADATA, and "
        "`score`, the classes' scores in 0..1; only MediaPipe Tasks' ObjectDetector reads this layout",
        f"the app must set scoreThreshold {nms.score_min:g} and maxResults {nms.max_detections}: MediaPipe reads "
        "neither from the file, and without them it returns every box that its suppression leaves",
        f"suppression is MediaPipe's: IoU above {IOU_MAX:g}, across classes, best label of each box (the model's own "
        f"setting: {nms.iou_max:g}, {'across' if nms.class_agnostic else 'within'} classes); the apps' libraries "
        "cannot change it, C++ can; the file is compared and evaluated with MediaPipe's",
        "boxes of equal score are suppressed in no certain order, and MediaPipe returns whole pixels; a box that "
        "begins left of or above the image is moved to its edge with its size kept (the four outputs avoid this)",
    ]
