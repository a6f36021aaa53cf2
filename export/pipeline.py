"""model.pt to phone-ready files: refuse early, convert, reload, compare, and only then move into place."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import fields, replace
from math import isclose
from pathlib import Path
from typing import Any

from torch import nn

import edgedet
from edgedet.errors import ExportError
from edgedet.export.artifact import Artifact, file_digest, json_path, tool_versions
from edgedet.export.calibrate import CalibrationReader, CalibrationSet
from edgedet.export.card import FileCard
from edgedet.export.deployable import Deployable
from edgedet.export.layers import chosen_layers, layers_of, refuse_unfit_weights
from edgedet.export.options import ExportOptions
from edgedet.export.parity import compare
from edgedet.export.parity_report import ParityReport
from edgedet.export.pictures import generated_pictures
from edgedet.export.precisions import PRECISIONS
from edgedet.files import atomic_path, write_json
from edgedet.formats import Format, export_formats
from edgedet.model_file import load_model
from edgedet.preprocess import UInt8Image
from edgedet.progress import progress_bar
from edgedet.spec import DetectorSpec, NmsSpec
from edgedet.torch_runner import TorchRunner

_LOG = logging.getLogger(__name__)
_COMPARED = 8  # calibration images that a file is compared on where no others are given


def export_model(
    model: Path,
    formats: Sequence[str],
    out: Path,
    *,
    precision: str | None = None,
    nms_changes: dict[str, Any] | None = None,
    options: ExportOptions | None = None,
    images: Iterable[UInt8Image] | None = None,
    calibration: CalibrationReader | None = None,
) -> list[Artifact]:
    """Export a model.pt to some formats, each compared with it after it was reloaded.

    Args:
        model: a model.pt.
        formats: names of edgedet.formats rows; empty means all that can be exported.
        out: folder for `<stem><suffix>`; `artifact_name` says what comes between them.
        precision: of all files; None takes each format's default.
        nms_changes: fields of NmsSpec to replace, such as score_min.
        options: for all formats; its precision is not read.
        images: (H, W, 3) uint8 RGB for the comparison; None uses generated pictures, or for files with measured ranges
            some of the images they were measured on: no others are known to be of that kind.
        calibration: gives the images on which ranges are measured, for precisions that need it; called once, after
            everything was found to be possible. See edgedet.export.calibrate.

    Returns:
        One Artifact a format, in the order asked for. A comparison that failed raises nothing: see `Artifact.parity`.

    Raises:
        ExportError: a format cannot express what was asked for, a precision lacks its calibration, or there is no such
            layer; nothing was converted then.
        DataError: the calibration images cannot be used.
        ModelFileError, NotRunError: the model cannot be read, a library is missing.
    """
    network, spec = load_model(model)
    spec = _with_nms(spec, nms_changes or {})
    jobs = _plan(spec, formats, precision, options or ExportOptions(), nms_changes or {}, calibration is not None)
    jobs = [(row, _with_layers(network, spec, chosen)) for row, chosen in jobs]
    measured = _read(calibration, spec, options or ExportOptions()) if calibration else None
    pictures = _pictures(measured) if images is None else list(images)
    artifacts = []
    with progress_bar() as bar:
        task = bar.add_task("export", total=len(jobs))
        for row, chosen in jobs:
            bar.update(task, description=f"export {row.name} {chosen.precision}")
            artifacts.append(_export_one(network, spec, model, row, chosen, out, pictures, measured))
            bar.advance(task)
    return artifacts


def artifact_name(model: Path, row: Format, options: ExportOptions) -> str:
    """`model.onnx`; what differs from the format's defaults comes before the ending: `model.fp16.uint8.tflite`."""
    precision = () if options.precision == row.precisions[0] else (options.precision,)
    return ".".join((model.stem, *precision, *options.precision_parts(), *options.variant(row.name))) + row.suffix


def _pictures(calibration: CalibrationSet | None) -> list[UInt8Image]:
    return list(calibration.network_pixels[:_COMPARED]) if calibration else generated_pictures()


def _read(calibration: CalibrationReader, spec: DetectorSpec, options: ExportOptions) -> CalibrationSet:
    """The calibration images; what may cost accuracy is told at once, and stands among the notes of the file."""
    found = calibration(spec.input, options.calibration_method)
    for line in found.warnings:
        _LOG.warning("warning: %s", line)
    return found


