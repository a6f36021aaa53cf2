"""What an app must know of a Core ML file or do for it; goes into export.json."""

from __future__ import annotations

from edgedet.export.coreml_names import confidence_columns
from edgedet.export.coreml_targets import oldest_of, pads_columns, target_of
from edgedet.export.options import ExportOptions
from edgedet.spec import DetectorSpec


def notes(spec: DetectorSpec, options: ExportOptions) -> list[str]:
    """Sentences for the app developer, each true of this very file."""
    return [
        *_system_notes(options),
        *_SUPPRESSION_NOTES[options.coreml_nms](spec),
        *_image_notes(spec),
        *_label_notes(spec, options),
    ]


def _system_notes(options: ExportOptions) -> list[str]:
    target = target_of(options)
    found = [f"Runs on {target.systems} and later."]
    if not target.is_program:
        found.append(
            "The detector is a neural network. It was measured in float32, as the CPU computes it: set "
            "MLModelConfiguration.computeUnits = .cpuOnly to get that. A GPU or neural engine computes all of it in "
            "half precision, decoding included, which moves boxes and can swap labels whose scores are nearly equal."
        )
        found.append(
            "Xcode 13 and later compile the .mlpackage into the app; an app that compiles models itself on the device "
            "needs iOS 15 for the package, or the model.mlmodel inside it, which is complete."
        )
    if options.precision == "fp16":
        found.append("The network runs in half precision; boxes and scores are decoded in float32.")
    return found + _compression_notes(options)


_STORED = {
    "int8-weights": "8-bit integers with a scale for each output channel",
    "palette8": "8-bit indices into a table of 256 values a layer",
    "palette6": "6-bit indices into a table of 64 values a layer",
    "palette4": "4-bit indices into a table of 16 values a layer",
    "pruned": "those that are not zero and a bit for each that says which are; a fifth of them is left out",
}


def _compression_notes(options: ExportOptions) -> list[str]:
    """How weights and activations are held, and the system that this needs."""
    oldest = oldest_of(options.precision)
    if oldest is None:
        return []
    found = [f"Precision {options.precision} needs {oldest.systems}: older systems do not load the file."]
    if options.precision in _STORED:
        found.append(
            f"Weights are stored as {_STORED[options.precision]}; layers of few weights may stay as they are. The "
            "network still computes in half precision: the file is smaller, and only where reading weights is the "
            "bottleneck is it faster."
        )
    else:
        found.append(
            "Weights and the inputs of layers are 8-bit integers; box codes, logits and all that decodes them are "
            "floats. Apple names A17 Pro and M4 as the first chips whose neural engine computes in such integers; "
            "others, and the CPU and GPU, compute in half precision from the rounded values."
        )
        found.append("The ranges of activations were measured in a reference runtime, not by Core ML.")
    if options.float_layers:
        found.append(f"{len(options.float_layers)} layers were kept in half precision; export.json names them.")
    return found


def _pipeline_notes(spec: DetectorSpec) -> list[str]:
    found = [
        "Vision gives VNRecognizedObjectObservation; with MLModel itself, the inputs are image, iouThreshold and "
        "confidenceThreshold (the last two optional).",
        f"confidenceThreshold can be raised above the file's {spec.nms.score_min}; lowering it gives boxes that were "
        "never measured.",
    ]
    if spec.coding.score != "softmax_bg0" and spec.num_classes > 1:
        found.append(
            "The network scores each class on its own, so the scores of a box can sum to more than 1, which Vision "
            "does not allow: the file keeps each box's best score and sets the others to zero. An observation has one "
            "label with a confidence, and the confidence of the observation is that of the label."
        )
    return found


def _operator_notes(spec: DetectorSpec) -> list[str]:
    rows = spec.nms.max_detections
    return [
        "Suppression is an operator inside the model: Vision gives VNCoreMLFeatureValueObservation, not recognised "
        "objects.",
        f"Outputs, padded with zeros to {rows} rows: num_detections (how many rows count), detection_boxes (x_min, "
        "y_min, x_max, y_max in 0..1 of the image, origin top left), detection_scores (best first), detection_classes "
        "(index of the label in the metadata's classes). Vision's own boxes have their origin at the bottom left: "
        "use 1 - y.",
        f"The thresholds {spec.nms.score_min} and IoU {spec.nms.iou_max} are inside and cannot be changed; drop rows "
        "of lower scores to be stricter.",
    ]


def _plain_notes(spec: DetectorSpec) -> list[str]:
    nms = spec.nms
    scope = "whatever their class" if nms.class_agnostic else "of the same class"
    labels = "its best class only" if nms.labels_per_box == "best" else f"every class that reaches {nms.score_min}"
    return [
        "Nothing is suppressed in this file; Vision gives VNCoreMLFeatureValueObservation. Outputs: boxes "
        f"({spec.num_priors} rows of x_min, y_min, x_max, y_max in 0..1 of the image, origin top left) and scores "
        f"({spec.num_priors} x {spec.num_classes}).",
        f"The app must suppress as edgedet did when it measured the file: give each box {labels}, keep the "
        f"{nms.pre_topk} best with a score of at least {nms.score_min}, drop a box when a better one {scope} overlaps "
        f"it by an IoU above {nms.iou_max}, keep the best {nms.max_detections}.",
    ]


_SUPPRESSION_NOTES = {"pipeline": _pipeline_notes, "op": _operator_notes, "none": _plain_notes}


def _image_notes(spec: DetectorSpec) -> list[str]:
    size = f"{spec.input.width}x{spec.input.height}"
    if spec.input.resize == "letterbox":
        return [
            f"The network was trained on letterboxed images: draw the image, scaled to fit and centred, into a {size} "
            f"buffer filled with grey {spec.input.pad_value}, and map boxes back from that buffer. Vision's .scaleFit "
            "pads too, but not with this grey; .scaleFill and .centerCrop are wrong for this file."
        ]
    return [
        f"Images must be stretched to {size}: set VNCoreMLRequest.imageCropAndScaleOption = .scaleFill "
        "(the default, .centerCrop, cuts objects off)."
    ]


def _label_notes(spec: DetectorSpec, options: ExportOptions) -> list[str]:
    found = []
    columns = confidence_columns(spec.num_classes, pads_columns(options))
    if columns > spec.num_classes:
        found.append(
            f"confidence has {columns} columns: {spec.num_classes} classes, then unused ones that are always zero "
            "(some systems return wrong boxes unless the number is a multiple of 80)."
        )
    if any("," in name for name in spec.class_names):
        where = "the observations" if options.coreml_nms == "pipeline" else "the entry `edgedet` of the metadata"
        found.append(f"A class name holds a comma: read labels from {where}, not from the metadata `classes`.")
    return found
