"""Targets written by hand, and a tiny data set and configuration that train in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from edgedet.config import Config, load_config
from edgedet.data.synth import write_synthetic
from edgedet.training.targets import Objects, Targets, pad_objects


def objects(
    boxes: Sequence[Sequence[float]], class_ids: Sequence[int] | None = None, ignored: Sequence[bool] | None = None
) -> Objects:
    """Objects of one image from plain lists; class 0 and not ignored unless given."""
    count = len(boxes)
    return Objects(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(class_ids if class_ids is not None else [0] * count, dtype=torch.int64),
        torch.tensor(ignored if ignored is not None else [False] * count, dtype=torch.bool),
    )


def targets(*images: Objects) -> Targets:
    return pad_objects(images)


def tiny_data(folder: Path) -> Path:
    """24 + 4 + 4 synthetic pictures of 96 px."""
    return write_synthetic(folder / "data", train=24, val=4, test=4, size_px=96, seed=1)


def tiny_config(*changes: str, base: str = "demo") -> Config:
    """The demo's network at its narrowest, 96 px, two epochs of three steps; fp32 so that results are exact."""
    small = (
        "network.width=0.2", "input.height=96", "input.width=96", "training.batch_size=8", "training.epochs=2",
        "training.workers=0", "training.precision='32'", "training.warmup_steps=2", "training.val_split=''",
    )  # fmt: skip
    return load_config(base, (*small, *changes))
