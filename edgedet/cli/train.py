"""`edgedet train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a bundled configuration.")],
    data: Annotated[Path, typer.Option("--data", help="Data set: a folder (VOC, COCO, YOLO, CSV) or a YAML file.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for model.pt, checkpoint.pt, metrics.jsonl and the plot.")],
    init: Annotated[
        str | None,
        typer.Option("--init", help="Starting weights: 'imagenet', a torchvision state dict, or a model.pt."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")] = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out after its last whole epoch.")
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the configuration; repeatable."),
    ] = None,
) -> None:
    """Train a detector on labelled photographs.

    \b
    Example:
      edgedet train ssdlite_mobilenet_v2 --data bccd --out run \\
        --init imagenet --set training.train_split=trainval
    On two processes:
      torchrun --nproc_per_node 2 --no-python edgedet train ...
    """
    from edgedet.config import load_config
    from edgedet.training import train as run

    model = run(load_config(config, changes or ()), data, out, init=init, device=device, resume=resume)
    typer.echo(str(model))


def register(app: typer.Typer) -> None:
    app.command()(train)
