"""Core ML: an .mlpackage with decoding and suppression inside, written on any system.

By default the package is a pipeline [detector, NonMaximumSuppression model]: Vision turns only that into recognised
objects. The detector is an ML program, or a neural network for iOS 14.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgedet.errors import ExportError
from edgedet.export.calibrate import CalibrationSet
from edgedet.export.card import FileCard
from edgedet.export.coreml_compress import compress
from edgedet.export.coreml_contract import file_problems
from edgedet.export.coreml_names import confidence_columns, reserved_class_names
from edgedet.export.coreml_notes import notes
from edgedet.export.coreml_package import read_package, write_package
from edgedet.export.coreml_pipeline import build_pipeline, build_single
from edgedet.export.coreml_program import convert_detector
from edgedet.export.coreml_rules import COLUMNS_RULE
from edgedet.export.coreml_runner import open_package
from edgedet.export.coreml_stages import BestClassStage, PlainStage, Stage, SuppressedStage
from edgedet.export.coreml_targets import pads_columns, target_of, target_problem
from edgedet.export.deployable import Deployable
from edgedet.export.options import ExportOptions
from edgedet.runner import Runner
from edgedet.spec import DetectorSpec

__all__ = ["export", "notes", "open_runner", "problems"]

_STAGES: dict[str, Callable[[Deployable, int], Stage]] = {
    "pipeline": BestClassStage,
    "op": lambda deployable, _: SuppressedStage(deployable),
    "none": lambda deployable, _: PlainStage(deployable),
}


def problems(spec: DetectorSpec, options: ExportOptions) -> list[str]:
    """What the format cannot express, in the user's words; empty when it can be exported."""
    found = []
    if spec.nms.labels_per_box == "all" and options.coreml_nms != "none":
        found.append(
            'nms.labels_per_box is "all", but Core ML\'s suppression, as a model or as an operator, gives each box its '
            'best label only; set it to "best", or leave suppression to the app with --coreml-nms none'
        )
    if options.dynamic_batch:
        found.append("a dynamic batch was asked for, but a Core ML image input takes one image; leave it out")
    target = target_of(options)
    if options.precision == "fp16" and not target.is_program:
        found.append(
            f"precision fp16 was asked for, but a file for {target.name} is a neural network, which cannot say which "
            "layers compute in half precision: a device may decode in it too, and equal scores then change labels; "
            "choose --precision fp32, or --coreml-target iOS15 or later"
        )
    if too_old := target_problem(options):
        found.append(too_old)
    if pads_columns(options) and (taken := reserved_class_names(spec.class_names)):
        found.append(f"class name {taken[0]!r} is one that padding uses; rename the class or switch class padding off")
    return found


def export(
    deployable: Deployable,
    options: ExportOptions,
    card: FileCard,
    path: Path,
    calibration: CalibrationSet | None = None,
) -> None:
    """Write the package as a folder at `path`, which does not exist yet.

    Raises:
        ExportError: the package that came out breaks a rule of the format, which is a fault of the exporter.
    """
    target = target_of(options)
    columns = confidence_columns(card.spec.num_classes, pads_columns(options))
    converted = convert_detector(_STAGES[options.coreml_nms](deployable, columns), options.precision, target)
    detector = compress(converted, deployable, options, calibration, path)
    if options.coreml_nms == "pipeline":
        model = build_pipeline(detector.model, card)
    else:
        model = build_single(detector.model, card, suppression=options.coreml_nms == "op")
    waived = () if options.class_padding else (COLUMNS_RULE,)
    weights_dir = detector.weight_file.parent if detector.weight_file else None
    if broken := file_problems(model, card.spec, weights_dir, waived):
        raise ExportError(f"the Core ML package breaks a rule of the format: {broken[0]}", "Please report this.")
    write_package(path, model, detector.weight_file)


def open_runner(path: Path, threads: int | None = None) -> Runner:
    """Load a package: through Core ML on macOS, in the reference runtime elsewhere.

    Raises:
        ModelFileError: damaged, exported by something else, or not a folder.
        NotRunError: the reference runtime lacks an operator that the program holds.
    """
    return open_package(read_package(path), threads)
