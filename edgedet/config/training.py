"""The run: its length, its optimiser, its precision and what is kept."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from edgedet.config.part import Part, Share


class PartFactors(Part):
    """A number for each part of a network (edgedet.training.parts): pretrained parts learn slower than new ones."""

    backbone: PositiveFloat = 1.0
    neck: PositiveFloat = 1.0
    head: PositiveFloat = 1.0


class TrainingConfig(Part):
    """The run. Exactly one of `epochs` and `minutes` says how long it is.

    Attributes:
        epochs: passes over the training split.
        minutes: wall-clock budget instead; the learning rate follows the clock, so runs do not repeat bit by bit.
        batch_size: images per step and process.
        optimiser: "sgd" (Nesterov) or "adamw".
        lr: peak learning rate; `momentum` is SGD's momentum and AdamW's beta1.
        weight_decay: on convolution weights only, not on norms and biases.
        warmup_steps: steps of linear warm-up; then a cosine down to `lr_end` times the peak.
        clip_grad_norm: gradients are scaled down to this norm; 0 leaves them.
        ema_decay: of the weights that are evaluated and saved; it warms up as (1 + n) / (10 + n). 0 switches it off.
        accumulate: batches whose gradients are put together before a step. The gradient is that of one batch of
            `accumulate` times as many images but for batch norm, which sees `batch_size` of them.
        lr_factor: times `lr`, for each part of the network.
        freeze: "backbone" keeps the backbone's weights and statistics as `--init` gave them, for `freeze_epochs`
            epochs or, where that is null, for good.
        batch_norm: "train" takes statistics from each process's own batch; "sync" from the batches of all processes;
            "frozen" keeps those of the backbone as `--init` gave them, for batches too small to have any.
        precision: "32", "bf16", "fp16" (CUDA only; with loss scaling), or "auto": bf16 where the device computes it
            natively.
        deterministic: torch's deterministic algorithms only, so that two runs on one machine give equal bits on GPUs
            too; slower there.
        keep: which epoch's weights model.pt holds: the "last", or the "best" by `monitor` of those validated.
        monitor: metric of the validation split that says which epoch is better.
        patience: stop after so many validations without a gain of more than `min_delta`; null never stops. A run
            with a patience keeps the best.
        fast_kernels: on CPU, compute the same gradients by faster ways (edgedet.training.fast_cpu).
        seed: of weights, order and augmentation.
        workers: loader processes; 0 loads in the main process.
        cache_mb: decoded images kept in memory, at most this much.
        image_label_share: of each batch, images of which only the class is known (edgedet.data.image_labels); for
            the tree scores.
        image_label_after: epochs of boxes alone before them; see edgedet.training.image_labels for why.
        train_split, val_split: names of splits; val_split null or "" means no validation.
        eval_every: validate every so many epochs; 0 only at the end.
        init_normalisation: what `--init` weights were trained with: "imagenet" (per-channel mean and std, which is
            folded into the first convolution), "half" (the config's own input mean and std), "auto" (imagenet for
            files that torchvision publishes, half for all others).
        init_norm_eps: batch norm's eps that the `--init` weights assume, where it is not the network's own.
    """

    epochs: PositiveInt | None = None
    minutes: PositiveFloat | None = None
    batch_size: PositiveInt = 16
    optimiser: Literal["sgd", "adamw"] = "adamw"
    lr: PositiveFloat = 1e-3
    momentum: Share = 0.9
    weight_decay: NonNegativeFloat = 1e-4
    warmup_steps: NonNegativeInt = 50
    lr_end: Share = 0.01
    clip_grad_norm: NonNegativeFloat = 10.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.998
    accumulate: PositiveInt = 1
    lr_factor: PartFactors = PartFactors()
    freeze: Literal["nothing", "backbone"] = "nothing"
    freeze_epochs: PositiveInt | None = None
    batch_norm: Literal["train", "frozen", "sync"] = "train"
    precision: Literal["auto", "32", "bf16", "fp16"] = "auto"
    deterministic: bool = False
    keep: Literal["last", "best"] = "last"
    monitor: Literal["coco_ap", "coco_ap50", "coco_ap75", "voc07_map", "voc10_map"] = "coco_ap"
    patience: PositiveInt | None = None
    min_delta: Share = 0.0
    fast_kernels: bool = True
    seed: NonNegativeInt = 0
    workers: NonNegativeInt = 1
    cache_mb: NonNegativeInt = 1024
    image_label_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    image_label_after: NonNegativeInt = 0
    train_split: str = "train"
    val_split: str | None = "val"
    eval_every: NonNegativeInt = 0
    init_normalisation: Literal["auto", "imagenet", "half"] = "auto"
    init_norm_eps: PositiveFloat | None = None

    @pydantic.model_validator(mode="after")
    def _one_length(self) -> TrainingConfig:
        if (self.epochs is None) == (self.minutes is None):
            raise ValueError("give exactly one of epochs and minutes")
        return self

    @pydantic.model_validator(mode="after")
    def _no_contradiction(self) -> TrainingConfig:
        validates = bool(self.val_split) and self.eval_every > 0
        if self.keeps_best and not validates:
            raise ValueError("keep best and patience need validations: give val_split, and eval_every 1 or more")
        if self.min_delta and self.patience is None:
            raise ValueError("min_delta belongs to patience: give both or none")
        if self.freeze_epochs and self.freeze == "nothing":
            raise ValueError("freeze_epochs says how long: give freeze too, or leave freeze_epochs out")
        if self.freeze_epochs and self.epochs and self.freeze_epochs >= self.epochs:
            raise ValueError("freeze_epochs reaches the last epoch: leave it out to freeze for good")
        if self.freeze == "backbone" and self.lr_factor.backbone != 1 and self.freeze_epochs is None:
            raise ValueError("a backbone that is frozen for good has no learning rate: leave lr_factor.backbone out")
        if self.image_label_after and not self.image_label_share:
            raise ValueError("image_label_after says when: give image_label_share too, or leave image_label_after out")
        if self.image_label_after and self.epochs and self.image_label_after >= self.epochs:
            raise ValueError("image_label_after reaches the last epoch: no image label would ever be seen")
        if self.image_label_share and self.batch_size < 2:
            raise ValueError("image_label_share needs batches of 2 or more: one image with boxes, one with a label")
        if self.deterministic and self.minutes:
            raise ValueError("a run by the clock never repeats: with deterministic give epochs instead of minutes")
        return self

    @property
    def keeps_best(self) -> bool:
        return self.keep == "best" or self.patience is not None
