"""`edgedet quantize explain`: the damage report between two files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from edgedet.benchmarks.lab.damage import Damage


def explain_command(
    a: Path = typer.Argument(..., metavar="A", help="The file to measure by, such as the float one."),
    b: Path = typer.Argument(..., metavar="B", help="The other file: .pt, .onnx, .tflite or .mlpackage."),
    data: Path = typer.Option(..., "--data", help="The data set: a folder or a YAML file."),
    split: str = typer.Option("test", "--split", help="train, val, trainval or test."),
    out: Path = typer.Option(..., "--out", metavar="DIR", help="Folder for the page, the JSON and the pictures."),
    score_min: float | None = typer.Option(
        None, "--score-min", help="From which a detection is shown. Default: 0.3, or the files' own where higher."
    ),
    max_images: int | None = typer.Option(None, "--max-images", min=1, help="Only this many images, spread evenly."),
    pictures: int = typer.Option(6, "--pictures", min=0, help="Picture pairs of the worst images."),
    threads: int | None = typer.Option(None, "--threads", min=1, help="CPU threads; default: the runtime's choice."),
    json: Path | None = typer.Option(None, "--json", metavar="FILE", help="Also write the numbers there."),
) -> None:
    """What B lost of what A finds, and why: by class, object size, cause, score and picture.

    Any two files whose classes are the same, of any format and precision. Where a file lets its boxes before
    suppression be read, they tell the cause.

    \b
    Example:
      edgedet quantize explain phone/model.tflite phone/model.int8.tflite --data my_photos --out damage
    """
    from rich.console import Console

    from edgedet.benchmarks.lab.damage_json import damage_json
    from edgedet.benchmarks.lab.damage_page import write_damage
    from edgedet.benchmarks.lab.explain import explain
    from edgedet.data import read_dataset
    from edgedet.files import write_json
    from edgedet.formats import load

    damage = explain(load(a, threads), load(b, threads), read_dataset(data, split), score_min, max_images)
    written = write_damage(damage, out, pictures)
    if json is not None:
        write_json(json, damage_json(damage))
    _print(Console(), damage)
    typer.echo(f"page: {written[0]}")


def _print(console: Console, damage: Damage) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from edgedet.benchmarks.lab.damage_json import KINDS
    from edgedet.benchmarks.lab.damage_page import ap_rows, cause_rows, headline, short_point_rows, unreachable

    def table(head: tuple[str, ...], rows: list[list[str]]) -> None:
        drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
        for k, name in enumerate(head):
            drawn.add_column(name, justify="right" if k else "left", overflow="fold")
        for row in rows:
            drawn.add_row(*(Text(cell) for cell in row))
        console.print(drawn)

    for name, source in (("A", damage.a.source), ("B", damage.b.source)):
        console.print(f"{name}: {source.artifact} ({source.precision}, {source.runtime})", highlight=False)
    for name, text in headline(damage):
        console.print(f"{name}: {text}", highlight=False)
    table(("class", "objects", "A", "B", "change", "small", "medium", "large"), ap_rows(damage))
    if damage.changes:
        table(("cause", *KINDS), [[row[0].partition(":")[0], *row[1:]] for row in cause_rows(damage)])
    table(("", "A: F1", "B: F1", "same recall at", "F1", "same precision at", "F1"), short_point_rows(damage))
    if names := unreachable(damage.points):
        console.print(f"No threshold of B brings A's recall back for: {', '.join(names)}.", highlight=False)
