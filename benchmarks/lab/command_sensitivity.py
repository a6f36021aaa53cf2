"""`edgedet quantize sensitivity`: what each layer costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from edgedet.benchmarks.lab.sensitivity import Sensitivity

_MOST_ROWS = 20


def sensitivity_command(
    model: Path = typer.Argument(..., metavar="MODEL", help="A model.pt."),
    data: Path = typer.Option(..., "--data", help="The data set: a folder or a YAML file."),
    split: str = typer.Option("test", "--split", help="On which mAP is measured: train, val, trainval or test."),
    out: Path = typer.Option(..., "--out", metavar="DIR", help="Folder for sensitivity.json and sensitivity.png."),
    map_runs: int = typer.Option(
        20, "--map-runs", min=0, help="Evaluations to spend on the layers that the screen finds worst, two a layer."
    ),
    calibration: Path | None = typer.Option(
        None, "--calibration", metavar="DATA", help="Photographs to measure ranges on. Default: --data."
    ),
    calibration_split: str | None = typer.Option(None, "--calibration-split", help="Default: the training split."),
    calibration_images: int = typer.Option(64, "--calibration-images", min=1, metavar="N", help="How many."),
    seed: int = typer.Option(0, "--seed", help="Chooses the photographs."),
    max_images: int | None = typer.Option(None, "--max-images", min=1, help="Only this many images, spread evenly."),
    json: Path | None = typer.Option(None, "--json", metavar="FILE", help="Also write sensitivity.json there."),
) -> None:
    """Rank the layers by what they lose in int8: alone quantized, and alone spared.

    The int8 arithmetic is simulated in torch, so this needs no export. All layers are screened by the error at the
    network's heads; the worst get mAP runs.

    \b
    Example:
      edgedet quantize sensitivity run/model.pt --data my_photos --split val --out layers
    """
    from rich.console import Console

    from edgedet.benchmarks.lab.sensitivity import sensitivity, sensitivity_json
    from edgedet.benchmarks.lab.sensitivity_figure import sensitivity_figure
    from edgedet.benchmarks.lab.simulated import Simulated
    from edgedet.data import read_dataset
    from edgedet.evaluation.evaluate import subset
    from edgedet.evaluation.plots import to_png
    from edgedet.export.calibrate import read_calibration
    from edgedet.files import atomic_path, write_json
    from edgedet.model_file import load_model

    dataset = subset(read_dataset(data, split), max_images)
    spec = load_model(model)[1]
    images = read_calibration(
        calibration or data, spec.input, count=calibration_images, seed=seed, split=calibration_split
    )
    simulated = Simulated(model, images, dataset)
    found = sensitivity(simulated, map_runs)
    value = sensitivity_json(found, simulated)
    for path in (out / "sensitivity.json", *([json] if json else ())):
        write_json(path, value)
    with atomic_path(out / "sensitivity.png") as temporary:
        temporary.write_bytes(to_png(sensitivity_figure(found)))
    _print(Console(), found)
    typer.echo(f"wrote {out / 'sensitivity.json'}\nwrote {out / 'sensitivity.png'}")


def _print(console: Console, found: Sensitivity) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("layer", overflow="fold")
    for name in ("SQNR dB", "AP lost alone", "AP won spared"):
        table.add_column(name, justify="right", no_wrap=True)
    for layer in found.layers[:_MOST_ROWS]:
        ratio = layer.error.heads_sqnr_db
        changes = (_number(found.lost_alone(layer)), _number(found.won_spared(layer)))
        table.add_row(*(Text(text) for text in (layer.error.layer, f"{ratio:.1f}", *changes)))
    console.print(table)
    console.print(
        f"Simulated AP: float {found.float_ap:.4f}, all int8 {found.int8_ap:.4f}. "
        f"{len(found.layers)} layers, {min(_MOST_ROWS, len(found.layers))} shown.",
        highlight=False,
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"
