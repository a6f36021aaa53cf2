"""`edgedet data synth|check|stats|anchors|convert`: make, check, describe and convert data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgedet.cli.data_anchors import anchors_command
from edgedet.cli.data_convert import convert_command
from edgedet.cli.data_stats import stats_command

if TYPE_CHECKING:
    from rich.table import Table

    from edgedet.data.faults import Fault

SCHEMA = 1
_DATA = typer.Argument(..., metavar="DATA", help="A folder (VOC, COCO, YOLO, CSV) or a YAML file.")

_HELP = """Make, check, describe and convert data sets.

\b
Example:
  edgedet data check my_photos
"""

data_app = typer.Typer(no_args_is_help=True, help=_HELP, rich_markup_mode="rich")
data_app.command("stats")(stats_command)
data_app.command("anchors")(anchors_command)
data_app.command("convert")(convert_command)


def register(app: typer.Typer) -> None:
    app.add_typer(data_app, name="data")


@data_app.command("synth")
def synth_command(
    out: Path = typer.Argument(..., metavar="OUT", help="Folder to make; it must not exist or be empty."),
    train: int = typer.Option(400, "--train", min=0, help="Pictures to train on."),
    val: int = typer.Option(50, "--val", min=0, help="Pictures to watch training with."),
    test: int = typer.Option(100, "--test", min=0, help="Pictures to measure on."),
    size_px: int = typer.Option(160, "--size-px", help="Side of the pictures."),
    seed: int = typer.Option(0, "--seed", min=0, help="The same seed gives the same pictures."),
) -> None:
    """Draw a data set of discs, squares and triangles in Pascal VOC's layout.

    \b
    Example:
      edgedet data synth shapes --train 400 --test 100
    """
    from edgedet.data.synth import CLASS_NAMES, write_synthetic

    write_synthetic(out, train, val, test, size_px, seed)
    typer.echo(f"{out}: {train} + {val} + {test} pictures of {size_px} px, classes {', '.join(CLASS_NAMES)}.")


@data_app.command("check")
def check_command(
    data: Path = _DATA,
    json: Path | None = typer.Option(None, "--json", metavar="FILE", help="Also write the faults as JSON."),
) -> None:
    """List every annotation fault of all splits. The exit code is 1 when there is an error, 0 for warnings alone.

    \b
    Example:
      edgedet data check my_photos --json faults.json
    """
    from rich.console import Console

    from edgedet.data.check import check
    from edgedet.files import write_json

    faults = check(data)
    errors = sum(found.severity == "error" for found in faults)
    if json is not None:
        write_json(json, _faults_json(data, faults, errors))
    console = Console()
    if faults:
        console.print(_faults_table(data, faults))
    console.print(f"{errors} errors, {len(faults) - errors} warnings in {data}", highlight=False, soft_wrap=True)
    if errors:
        raise typer.Exit(1)


def _faults_json(data: Path, faults: list[Fault], errors: int) -> dict[str, object]:
    from dataclasses import asdict

    rows = [asdict(found) | {"file": str(found.file), "severity": found.severity} for found in faults]
    return {"schema": SCHEMA, "data": str(data), "errors": errors, "warnings": len(faults) - errors, "faults": rows}


def _faults_table(data: Path, faults: list[Fault]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"Faults of {data}", title_justify="left", show_lines=True)
    for column in ("fault", "where", "what, and the remedy"):
        table.add_column(column, overflow="fold")
    base = data if data.is_dir() else data.parent
    for found in faults:
        file = found.file.relative_to(base) if found.file.is_relative_to(base) else found.file
        colour = "red" if found.severity == "error" else "yellow"
        kind = f"[{colour}]{found.severity}[/]\n{found.kind.replace('_', ' ')}"
        where = escape("\n".join(part for part in (str(file), found.where) if part))
        table.add_row(kind, where, f"{escape(found.message)}\n[italic]{escape(found.remedy)}[/]")
    return table
