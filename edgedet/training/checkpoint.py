"""checkpoint.pt: everything a run needs to continue as if it had not stopped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgedet.config import Config
from edgedet.errors import ConfigError, ModelFileError
from edgedet.files import atomic_path
from edgedet.model_file import load_torch_file
from edgedet.spec import DetectorSpec

KIND = "edgedet.checkpoint"
_SCHEMA = 2


@dataclass(frozen=True)
class Checkpoint:
    """A run after a whole epoch.

    Attributes:
        spec_json: the detector; priors that were fitted are not fitted again.
        config_digest: of the configuration, which must be the same on resume.
        model, optimiser, ema: state dicts of the three.
        epoch: epochs done; the next one starts its own permutation of the images.
        step: steps done: the position in the learning-rate schedule.
        elapsed_s: wall-clock seconds used.
        precision: state of the loss scaling; empty without.

    Random numbers need no state: each epoch begins with a seed of its own.
    """

    spec_json: str
    config_digest: str
    model: dict[str, Tensor]
    optimiser: dict[str, Any]
    ema: dict[str, Any]
    epoch: int
    step: int
    elapsed_s: float
    precision: dict[str, Any]

    @property
    def spec(self) -> DetectorSpec:
        return DetectorSpec.from_json(self.spec_json, "checkpoint")


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write in one step: a kill leaves this checkpoint or the one before."""
    with atomic_path(path) as temporary:
        torch.save({"kind": KIND, "schema": _SCHEMA, **vars(checkpoint)}, temporary)


def load_checkpoint(path: Path, config: Config) -> Checkpoint:
    """Read a checkpoint of a run with this configuration.

    Raises:
        ModelFileError: missing, damaged or not a checkpoint.
        ConfigError: written under another configuration.
    """
    if not path.exists():
        raise ModelFileError(f"{path}: there is no checkpoint to resume from", "Leave --resume out to start a new run.")
    content = load_torch_file(path)
    try:
        if content.pop("kind") != KIND or content.pop("schema") != _SCHEMA:
            raise KeyError("kind")
        checkpoint = Checkpoint(**content)  # type: ignore[arg-type]
    except (KeyError, TypeError) as error:
        raise ModelFileError(
            f"{path}: not a checkpoint of this version of edgedet", "Start the run again in another --out."
        ) from error
    if checkpoint.config_digest != config.digest():
        raise ConfigError(
            f"{path}: was written under another configuration ({checkpoint.config_digest}, now {config.digest()})",
            "Resume with the configuration and --set options that the run was started with, or start in another --out.",
        )
    return checkpoint
