"""Training: assignment, losses, augmentation, anchor fitting and the loop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgedet.config import Config


def train(
    config: Config, data: Path, out: Path, init: str | None = None, device: str = "auto", resume: bool = False,
    qat: Path | None = None,
) -> Path:  # fmt: skip
    """Train a detector.

    Args:
        config: from edgedet.config.load_config.
        data: a data set that edgedet.data.read_dataset can read.
        out: folder for model.pt, checkpoint.pt, metrics.jsonl and plots.
        init: None for random weights; "imagenet" for torchvision's published backbone; or a weights file.
        device: "auto", "cpu", "cuda" or "mps".
        resume: continue from out/checkpoint.pt.
        qat: a trained model.pt, which is tuned to 8-bit integers (edgedet.training.qat); instead of `init`.

    Returns:
        The path of model.pt.

    Raises:
        EdgedetError: configuration, data, weights or checkpoint cannot be used.
    """
    # Imported here: the training engine takes seconds to import.
    if qat:
        from edgedet.training.qat import run_qat

        return run_qat(config, data, out, trained=qat, init=init, device=device, resume=resume)
    from edgedet.training.loop import run

    return run(config, data, out, init=init, device=device, resume=resume)
