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
    qat: Annotated[
        Path | None,
        typer.Option("--qat", metavar="INIT.pt", help="Tune this trained model.pt to int8, briefly."),
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
    Fine-tune on few photographs: the backbone rests for 5 epochs, then learns
    slowly; stop when 10 validations bring nothing, and keep the best epoch:
      edgedet train ssdlite_mobilenet_v2 --data bccd --out run --init imagenet \\
        --set training.freeze=backbone --set training.freeze_epochs=5 \\
        --set training.lr_factor.backbone=0.1 \\
        --set training.eval_every=1 --set training.patience=10
    Large batches in little memory, batch norm of a pretrained backbone kept:
        --set training.batch_size=4 --set training.accumulate=8 \\
        --set training.batch_norm=frozen
    Half precision (auto chooses bf16 where it is fast), equal bits each time:
        --set training.precision=fp16 --set training.deterministic=true
    On two processes, and on two machines of four GPUs (RANK is 0 or 1):
      torchrun --nproc-per-node 2 --no-python edgedet train ...
      torchrun --nnodes 2 --node-rank RANK --nproc-per-node 4 \\
        --master-addr HOST --master-port 29500 --no-python edgedet train ...

    Tune a trained model for int8 files, which then use the ranges it learned:
      edgedet train ssdlite_mobilenet_v2 --data bccd --out qat \\
        --qat run/model.pt --set qat.minutes=5

    model.pt holds the last epoch's averaged weights, or the best epoch's with
    training.keep=best or training.patience; checkpoint.pt is for --resume.
    Every field that --set knows: edgedet/config/; a wrong name gets
    the nearest ones as an answer.
    """
    from edgedet.config import load_config
    from edgedet.training import train as run

    model = run(load_config(config, changes or ()), data, out, init=init, device=device, resume=resume, qat=qat)
    typer.echo(str(model))


def register(app: typer.Typer) -> None:
    app.command()(train)
