"""`edgedet eval`: accuracy of a model file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from edgedet.evaluation import EvalResult

_COLUMNS = ("coco_ap", "coco_ap50", "coco_ap75", "voc07", "voc10")


def register(app: typer.Typer) -> None:
    app.command("eval")(evaluate_command)


def evaluate_command(
    model: Path = typer.Argument(..., metavar="MODEL", help="A .pt, .onnx, .tflite or .mlpackage written by edgedet."),
    data: Path = typer.Option(..., "--data", help="The data set: a folder or a YAML file."),
    split: str = typer.Option("test", "--split", help="train, val, trainval or test."),
    json: Path | None = typer.Option(None, "--json", metavar="FILE", help="Also write the numbers as JSON."),
    threads: int | None = typer.Option(None, "--threads", min=1, help="CPU threads; default: the runtime's choice."),
    plots: Path | None = typer.Option(
        None, "--plots", metavar="DIR", help="Also draw precision-recall curves and the confusion matrix there."
    ),
    max_images: int | None = typer.Option(
        None, "--max-images", min=1, help="Only this many images, spread evenly over the split."
    ),
) -> None:
    """Measure the accuracy of a model file: COCO and VOC average precision, overall and per class.

    The file is run as it is, with the score threshold that is baked into it.

    \b
    Example:
      edgedet eval run/model.tflite --data my_photos --split test --json eval.json
    """
    from rich.console import Console

    from edgedet.data import read_dataset
    from edgedet.evaluation import evaluate
    from edgedet.files import write_json
    from edgedet.formats import load

    result = evaluate(load(model, threads), read_dataset(data, split), max_images=max_images)
    console = Console()
    typer.echo(f"{result.source.artifact} ({result.source.precision}, {result.source.runtime})")
    console.print(_table(result))
    typer.echo(_remarks(result))
    if json is not None:
        write_json(json, result.to_json())
    if plots is not None:
        for path in _draw(result, plots):
            typer.echo(f"wrote {path}")


def _table(result: EvalResult) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table("class")
    for name in ("objects", "AP", "AP50", "AP75", "VOC07", "VOC10"):
        table.add_column(name, justify="right")
    overall = {**result.metrics, "voc07": result.metrics["voc07_map"], "voc10": result.metrics["voc10_map"]}
    total = int(sum(row["objects"] for row in result.per_class.values()))
    table.add_row("all", str(total), *(_number(overall[column]) for column in _COLUMNS), style="bold", end_section=True)
    for name, values in result.per_class.items():
        row = {**values, "voc07": values["voc07_ap"], "voc10": values["voc10_ap"]}
        table.add_row(escape(name), str(int(values["objects"])), *(_number(row[column]) for column in _COLUMNS))
    return table


def _remarks(result: EvalResult) -> str:
    data, sizes = result.dataset, ("small", "medium", "large")
    by_size = ", ".join(f"{size} {_number(result.metrics[f'coco_ap_{size}'])}" for size in sizes)
    lines = [
        f"AP by object size: {by_size}. AR with 100 detections: {_number(result.metrics['coco_ar100'])}.",
        f"{len(data)} images of {data.root}, split {data.split}, in {result.wall_s:.1f} s. "
        f"Accuracy at the file's own score threshold {result.source.score_min:g}.",
    ]
    if data.left_out:
        lines.append(f"{len(data.left_out)} annotations cannot be used; `edgedet data check {data.root}` lists them.")
    return "\n".join(lines)


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.4f}"


def _draw(result: EvalResult, folder: Path) -> list[Path]:
    from edgedet.evaluation.plots import confusion_figure, precision_recall_figure, to_png
    from edgedet.files import atomic_path

    figures = {
        "precision_recall.png": precision_recall_figure(result),
        "confusion.png": confusion_figure(result.confusion),
    }
    for name, figure in figures.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(to_png(figure))
    return [folder / name for name in figures]
