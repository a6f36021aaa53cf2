"""Quantization-aware training: a trained network learns on while it computes as its int8 file will.

Batch norm is folded first, so that what is rounded are the very weights of the file (Krishnamoorthi 2018, arXiv
1806.08342, section 3.2, with statistics frozen throughout). The folded network is tuned with a small learning rate;
unless asked otherwise it imitates what it was in float (edgedet.training.imitation), within ranges measured before.
model.pt gets the weights in the network's usual shape, and the ranges beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from edgedet.config import Config
from edgedet.data import load_image, read_dataset
from edgedet.data.types import Dataset
from edgedet.errors import ConfigError
from edgedet.model_file import load_model, save_model
from edgedet.models import build
from edgedet.models.batch_norm import fold_batch_norm, unfold_batch_norm
from edgedet.models.darknet_networks import NETWORKS
from edgedet.models.darknet_words import Add
from edgedet.models.ssd import STYLES
from edgedet.preprocess import normalise, to_network_pixels
from edgedet.quantization.ranges import attach_ranges
from edgedet.quantization.simulate import Simulation, insert, ranges_in
from edgedet.spec import DetectorSpec
from edgedet.training.checkpoint import load_checkpoint
from edgedet.training.engine import arithmetic, launch
from edgedet.training.fast_cpu import accelerate
from edgedet.training.imitation import ImitatingStep
from edgedet.training.loop import CHECKPOINT, MODEL, Run, check_out, fitting_classes, labelled
from edgedet.training.step import TrainStep

_CALIBRATION_BATCH = 8
_MOBILE_BACKBONES = ("mobilenet_v1", "mobilenet_v1_relu", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")


def run_qat(
    config: Config, data: Path, out: Path, *, trained: Path, init: str | None, device: str, resume: bool
) -> Path:
    """What `edgedet.training.train` documents, from a trained model.pt.

    Args:
        config: its `qat` says what is different from training.

    Raises:
        EdgedetError: the model cannot be tuned, is not of this configuration, or what `train` raises.
    """
    check_out(out, resume)
    if init:
        raise ConfigError("--init and --qat each say where the weights come from", "Leave --init out.")
    config = config.for_qat()
    with arithmetic(config.training):
        fabric = launch(config.training, device)
        checkpoint = load_checkpoint(out / CHECKPOINT, config) if resume else None
        model, spec = (build(checkpoint.spec).eval(), checkpoint.spec) if checkpoint else load_model(trained)
        refuse_other_model(config, spec, trained)
        train_set = fitting_classes(
            labelled(read_dataset(data, config.training.train_split)), spec, _other_classes(data, trained, spec)
        )
        val_set = read_dataset(data, config.training.val_split) if config.training.val_split else None
        teacher = teacher_of(trained, spec) if config.qat.imitation else None
        simulated = simulation(model, spec, config)
        if not checkpoint:
            simulated.observe(calibration_batches(train_set, spec, config.qat.calibration_images))
        return QatRun(fabric, config, simulated, teacher, spec, train_set, val_set, out, checkpoint).finish()


def teacher_of(trained: Path, spec: DetectorSpec) -> nn.Module:
    """The float network to imitate.

    Raises:
        EdgedetError: it cannot be read, or is not of the run that is resumed.
    """
    model, own = load_model(trained)
    if own != spec:
        raise ConfigError(
            f"{trained}: is not the model that the run in --out began with", "Resume with the --qat file of its start."
        )
    return fold_batch_norm(model.eval())


def simulation(model: nn.Module, spec: DetectorSpec, config: Config) -> Simulation:
    """The network with batch norm folded and quantizers, those on that int8 files have; it is changed in place."""
    network = fold_batch_norm(model)
    if config.training.fast_kernels:
        accelerate(network)
    simulated = insert(network, spec, config.qat.observer)
    simulated.choose()
    return simulated


def calibration_batches(dataset: Dataset, spec: DetectorSpec, images: int) -> Iterator[Tensor]:
    """Normalised images, evenly spread over a data set, as every runner would see them."""
    samples = dataset.samples[:: max(1, len(dataset.samples) // images)][:images]
    for start in range(0, len(samples), _CALIBRATION_BATCH):
        some = samples[start : start + _CALIBRATION_BATCH]
        pixels = torch.stack([to_network_pixels(load_image(sample.image_path), spec.input) for sample in some])
        yield normalise(pixels, spec.input)


class QatRun(Run):
    """A run on a network with quantizers in it. What it validates are the detections of the int8 network.

    Args:
        teacher: the network in float, to be imitated; None to learn from the labels alone.
    """

    def __init__(
        self, fabric: Fabric, config: Config, simulated: Simulation, teacher: nn.Module | None, spec: DetectorSpec,
        *rest: Any,
    ) -> None:  # fmt: skip
        self.simulated, self.teacher = simulated, teacher
        super().__init__(fabric, config, simulated.network, spec, *rest)
        self._observing = False

    def _make_step(self, model: nn.Module) -> TrainStep:
        parts = (self.fabric, model, self.spec, self.config)
        if self.teacher is None:
            return TrainStep(*parts)
        return ImitatingStep(*parts, teacher=self.teacher, share=self.config.qat.imitation)

    def _before_step(self, share: float) -> None:
        wanted = share < self.config.qat.freeze_ranges_at
        if wanted != self._observing:
            self._observing = wanted
            self.simulated.set_observing(wanted)

    def _save_model(self) -> None:
        """The weights in the network's own shape, so that the file loads like any other, and the ranges."""
        averaged = self.step.average.model
        network = unfold_batch_norm(averaged, build(self.spec))
        attach_ranges(network, ranges_in(averaged, self.simulated.places))
        save_model(self.out / MODEL, network, self.spec)


def refuse_other_model(config: Config, spec: DetectorSpec, trained: Path) -> None:
    """What QAT cannot tune.

    Raises:
        ConfigError: a network of a kind that it does not know, or not the one of the configuration.
    """
    head = spec.network.head
    known = head in STYLES and spec.network.backbone in _MOBILE_BACKBONES
    if head in NETWORKS or head == "darknet":
        from edgedet.models.darknet import layers_of

        known = not any(isinstance(row, Add) for row in layers_of(spec.network))
    if not known:
        raise ConfigError(
            f"{trained}: --qat does not know the network {head} {spec.network.backbone}".rstrip(),
            "It tunes SSD and SSDLite on MobileNets, and YOLO without shortcuts; others: export with --calibration.",
        )
    for part in ("network", "input", "coding"):
        ours, theirs = getattr(config, part), getattr(spec, part)
        if ours != theirs:
            raise ConfigError(
                f"{trained}: its {part} is not the configuration's ({_difference(theirs, ours)})",
                "Give the configuration and the --set options that the model was trained with.",
            )


def _difference(theirs: Any, ours: Any) -> str:
    """The first field that differs."""
    name = next(name for name in vars(ours) if getattr(theirs, name) != getattr(ours, name))
    return f"{name} {getattr(theirs, name)!r} there, {getattr(ours, name)!r} here"


def _other_classes(data: Path, trained: Path, spec: DetectorSpec) -> ConfigError:
    names = ", ".join(spec.class_names)
    return ConfigError(f"{data}: its classes are not those of {trained} ({names})", "Give the data it was trained on.")
