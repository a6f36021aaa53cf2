"""`edgedet data convert`: a data set in another format, with copies of its pictures."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from edgedet.data.types import Dataset


class Target(str, Enum):
    """Formats that can be written."""

    COCO = "coco"
    YOLO = "yolo"


def convert_command(
    data: Path = typer.Argument(..., metavar="DATA", help="A folder (VOC, COCO, YOLO, CSV) or a YAML file."),
    to: Target = typer.Option(..., "--to", help="The format to write."),
    out: Path = typer.Option(..., "--out", metavar="DIR", help="Folder to make; it must not exist or be empty."),
    split: list[str] = typer.Option([], "--split", help="Splits to convert, one option each. Default: all."),
) -> None:
    """Write a data set in another format. Boxes keep all their digits, so that accuracy on both is the same.

    YOLO txt cannot mark an object as difficult or as a crowd: such objects are left out, and counted here. COCO JSON
    keeps both, "difficult" in a field of its own that other tools pass over.

    \b
    Example:
      edgedet data convert my_photos --to coco --out my_photos_coco
    """
    from edgedet.data import available_splits, read_dataset
    from edgedet.data.convert import write_coco, write_yolo

    datasets = [read_dataset(data, name) for name in split or available_splits(data)]
    if not split:
        datasets = _without_sums(datasets)
    write = {Target.COCO: write_coco, Target.YOLO: write_yolo}[to]
    write(datasets, out)
    for dataset in datasets:
        lost = sum(int((s.objects.difficult | s.objects.crowd).sum()) for s in dataset.samples)
        lost = lost if to is Target.YOLO else 0
        written = sum(len(s.objects) for s in dataset.samples) - lost
        note = f"; {lost} difficult or crowd objects left out, which YOLO txt cannot mark" if lost else ""
        typer.echo(f"{out}: split {dataset.split}, {len(dataset)} images, {written} objects{note}.")
        for line in dataset.left_out:
            typer.echo(f"  left out: {line}")


def _without_sums(datasets: list[Dataset]) -> list[Dataset]:
    """Without a trainval that is train and val together, which every format puts together by itself."""
    pictures = {dataset.split: {sample.image_path for sample in dataset.samples} for dataset in datasets}
    is_sum = pictures.get("trainval") == pictures.get("train", set()) | pictures.get("val", set())
    return [dataset for dataset in datasets if dataset.split != "trainval" or not is_sum]
