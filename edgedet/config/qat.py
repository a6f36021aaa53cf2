"""Quantization-aware training: how a trained network is tuned to 8-bit integers."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from edgedet.config.part import Part

_DEFAULT_EPOCHS = 10


class QatConfig(Part):
    """What `--qat` changes of the run. All else (batches, loss, augmentation, splits) is as without it.

    Attributes:
        epochs: passes over the training split; 10 where neither this nor `minutes` is given.
        minutes: wall-clock budget instead.
        lr: peak learning rate, below the one of training: the weights are good, they only move off the edges between
            integers. `warmup_steps` lead up to it, and `training.lr_end` and the cosine down from it.
        warmup_steps: steps of linear warm-up.
        weight_decay: 0 by default: batch norm is folded, so that a smaller weight is another function.
        ema_decay: of the weights and ranges that are evaluated and saved.
        imitation: share of the loss that is the distance from the float network's own scores and boxes
            (edgedet.training.imitation); the rest is the loss of the labels.
        precision: as `training.precision`. bf16 has as few digits as the integers, and its rounding would be learned.
        observer: how ranges follow the tensors of a batch (edgedet.quantization.observers).
        calibration_images: of the training split, not augmented, for the ranges that training begins with.
        freeze_ranges_at: share of the run after which ranges stay and only weights learn. 0: those of the calibration
            stay from the start, because what augmentation makes of an image can widen them; 1: never.
    """

    epochs: PositiveInt | None = None
    minutes: PositiveFloat | None = None
    lr: PositiveFloat = 1e-4
    warmup_steps: NonNegativeInt = 20
    weight_decay: NonNegativeFloat = 0.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    imitation: Annotated[float, Field(ge=0, le=1)] = 1.0
    precision: Literal["auto", "32", "bf16", "fp16"] = "32"
    observer: Literal["minmax", "moving_average", "percentile"] = "moving_average"
    calibration_images: Annotated[int, Field(ge=8)] = 64
    freeze_ranges_at: Annotated[float, Field(ge=0, le=1)] = 0.0

    @pydantic.model_validator(mode="after")
    def _one_length(self) -> QatConfig:
        if self.epochs and self.minutes:
            raise ValueError("give only one of epochs and minutes")
        return self

    @property
    def training_fields(self) -> dict[str, object]:
        """What becomes of the fields of `training`. Parts of the network are not told apart: all are trained."""
        epochs = self.epochs or (None if self.minutes else _DEFAULT_EPOCHS)
        return {
            "epochs": epochs, "minutes": self.minutes, "lr": self.lr, "warmup_steps": self.warmup_steps,
            "weight_decay": self.weight_decay, "ema_decay": self.ema_decay, "lr_factor": {}, "freeze": "nothing",
            "freeze_epochs": None, "batch_norm": "train", "image_label_share": 0.0, "image_label_after": 0,
            "precision": self.precision,
        }  # fmt: skip
