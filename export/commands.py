"""`edgedet export` and `edgedet verify`: thin functions over export_model and verify."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from edgedet.export.inspect_command import inspect_command
from edgedet.export.options import ExportOptions, choices, flag
from edgedet.export.precisions import CALIBRATION_METHODS, DEFAULT_IMAGES, PRECISIONS, calibrated_names

if TYPE_CHECKING:
    from rich.table import Table

    from edgedet.export.artifact import Artifact
    from edgedet.export.calibrate import CalibrationReader
    from edgedet.export.parity_report import ParityReport
    from edgedet.export.snippets import SnippetWriter
    from edgedet.export.verify import Verification
    from edgedet.preprocess import UInt8Image

_STYLES = {"passed": "green", "failed": "bold red", "error": "bold red", "not run": "yellow"}
_PARITY_IMAGES = 20
_UNSURE = (
    "Compared on generated pictures, of which a network that learned from photographs is sure of little; --data DATA "
    "compares on photographs."
)
_INTEGER_FILES = "Integer files"


def _choice(option: str, help: str) -> Any:
    """A command-line option of the ExportOptions field of that name, in a panel of its own per format."""
    allowed = choices(option)
    panel = f"Options of {option.split('_')[0]}"
    text = f"{', '.join(allowed)}: {help}."
    return typer.Option(allowed[0], flag(option), metavar="CHOICE", help=text, rich_help_panel=panel)


def register(app: typer.Typer) -> None:
    app.command("export")(export_command)
    app.command("verify")(verify_command)
    app.command("inspect")(inspect_command)


def export_command(
    model: Path = typer.Argument(..., metavar="MODEL", help="A model.pt."),
    formats: list[str] = typer.Option([], "--format", help="onnx, tflite or coreml; repeatable. Default: all."),
    out: Path = typer.Option(..., "--out", metavar="DIR", help="Folder for the files."),
    precision: str | None = typer.Option(
        None,
        "--precision",
        metavar="NAME",
        help=f"{', '.join(PRECISIONS)}; not every format has all. Default: the format's own (fp32; Core ML fp16).",
    ),
    calibration: Path | None = typer.Option(
        None,
        "--calibration",
        metavar="DATA",
        help=f"Photographs to measure ranges on ({', '.join(calibrated_names())} need them): a data set, or a folder "
        "of pictures.",
        rich_help_panel=_INTEGER_FILES,
    ),
    calibration_images: int = typer.Option(
        DEFAULT_IMAGES, "--calibration-images", min=1, metavar="N", help="How many.", rich_help_panel=_INTEGER_FILES
    ),
    calibration_split: str | None = typer.Option(
        None, "--calibration-split", help="Default: the training split.", rich_help_panel=_INTEGER_FILES
    ),
    calibration_method: str = typer.Option(
        CALIBRATION_METHODS[0],
        "--calibration-method",
        metavar="CHOICE",
        help=f"{', '.join(CALIBRATION_METHODS)}: which range follows from the values seen.",
        rich_help_panel=_INTEGER_FILES,
    ),
    seed: int = typer.Option(0, "--seed", help="Chooses the photographs.", rich_help_panel=_INTEGER_FILES),
    float_layers: str = typer.Option(
        "",
        "--float-layers",
        metavar="NAMES|FILE.json",
        help="Layers that stay in float, as the network names them, with commas between; or a file of them.",
        rich_help_panel=_INTEGER_FILES,
    ),
    score_min: float | None = typer.Option(
        None, "--score-min", help="Bake in this score threshold; an app can only raise it."
    ),
    iou_max: float | None = typer.Option(None, "--iou-max", help="Suppress boxes that overlap a better one by more."),
    max_detections: int | None = typer.Option(None, "--max-detections", help="Rows of the outputs."),
    dynamic_batch: bool = typer.Option(False, "--dynamic-batch", help="Any number of images at once (ONNX only)."),
    class_padding: bool = typer.Option(
        True, "--class-padding/--no-class-padding", help="Pad class columns where a runtime is known to need it."
    ),
    onnx_input: str = _choice("onnx_input", "uint8-hwc takes images of any size: the graph resizes"),
    tflite_layout: str = _choice(
        "tflite_layout", "mediapipe-gpu has no custom operator: MediaPipe decodes, on the GPU"
    ),
    tflite_input: str = _choice("tflite_input", "uint8 pixels, normalised inside the file"),
    coreml_target: str = _choice("coreml_target", "the oldest system the file must run on"),
    coreml_nms: str = _choice("coreml_nms", "Vision recognises only a pipeline"),
    data: Path | None = typer.Option(
        None, "--data", help=f"Compare on up to {_PARITY_IMAGES} images of this data set, not on generated pictures."
    ),
    split: str = typer.Option("test", "--split", help="Split of --data."),
    snippets: bool = typer.Option(
        False, "--snippets", help="Also write code for the app, and pictures for its unit test, to DIR/snippets."
    ),
    json: Path | None = typer.Option(None, "--json", metavar="FILE", help="Also write what was exported as JSON."),
) -> None:
    """Export a model to files that phones run as they are, with decoding and suppression inside.

    Each file is loaded again and compared with the model; the result lies beside it as FILE.export.json. The exit code
    is 1 when a comparison failed.

    \b
    Example:
      edgedet export run/model.pt --format onnx --format tflite --out phone --data my_photos
      edgedet export run/model.pt --format tflite --out phone --precision int8 --calibration my_photos
    """
    from edgedet.export.layers import read_layer_names
    from edgedet.export.pipeline import export_model

    changes = {"score_min": score_min, "iou_max": iou_max, "max_detections": max_detections}
    images = _dataset_images(data, split)
    writer = _snippet_writer(model, images) if snippets else None
    artifacts = export_model(
        model,
        formats,
        out,
        precision=precision,
        nms_changes={key: value for key, value in changes.items() if value is not None},
        options=ExportOptions(
            dynamic_batch=dynamic_batch,
            class_padding=class_padding,
            onnx_input=onnx_input,
            tflite_layout=tflite_layout,
            tflite_input=tflite_input,
            coreml_target=coreml_target,
            coreml_nms=coreml_nms,
            calibration_method=calibration_method,
            float_layers=read_layer_names(float_layers),
        ),
        images=images,
        calibration=_reader(calibration, calibration_images, calibration_split, seed),
    )
    _tell(artifacts, json, writer, on_photographs=bool(data or calibration))


def _tell(artifacts: Sequence[Artifact], json: Path | None, writer: SnippetWriter | None, on_photographs: bool) -> None:
    """Print what was exported, write it as JSON and then as code for the app; exit with 1 when a comparison failed."""
    from rich.console import Console

    from edgedet.files import write_json

    console = Console()
    console.print(_export_table(artifacts))
    _print_reasons(console, ((artifact.path, artifact.parity) for artifact in artifacts))
    if json is not None:
        write_json(json, {"schema": 1, "artifacts": [artifact.to_json() for artifact in artifacts]})
    for folder in writer.write(artifacts) if writer else []:
        console.print(f"code for the app: {folder / 'README.md'}", markup=False, highlight=False, soft_wrap=True)
    if any(artifact.parity.status == "failed" for artifact in artifacts):
        if not on_photographs:
            console.print(_UNSURE, highlight=False, soft_wrap=True)
        raise typer.Exit(1)


def verify_command(
    artifacts: list[Path] = typer.Argument(..., metavar="ARTIFACT...", help="Exported files."),
    against: Path = typer.Option(..., "--against", metavar="MODEL", help="The model.pt they came from."),
    data: Path = typer.Option(..., "--data", help="The data set: a folder or a YAML file."),
    split: str = typer.Option("test", "--split", help="train, val, trainval or test."),
    max_images: int = typer.Option(100, "--max-images", min=1, help="Images for heads and boxes; accuracy takes all."),
    json: Path | None = typer.Option(None, "--json", metavar="FILE", help="Also write the reports as JSON."),
) -> None:
    """Check that exported files answer as their model does: heads, boxes, detections, accuracy.

    The exit code is 0 only when every file passed.

    \b
    Example:
      edgedet verify phone/model.onnx phone/model.tflite --against run/model.pt --data my_photos
    """
    from rich.console import Console

    from edgedet.data import read_dataset
    from edgedet.export.verify import SCHEMA, verify
    from edgedet.files import write_json

    found = verify(artifacts, against, read_dataset(data, split), max_images)
    console = Console()
    for one in found:
        console.print(_verify_table(one))
    if json is not None:
        value = {"schema": SCHEMA, "model": str(against), "data": str(data), "split": split}
        write_json(json, {**value, "artifacts": [one.to_json() for one in found]})
    if any(one.status != "passed" for one in found):
        raise typer.Exit(1)


def _reader(data: Path | None, count: int, split: str | None, seed: int) -> CalibrationReader | None:
    if data is None:
        return None
    from functools import partial

    from edgedet.export.calibrate import read_calibration

    return partial(read_calibration, data, count=count, split=split, seed=seed)


def _snippet_writer(model: Path, images: list[UInt8Image] | None) -> SnippetWriter:
    from edgedet.export.snippets import SnippetWriter

    return SnippetWriter(model, images)


def _dataset_images(data: Path | None, split: str) -> list[UInt8Image] | None:
    """Some images of a split, spread evenly; None without --data."""
    if data is None:
        return None
    from edgedet.data import load_image, read_dataset

    samples = read_dataset(data, split).samples
    return [load_image(s.image_path) for s in samples[:: max(1, -(-len(samples) // _PARITY_IMAGES))]]


def _export_table(artifacts: Sequence[Artifact]) -> Table:
    from rich.table import Column, Table

    table = Table(Column("file", overflow="fold"), "format", "precision", "size", "parity", "runtime")
    for artifact in artifacts:
        size = f"{artifact.size_bytes / 1e6:.2f} MB"
        status = _styled(artifact.parity.status)
        table.add_row(str(artifact.path), artifact.format, artifact.precision, size, status, artifact.parity.runtime)
    return table


def _print_reasons(console: Any, reports: Iterable[tuple[Path, ParityReport]]) -> None:
    for path, report in reports:
        for line in [] if report.passed else report.reasons():
            console.print(f"{path.name}: {line}", markup=False, highlight=False, soft_wrap=True)


def _verify_table(one: Verification) -> Table:
    from rich.table import Table

    report = one.report
    where = f"{report.precision}, {report.runtime}, {report.images} images" if report else "not compared"
    table = Table("depth", "result", "measured", title=f"{one.path}\n{where}", title_justify="left")
    if report is None:
        table.add_row("file", _styled(one.status), one.reason)
        return table
    for depth in report.depths:
        lines = [f"{c.name}: {c.value:.3g} (limit {c.limit:.3g})" for c in depth.checks]
        if depth.counts:
            lines.append(", ".join(f"{name} {count}" for name, count in depth.counts.items()))
        table.add_row(depth.name, _styled(depth.status), "\n".join([*lines, *([depth.reason] if depth.reason else [])]))
    return table


def _styled(status: str) -> str:
    return f"[{_STYLES[status]}]{status}[/]"
