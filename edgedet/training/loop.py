"""The training loop: data, steps, validation, checkpoints."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader

from edgedet.config import Config, make_spec
from edgedet.data import read_dataset
from edgedet.data.types import Dataset
from edgedet.errors import ConfigError, DataError
from edgedet.model_file import save_model
from edgedet.models import build
from edgedet.progress import console, progress_bar
from edgedet.spec import DetectorSpec
from edgedet.training.anchors import boxes_wh_px
from edgedet.training.augment import Augment
from edgedet.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgedet.training.engine import make_fabric
from edgedet.training.fast_cpu import keep_freed_memory
from edgedet.training.images import TrainingImages, collate
from edgedet.training.initialise import initialise
from edgedet.training.record import Record, plot_record
from edgedet.training.sampler import BatchOrder
from edgedet.training.schedule import Progress, learning_rate
from edgedet.training.step import TrainStep
from edgedet.training.targets import Targets

MODEL, CHECKPOINT, METRICS, PLOT = "model.pt", "checkpoint.pt", "metrics.jsonl", "training.png"


def run(config: Config, data: Path, out: Path, *, init: str | None, device: str, resume: bool) -> Path:
    """What `edgedet.training.train` documents."""
    if not resume and (out / CHECKPOINT).exists():
        raise ConfigError(f"{out}: already holds a run", "Give --resume to continue it, or another --out.")
    fabric = make_fabric(config.training, device)
    fabric.launch()
    if config.training.fast_kernels and fabric.device.type == "cpu":
        keep_freed_memory()
    checkpoint = load_checkpoint(out / CHECKPOINT, config) if resume else None
    train_set = _labelled(read_dataset(data, config.training.train_split))
    spec = (
        checkpoint.spec
        if checkpoint
        else make_spec(config, train_set.class_names, boxes_wh_px(train_set, config.input))
    )
    if spec.class_names != train_set.class_names:
        raise ConfigError(f"{data}: its classes are not those of the run in {out}", "Resume with the same --data.")
    torch.manual_seed(config.training.seed)
    model = build(spec)
    if init and not checkpoint:
        report = initialise(model, spec, init, config.training)
        if fabric.is_global_zero:
            console.print(str(report), markup=False, highlight=False, soft_wrap=True)
    val_set = read_dataset(data, config.training.val_split) if config.training.val_split else None
    return Run(fabric, config, model, spec, train_set, val_set, out, checkpoint).finish()


def _labelled(dataset: Dataset) -> Dataset:
    if not any(len(sample.objects) for sample in dataset.samples):
        raise DataError(
            f"{dataset.root}: split {dataset.split!r} has no labelled object", "Choose another train_split."
        )
    return dataset


def make_loader(
    config: Config, dataset: Dataset, fabric: Fabric
) -> tuple[DataLoader[tuple[Tensor, Targets]], BatchOrder]:
    """Augmented batches for this process, and the order that says which epoch it is."""
    training = config.training
    order = BatchOrder(len(dataset), training.batch_size, training.seed, fabric.global_rank, fabric.world_size)
    images = TrainingImages(dataset, Augment(config.augment, config.input), training.seed, training.cache_mb)
    context = "fork" if training.workers and sys.platform == "linux" else None  # forked loaders share the image cache
    loader: DataLoader[Any] = DataLoader(
        images,
        batch_sampler=order,
        num_workers=training.workers,
        collate_fn=collate,
        persistent_workers=training.workers > 0,
        multiprocessing_context=context,
    )
    return loader, order


class Run:
    """A run from its first or a later epoch to its end."""

    def __init__(
        self, fabric: Fabric, config: Config, model: nn.Module, spec: DetectorSpec, train_set: Dataset,
        val_set: Dataset | None, out: Path, checkpoint: Checkpoint | None,
    ) -> None:  # fmt: skip
        self.fabric, self.config, self.spec, self.out, self.val_set = fabric, config, spec, out, val_set
        self.loader, self.order = make_loader(config, train_set, fabric)
        self.step = TrainStep(fabric, model, spec, config)
        training = config.training
        self.progress = Progress((training.epochs or 0) * len(self.order), (training.minutes or 0) * 60)
        self.epoch = 0
        self.record = Record(out / METRICS, checkpoint.epoch if checkpoint else 0)
        if checkpoint:
            self._restore(checkpoint)

    def finish(self) -> Path:
        """Train to the end. Returns the path of model.pt."""
        while self._share() < 1:
            started, first_step = time.monotonic(), self.progress.step
            parts, lr = self._train_epoch()
            seconds, steps = time.monotonic() - started, self.progress.step - first_step
            self.epoch += 1
            images = steps * self.order.batch_size * self.fabric.world_size
            self._save(self._line(parts, lr, images / seconds))
        if self.fabric.is_global_zero:
            plot_record(self.record.lines, self.out / PLOT)
        self.fabric.barrier()
        return self.out / MODEL

    def _train_epoch(self) -> tuple[dict[str, float], float]:
        """One pass, or less when the time is up. Returns the mean loss parts and the last learning rate."""
        self.order.epoch = self.epoch
        sums: dict[str, Tensor] = {}
        lr, steps = 0.0, 0
        with progress_bar() as bar:
            task = bar.add_task(f"Epoch {self.epoch + 1}", total=len(self.order))
            for pixels, targets in self.loader:
                share = self._share()
                if share >= 1 and steps:  # an epoch that was begun has a step, so that its record is not empty
                    break
                lr = learning_rate(self.config.training, self.progress.step, share)
                for name, value in self.step(pixels, targets, lr).items():
                    sums[name] = sums.get(name, torch.zeros(())) + value.cpu()
                self.progress.step += 1
                steps += 1
                bar.update(task, advance=1)
        return {name: float(value) / steps for name, value in sums.items()}, lr

    def _share(self) -> float:
        """How much of the run is done; all processes go by the first one's clock."""
        share = self.progress.share
        return share if self.fabric.world_size == 1 else float(self.fabric.broadcast(share))

    def _line(self, parts: dict[str, float], lr: float, images_per_s: float) -> dict[str, object]:
        every = self.config.training.eval_every
        due = self.progress.share >= 1 or (every > 0 and self.epoch % every == 0)
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

        device = self.fabric.device
        runner = TorchRunner(self.step.average.model.cpu(), self.spec, self.out / MODEL)
        metrics = evaluate(runner, self.val_set).metrics
        self.step.average.model.to(device)
        return {name: value for name, value in metrics.items() if math.isfinite(value)}  # NaN: no such objects

    def _save(self, line: dict[str, object]) -> None:
        """The model, the checkpoint and the record of an epoch, in this order, each in one step."""
        if self.fabric.is_global_zero:
            save_model(self.out / MODEL, self.step.average.model, self.spec)
            self.record.add(line)
            save_checkpoint(self.out / CHECKPOINT, self._checkpoint())
            _print_line(line)
        self.fabric.barrier()

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
            rng=torch.get_rng_state(),
        )

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.step.network.load_state_dict(checkpoint.model)
        self.step.optimiser.load_state_dict(checkpoint.optimiser)
        self.step.average.load_state_dict(checkpoint.ema)
        self.epoch = checkpoint.epoch
        self.progress.step = checkpoint.step
        self.progress.earlier_s = checkpoint.elapsed_s
        torch.set_rng_state(checkpoint.rng)


def _print_line(line: dict[str, object]) -> None:
    val = line["val"]
    ap = f"  AP {val['coco_ap']:.3f}  AP50 {val['coco_ap50']:.3f}" if isinstance(val, dict) else ""
    text = f"epoch {line['epoch']:>3}  loss {line['loss']:.3f}  {line['images_per_s']:.1f} images/s{ap}"
    console.print(text, markup=False, highlight=False)
