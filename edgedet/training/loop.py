"""The training loop: data, steps, validation, checkpoints."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader

from edgedet.config import Config, make_spec
from edgedet.data import read_dataset
from edgedet.data.classes import with_classes
from edgedet.data.image_labels import read_image_labels
from edgedet.data.types import Dataset
from edgedet.errors import ConfigError, DataError
from edgedet.model_file import save_model
from edgedet.models import build
from edgedet.progress import console, progress_bar
from edgedet.spec import DetectorSpec
from edgedet.training.anchors import boxes_wh_px
from edgedet.training.augment import Augment
from edgedet.training.best import Best, best_of
from edgedet.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgedet.training.engine import arithmetic, launch
from edgedet.training.image_labels import MixedImages, MixedOrder
from edgedet.training.images import TrainingImages, collate, end_quietly
from edgedet.training.initialise import initialise
from edgedet.training.multi_scale import SizedBatches
from edgedet.training.record import Record, plot_record, print_end, print_line
from edgedet.training.sampler import BatchOrder
from edgedet.training.schedule import Progress, learning_rate
from edgedet.training.step import Batch, TrainStep
from edgedet.training.targets import Targets

MODEL, CHECKPOINT, METRICS, PLOT = "model.pt", "checkpoint.pt", "metrics.jsonl", "training.png"
_CLOCK_STEPS = 10  # between two agreements of several processes on the time


def run(config: Config, data: Path, out: Path, *, init: str | None, device: str, resume: bool) -> Path:
    """What `edgedet.training.train` documents."""
    check_out(out, resume)
    if not resume:
        _check_init(config, init)
    with arithmetic(config.training):
        return _run(config, data, out, init=init, device=device, resume=resume)


def _run(config: Config, data: Path, out: Path, *, init: str | None, device: str, resume: bool) -> Path:
    fabric = launch(config.training, device)
    checkpoint = load_checkpoint(out / CHECKPOINT, config) if resume else None
    train_set = labelled(read_dataset(data, config.training.train_split))
    spec = (
        checkpoint.spec
        if checkpoint
        else make_spec(config, train_set.class_names, boxes_wh_px(train_set, config.input))
    )
    train_set = fitting_classes(train_set, spec, ConfigError(
        f"{data}: its classes are not those of the run in {out}", "Resume with the same --data."
    ))  # fmt: skip
    torch.manual_seed(config.training.seed)
    model = build(spec)
    if init and not checkpoint:
        report = initialise(model, spec, init, config.training)
        if fabric.is_global_zero:
            console.print(str(report), markup=False, highlight=False, soft_wrap=True)
    val_set = read_dataset(data, config.training.val_split) if config.training.val_split else None
    wants_labels = config.training.image_label_share > 0
    label_set = read_image_labels(data, spec.class_names) if wants_labels else None
    return Run(fabric, config, model, spec, train_set, val_set, out, checkpoint, label_set).finish()


def check_out(out: Path, resume: bool) -> None:
    if not resume and (out / CHECKPOINT).exists():
        raise ConfigError(f"{out}: already holds a run", "Give --resume to continue it, or another --out.")


def _check_init(config: Config, init: str | None) -> None:
    """What is kept as it came must have come from somewhere."""
    kept = {"freeze": config.training.freeze == "backbone", "batch_norm": config.training.batch_norm == "frozen"}
    for name in (name for name, asked in kept.items() if asked and not init):
        value = getattr(config.training, name)
        raise ConfigError(
            f"training.{name} is {value} without --init", "Give --init imagenet or a weights file, or leave it out."
        )


def fitting_classes(dataset: Dataset, spec: DetectorSpec, refusal: ConfigError) -> Dataset:
    """The data set with the classes of a spec, in their order."""
    if spec.class_parents:
        dataset = with_classes(dataset, spec.class_names)
    if spec.class_names != dataset.class_names:
        raise refusal
    return dataset


def labelled(dataset: Dataset) -> Dataset:
    if not any(len(sample.objects) for sample in dataset.samples):
        raise DataError(
            f"{dataset.root}: split {dataset.split!r} has no labelled object", "Choose another train_split."
        )
    return dataset


def make_loader(
    config: Config, dataset: Dataset, fabric: Fabric, label_set: Dataset | None = None
) -> tuple[DataLoader[tuple[Tensor, Targets]], BatchOrder]:
    """Augmented batches for this process, and the order that says which epoch it is.

    Args:
        label_set: images of which only the class is known, to be mixed in.
    """
    training = config.training
    share = training.image_label_share if label_set else 0.0
    rest = (training.batch_size, training.seed, fabric.global_rank, fabric.world_size, training.accumulate)
    order = BatchOrder(len(dataset), *rest)
    if label_set:
        order = MixedOrder(len(dataset), len(label_set), share, training.image_label_after, *rest)
    images: Any = TrainingImages(
        dataset, Augment(config.augment, config.input), training.seed, int(training.cache_mb * (1 - share))
    )
    if label_set:
        augment = Augment(config.augment, config.input)
        images = MixedImages(
            images, TrainingImages(label_set, augment, training.seed + 1, int(training.cache_mb * share))
        )
    context = "fork" if training.workers and sys.platform == "linux" else None  # forked loaders share the image cache
    loader: DataLoader[Any] = DataLoader(
        images,
        batch_sampler=SizedBatches(order, config),
        num_workers=training.workers,
        collate_fn=collate,
        pin_memory=fabric.device.type == "cuda",
        persistent_workers=training.workers > 0,
        multiprocessing_context=context,
        worker_init_fn=end_quietly,
    )
    return loader, order


class Run:
    """A run from its first or a later epoch to its end."""

    def __init__(
        self, fabric: Fabric, config: Config, model: nn.Module, spec: DetectorSpec, train_set: Dataset,
        val_set: Dataset | None, out: Path, checkpoint: Checkpoint | None, label_set: Dataset | None = None,
    ) -> None:  # fmt: skip
        self.fabric, self.config, self.spec, self.out, self.val_set = fabric, config, spec, out, val_set
        self.loader, self.order = make_loader(config, train_set, fabric, label_set)
        self.step = self._make_step(model)
        training = config.training
        self.progress = Progress((training.epochs or 0) * self.order.steps, (training.minutes or 0) * 60)
        self.next_agreement, self.agreed_share = 0, 0.0
        self.epoch = 0
        self.record = Record(out / METRICS, checkpoint.epoch if checkpoint else 0)
        if checkpoint:
            self._restore(checkpoint)

    def finish(self) -> Path:
        """Train to the end. Returns the path of model.pt."""
        while self._share() < 1 and not self._stopped():
            if self.step.frozen and self.epoch >= (self.config.training.freeze_epochs or math.inf):
                self.step.thaw()
            started, first_step = time.monotonic(), self.progress.step
            parts, lr = self._train_epoch()
            seconds, steps = time.monotonic() - started, self.progress.step - first_step
            self.epoch += 1
            images = steps * self.order.batch_size * self.order.accumulate * self.fabric.world_size
            self._save(self._line(parts, lr, images / seconds))
        if self.fabric.is_global_zero:
            print_end(self.config.training, self._best())
            plot_record(self.record.lines, self.out / PLOT)
        self.fabric.barrier()
        return self.out / MODEL

    def _train_epoch(self) -> tuple[dict[str, float], float]:
        """One pass, or less when the time is up. Returns the mean loss parts and the last learning rate."""
        self.order.epoch = self.epoch
        torch.manual_seed(self._epoch_seed())
        sums: dict[str, Tensor] = {}
        lr, first_step = 0.0, self.progress.step
        with progress_bar() as bar:
            task = bar.add_task(f"Epoch {self.epoch + 1}", total=self.order.steps)
            for batches in _steps(iter(self.loader), self.order.accumulate):
                share = self._share()
                if share >= 1 and self.progress.step > first_step:  # an epoch that was begun has a step to record
                    break
                lr = learning_rate(self.config.training, self.progress.step, share)
                self._before_step(share)
                for name, value in self.step(batches, lr).items():  # summed where they lie: a look makes a GPU wait
                    sums[name] = sums[name] + value if name in sums else value
                self.progress.step += 1
                bar.update(task, advance=1)
        self.step.finite.look()
        steps = self.progress.step - first_step
        return {name: float(value) / steps for name, value in sums.items()}, lr

    def _epoch_seed(self) -> int:
        """For dropout and the like: another for each epoch and process, the same after a resume."""
        world = self.fabric.world_size
        return (self.config.training.seed * 1_000_003 + self.epoch) * world + self.fabric.global_rank

    def _share(self) -> float:
        """How much of the run is done. By the clock all processes go by the first one's, asked every few steps."""
        if self.fabric.world_size == 1 or self.config.training.epochs:
            return self.progress.share
        if self.progress.step >= self.next_agreement:
            self.agreed_share = float(self.fabric.broadcast(self.progress.share))
            self.next_agreement = self.progress.step + _CLOCK_STEPS
        return self.agreed_share

    def _best(self) -> Best:
        training = self.config.training
        return best_of(self.record.lines, training.monitor, training.min_delta)

    def _stopped(self) -> bool:
        """Whether patience is at its end; the first process has the record."""
        patience = self.config.training.patience
        return patience is not None and bool(self.fabric.broadcast(self._best().waited >= patience))

    def _line(self, parts: dict[str, float], lr: float, images_per_s: float) -> dict[str, object]:
        every = self.config.training.eval_every
        due = self._share() >= 1 or (every > 0 and self.epoch % every == 0)
        return {
            "epoch": self.epoch,
            "step": self.progress.step,
            "loss": sum(parts.values()),
            "loss_parts": parts,
            "lr": lr,
            "images_per_s": images_per_s,
            "elapsed_s": self.progress.elapsed_s,
            "val": self._validate() if due else None,
        }

    def _validate(self) -> dict[str, float] | None:
        """Metrics of the averaged weights on the validation split, on the first process."""
        if self.val_set is None or not self.fabric.is_global_zero:
            return None
        from edgedet.evaluation import evaluate
        from edgedet.torch_runner import TorchRunner

        runner = TorchRunner(self.step.average.model, self.spec, self.out / MODEL)
        metrics = evaluate(runner, self.val_set).metrics
        return {name: value for name, value in metrics.items() if math.isfinite(value)}  # NaN: no such objects

    def _save(self, line: dict[str, object]) -> None:
        """The model, the record and the checkpoint of an epoch, in this order, each in one step.

        A kill between them costs nothing: the epoch is run again from the checkpoint before it, with the same result.
        """
        if self.fabric.is_global_zero:
            self.record.lines.append(line)
            kept = not self.config.training.keeps_best or self._best().epoch in (0, self.epoch)
            if kept:
                self._save_model()
            self.record.write()
            save_checkpoint(self.out / CHECKPOINT, self._checkpoint())
            print_line(line)
        self.fabric.barrier()

    def _before_step(self, share: float) -> None:
        """What a kind of run does as it goes on; `share` of it is done, 0..1."""

    def _make_step(self, model: nn.Module) -> TrainStep:
        return TrainStep(self.fabric, model, self.spec, self.config)

    def _save_model(self) -> None:
        save_model(self.out / MODEL, self.step.average.model, self.spec)

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(
            spec_json=self.spec.to_json(),
            config_digest=self.config.digest(),
            model=self.step.network.state_dict(),
            optimiser=self.step.optimiser.state_dict(),
            ema=self.step.average.state_dict(),
            epoch=self.epoch,
            step=self.progress.step,
            elapsed_s=self.progress.elapsed_s,
            precision=self.fabric._precision.state_dict(),
        )

    def _restore(self, checkpoint: Checkpoint) -> None:
        if self.step.frozen and checkpoint.epoch > (self.config.training.freeze_epochs or math.inf):
            self.step.thaw()  # the optimiser of the checkpoint has the backbone's parameters
        self.step.network.load_state_dict(checkpoint.model)
        self.step.optimiser.load_state_dict(checkpoint.optimiser)
        self.step.average.load_state_dict(checkpoint.ema)
        self.epoch = checkpoint.epoch
        self.progress.step = checkpoint.step
        self.progress.earlier_s = checkpoint.elapsed_s
        self.fabric._precision.load_state_dict(checkpoint.precision)


def _steps(batches: Iterator[Batch], accumulate: int) -> Iterator[list[Batch]]:
    """The batches of each step."""
    while step := list(islice(batches, accumulate)):
        yield step
