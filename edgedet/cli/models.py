"""`edgedet models`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

_CLASSES = 80
# Boxes for configurations whose anchors are fitted to data: only how many anchors there are matters here.
_SIDES_PX = range(10, 90)


def models(
    names: Annotated[
        list[str] | None, typer.Argument(help="Bundled configurations or YAML files; all bundled ones if left out.")
    ] = None,
    classes: Annotated[int, typer.Option("--classes", min=1, help="Number of classes, without background.")] = _CLASSES,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    json: Annotated[Path | None, typer.Option("--json", help="Write the table to this file.")] = None,
) -> None:
    """List networks with their parameters, multiply-adds and priors.

    \b
    Examples:
      edgedet models
      edgedet models ssdlite_mobilenet_v2 mine.yaml --classes 3
    """
    from edgedet.config import bundled_names
    from edgedet.files import write_json

    rows = [_row(name, classes) for name in names or bundled_names()]
    if json:
        write_json(json, {"schema": 1, "classes": classes, "networks": rows})
    if markdown:
        typer.echo(_markdown(rows))
        return
    from rich.console import Console

    Console().print(_table(rows))


def _row(name: str, classes: int) -> dict[str, Any]:
    import numpy as np

    from edgedet.config import load_config, make_spec
    from edgedet.models import HEADS
    from edgedet.models.cost import network_cost

    config = load_config(name)
    sides = np.array([(s, t) for s in _SIDES_PX for t in _SIDES_PX], np.float32)
    names = config.tree.names if config.tree else [f"class {k}" for k in range(classes)]  # a tree brings its own
    spec = make_spec(config, names, sides[:: len(sides) // 200])
    cost = network_cost(spec)
    return {
        "config": name,
        "head": spec.network.head,
        "backbone": spec.network.backbone,
        "input_hw_px": [spec.input.height, spec.input.width],
        "parameters": cost.parameters,
        "macs": cost.macs,
        "priors": spec.num_priors,
        "source": HEADS[spec.network.head].source,
    }


def _cells(row: dict[str, Any]) -> list[str]:
    height, width = row["input_hw_px"]
    numbers = (f"{row['parameters'] / 1e6:.3f}", f"{row['macs'] / 1e9:.3f}", str(row["priors"]))
    return [row["config"], f"{width}x{height}", *numbers]


_COLUMNS = ("configuration", "input", "M parameters", "GMAC", "priors")


def _table(rows: list[dict[str, Any]]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(_COLUMNS[0])
    for column in _COLUMNS[1:]:
        table.add_column(column, justify="right")
    for row in rows:
        first, *numbers = _cells(row)
        table.add_row(escape(first), *numbers)
    return table


def _markdown(rows: list[dict[str, Any]]) -> str:
    lines = ["| " + " | ".join((*_COLUMNS, "source")) + " |", "|---|---|--:|--:|--:|---|"]
    lines += ["| " + " | ".join((*_cells(row), row["source"])) + " |" for row in rows]
    return "\n".join(lines)


def register(app: typer.Typer) -> None:
    app.command()(models)
