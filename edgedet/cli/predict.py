"""`edgedet predict`: pictures with boxes, and the detections as JSON."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from edgedet.predict import Outcome


def register(app: typer.Typer) -> None:
    app.command("predict")(predict_command)


def predict_command(
    model: Path = typer.Argument(..., metavar="MODEL", help="A .pt, .onnx, .tflite or .mlpackage written by edgedet."),
    source: Path = typer.Argument(..., metavar="IMAGE|FOLDER|VIDEO", help="What to look at."),
    out: Path = typer.Option(..., "--out", metavar="DIR", help="Folder for the pictures and videos with boxes."),
    json: Path | None = typer.Option(None, "--json", metavar="FILE", help="Also write the detections as JSON."),
    score_min: float | None = typer.Option(
        None, "--score-min",
        help="Only detections from this score on. Default: all the file gives in the JSON, those from 0.3 in pictures.",
    ),
    threads: int | None = typer.Option(None, "--threads", min=1, help="CPU threads; default: the runtime's choice."),
) -> None:  # fmt: skip
    """Find objects in a picture, a folder of pictures or a video, and draw boxes around them.

    The JSON is a list with one entry per picture or frame; boxes are in pixels of the original picture. A picture that
    cannot be read is named, the others are done, and the exit code is 1.

    \b
    Example:
      edgedet predict run/model.tflite my_photos --out boxes --json boxes.json
    """
    from edgedet.files import write_json
    from edgedet.formats import load
    from edgedet.predict import predict
    from edgedet.progress import console

    outcomes = list(predict(load(model, threads), source, out, score_min))
    if json is not None:
        write_json(json, [entry.to_json() for outcome in outcomes for entry in outcome.predictions])
    failed = [outcome.error for outcome in outcomes if outcome.error]
    for outcome in outcomes:
        if not outcome.error:
            typer.echo(_line(outcome, score_min))
    for error in failed:
        console.print("[bold red]error:[/] ", end="")
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def _line(outcome: Outcome, score_min: float | None) -> str:
    """One line for people: what is drawn, and where the picture is."""
    from edgedet.predict import shown

    counts: Counter[str] = Counter()
    for entry in outcome.predictions:
        counts.update(entry.class_names[i] for i in shown(entry.detections, score_min).class_ids)
    found = ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "nothing"
    frames = len(outcome.predictions)
    place = "" if outcome.predictions[0].frame is None else f" in {frames} frames"
    return f"{outcome.source}: {found}{place} -> {outcome.written}"
