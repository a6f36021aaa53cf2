"""Targets written by hand, and a tiny data set and configuration that train in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from edgedet.config import Config, load_config
from edgedet.data.synth import write_synthetic
from edgedet.training.step import Batch
from edgedet.training.targets import Objects, Targets, pad_objects
from tests.small_models import small_spec

# A step of plain gradient descent shows the gradient.
PLAIN = ("training.optimiser=sgd", "training.momentum=0", "training.weight_decay=0", "training.clip_grad_norm=0",
         "training.ema_decay=0", "training.fast_kernels=false")  # fmt: skip


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


def batch(name: str, *counts: int, seed: int = 0) -> Batch:
    """Noise, each image with so many objects."""
    image = small_spec(name).input
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (len(counts), 3, image.height, image.width), generator=generator).to(torch.uint8)
    low = [torch.rand(count, 2, generator=generator) * 0.5 for count in counts]
    boxes = [torch.cat((start, start + 0.1 + 0.4 * torch.rand(len(start), 2, generator=generator)), 1) for start in low]
    return pixels, pad_objects([objects(b.tolist(), [k % 3 for k in range(len(b))]) for b in boxes])