def _with_layers(network: nn.Module, spec: DetectorSpec, options: ExportOptions) -> ExportOptions:
    """The options with every layer that stays in float by its full name; the weights of the others are checked."""
    if not PRECISIONS[options.precision].mixed:
        return options
    layers = layers_of(Deployable(network, spec))
    refuse_unfit_weights(layers)
    return replace(options, float_layers=chosen_layers(layers, options.float_layers))


def _with_nms(spec: DetectorSpec, changes: dict[str, Any]) -> DetectorSpec:
    if unknown := set(changes) - {f.name for f in fields(NmsSpec)}:
        raise ExportError(f"nms_changes holds {', '.join(sorted(unknown))}", "Choose fields of NmsSpec.")
    changed = replace(spec, nms=replace(spec.nms, **changes))
    if problems := changed.problems():
        raise ExportError("; ".join(problems), "Change the option.")
    return changed


def _plan(
    spec: DetectorSpec,
    names: Sequence[str],
    precision: str | None,
    options: ExportOptions,
    nms_changes: dict[str, Any],
    calibrated: bool,
) -> list[tuple[Format, ExportOptions]]:
    """Rows and options, after every format was asked what it cannot express."""
    rows = {row.name: row for row in export_formats()}
    asked = list(dict.fromkeys(names or rows))
    found, jobs = options.problems_of_formats(asked), []
    for name in asked:
        if name not in rows:
            found.append(f"{name!r} is not a format to export to (choose from {', '.join(rows)})")
            continue
        row = rows[name]
        chosen = replace(options, precision=precision or row.precisions[0])
        if chosen.precision not in row.precisions:
            found.append(f"{name}: precision {precision!r} is not offered (choose from {', '.join(row.precisions)})")
            continue
        problems = [*row.load_module().problems(spec, chosen), *chosen.problems_of_precision(calibrated)]
        problems += _overruled(nms_changes, _file_spec(row, spec, chosen))
        found += [f"{name}: {problem}" for problem in problems]
        jobs.append((row, chosen))
    if found:
        raise ExportError("; ".join(found), "Nothing was exported. Change these options, or leave these formats out.")
    return jobs


def _file_spec(row: Format, spec: DetectorSpec, options: ExportOptions) -> DetectorSpec:
    """The spec that the file carries: with its format's own suppression, where the app's library suppresses."""
    own = getattr(row.load_module(), "file_spec", None)
    carried: DetectorSpec = own(spec, options) if own else spec
    return carried


def _overruled(nms_changes: dict[str, Any], file_spec: DetectorSpec) -> list[str]:
    """Thresholds that were asked for and that the file cannot have."""
    kept = {key: getattr(file_spec.nms, key) for key in nms_changes}
    return [
        f"{key} {asked} cannot be had in this file: the library that runs it takes {kept[key]:g}"
        for key, asked in nms_changes.items()
        if kept[key] != asked and not isclose(kept[key], asked, rel_tol=1e-6)
    ]


def _export_one(
    network: nn.Module,
    spec: DetectorSpec,
    model: Path,
    row: Format,
    options: ExportOptions,
    out: Path,
    pictures: list[UInt8Image],
    calibration: CalibrationSet | None,
) -> Artifact:
    """Convert, reload, compare; file and JSON appear together, or neither."""
    module = row.load_module()
    file_spec = _file_spec(row, spec, options)
    deployable = Deployable(network, file_spec)
    record = calibration.record if calibration else None
    card = FileCard(file_spec, options.precision, deployable.weights_sha256, edgedet.__version__, record)
    path = out / artifact_name(model, row, options)
    with ExitStack() as stack:
        temporary_json = stack.enter_context(atomic_path(json_path(path)))
        temporary = stack.enter_context(atomic_path(path))
        module.export(deployable, options, card, temporary, calibration)
        parity = compare(TorchRunner(network, spec, model), module.open_runner(temporary), pictures)
        notes = [*module.notes(spec, options), *(calibration.warnings if calibration else ())]
        artifact = _describe(temporary, row, card, options, notes, parity, path)
        write_json(temporary_json, artifact.to_json())
    return artifact


def _describe(
    written: Path,
    row: Format,
    card: FileCard,
    options: ExportOptions,
    notes: Iterable[str],
    parity: ParityReport,
    path: Path,
) -> Artifact:
    sha256, size = file_digest(written)
    return Artifact(
        path=path,
        format=row.name,
        precision=card.precision,
        options=options.to_json(),
        spec_digest=card.spec.digest(),
        weights_sha256=card.weights_sha256,
        file_sha256=sha256,
        size_bytes=size,
        tool_versions=tool_versions(row),
        notes=tuple(notes),
        parity=parity,
        calibration=card.calibration,
    )
