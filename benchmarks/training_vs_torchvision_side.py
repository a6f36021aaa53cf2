"""One side of edgedet.benchmarks.training_vs_torchvision: trains for as many steps as each line on stdin asks."""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import psutil
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from edgedet.config import Config, load_config, make_spec
from edgedet.data import read_dataset
from edgedet.data.types import Dataset, Sample
from edgedet.models import build
from edgedet.training.anchors import boxes_wh_px
from edgedet.training.engine import make_fabric
from edgedet.training.fast_cpu import keep_freed_memory
from edgedet.training.loop import make_loader
from edgedet.training.step import TrainStep
from edgedet.training.targets import Targets

CONFIG = "ssdlite_mobilenet_v3_large"
_PREPARED = 4  # batches that the step alone is measured on
_LEARNING_RATE = 1e-4  # small: untrained networks shall not diverge, and it changes no time


@dataclass(frozen=True)
class Trainer:
    """What a side can do.

    Attributes:
        step: learn from a batch of its own form.
        prepared: a few batches that lie ready; batches: from the side's own loader, without end.
        facts: for the table.
    """

    step: Callable[[Any], None]
    prepared: list[Any]
    batches: Iterator[Any]
    facts: dict[str, Any]


def edgedet_side(config: Config, dataset: Dataset) -> Trainer:
    keep_freed_memory()
    fabric = make_fabric(config.training, "cpu")
    spec = make_spec(config, dataset.class_names, boxes_wh_px(dataset, config.input))
    step = TrainStep(fabric, build(spec), spec, config)

    def train(batch: tuple[Tensor, Targets]) -> None:
        pixels, targets = batch
        step.backward(step.losses(step.forward(pixels), targets))
        step.update(_LEARNING_RATE)

    loader, order = make_loader(config, dataset, fabric)
    precision = str(fabric._precision.precision)
    return Trainer(train, same_batches(config, dataset), _endless(loader, order), _facts(spec.num_priors, precision))


def torchvision_side(config: Config, dataset: Dataset) -> Trainer:
    """As torchvision's references/detection/train.py trains ssdlite320_mobilenet_v3_large."""
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    num_classes = len(dataset.class_names) + 1
    model = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=num_classes).train()
    optimiser = torch.optim.SGD(model.parameters(), lr=_LEARNING_RATE, momentum=0.9, weight_decay=4e-5)

    def train(batch: tuple[list[Tensor], list[dict[str, Tensor]]]) -> None:
        losses = sum(model(*batch).values())
        optimiser.zero_grad()
        losses.backward()
        optimiser.step()

    prepared = [_torchvision_batch(config, *batch) for batch in same_batches(config, dataset)]
    training = config.training
    loader: DataLoader[Any] = DataLoader(
        ReferenceImages(dataset), training.batch_size, shuffle=True, drop_last=True, num_workers=training.workers,
        collate_fn=_columns, persistent_workers=training.workers > 0,
    )  # fmt: skip
    return Trainer(train, prepared, _endless(loader), _facts(_priors_of(model), "32-true"))


def same_batches(config: Config, dataset: Dataset) -> list[tuple[Tensor, Targets]]:
    """The first augmented batches of edgedet's loader: the same on both sides, since the seed decides them."""
    changed = config.model_copy(update={"training": config.training.model_copy(update={"workers": 0, "cache_mb": 0})})
    loader, _ = make_loader(changed, dataset, make_fabric(config.training, "cpu"))
    return [batch for _, batch in zip(range(_PREPARED), loader, strict=False)]


class ReferenceImages(TorchDataset[tuple[Tensor, dict[str, Tensor]]]):
    """torchvision's loading: PIL's decoder, and the transforms of references/detection/presets.py for "ssdlite"."""

    def __init__(self, dataset: Dataset) -> None:
        from torchvision.transforms import v2

        self.samples = [s for s in dataset.samples if len(s.objects)]
        self.transform = v2.Compose([
            v2.RandomIoUCrop(), v2.RandomHorizontalFlip(), v2.ToImage(), v2.ToDtype(torch.float, scale=True),
            v2.SanitizeBoundingBoxes(), v2.ToPureTensor(),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        from torchvision import tv_tensors

        sample: Sample = self.samples[index]
        image = Image.open(sample.image_path).convert("RGB")
        corners = torch.from_numpy(sample.objects.boxes_xyxy_px)
        size = (sample.height_px, sample.width_px)
        boxes = tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=size)
        found: tuple[Tensor, dict[str, Tensor]] = self.transform(
            image, {"boxes": boxes, "labels": torch.from_numpy(sample.objects.class_ids) + 1}
        )
        return found


def _columns(images: list[tuple[Tensor, dict[str, Tensor]]]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    return [image for image, _ in images], [target for _, target in images]


def _torchvision_batch(
    config: Config, pixels: Tensor, targets: Targets
) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Images 0..1 and corners in pixels; labels from 1."""
    size = torch.tensor([config.input.width, config.input.height] * 2)
    objects = []
    for boxes, class_ids, used in zip(targets.boxes_xyxy_unit, targets.class_ids, targets.trained_on, strict=True):
        objects.append({"boxes": boxes[used] * size, "labels": class_ids[used] + 1})
    return [image.float() / 255 for image in pixels], objects


def _priors_of(model: nn.Module) -> int:
    model.eval()
    with torch.no_grad():
        maps = list(model.backbone(torch.zeros(1, 3, 320, 320)).values())  # type: ignore[operator]
        count = int(model.head(maps)["bbox_regression"].shape[1])  # type: ignore[operator]
    model.train()
    return count


def _facts(priors: int, precision: str) -> dict[str, Any]:
    return {"priors": priors, "precision": precision, "threads": torch.get_num_threads()}


def _endless(loader: Any, order: Any = None) -> Iterator[Any]:
    while True:
        yield from loader
        if order is not None:
            order.epoch += 1


def _run(trainer: Trainer, batches: Iterator[Any], warm_up: int, steps: int) -> dict[str, float]:
    for _ in range(warm_up):
        trainer.step(next(batches))
    begun, cpu_begun = time.perf_counter(), _cpu_seconds()
    for _ in range(steps):
        trainer.step(next(batches))
    seconds, cpu_seconds = time.perf_counter() - begun, _cpu_seconds() - cpu_begun
    return {"seconds": seconds / steps, "cpu_seconds": cpu_seconds / steps}


def _cpu_seconds() -> float:
    """Of this process and its loaders."""
    own = psutil.Process()
    return sum(sum(one.cpu_times()[:2]) for one in (own, *own.children(recursive=True)))


def main(side: str, settings: dict[str, Any]) -> None:
    warnings.filterwarnings("ignore", message="'has_cuda'|.*pin_memory")
    if settings["threads"]:
        torch.set_num_threads(settings["threads"])
    torch.manual_seed(0)
    changes = [f"training.{name}={value}" for name, value in (
        ("train_split", settings["split"]), ("batch_size", settings["batch"]), ("workers", settings["workers"]),
    )]  # fmt: skip
    config = load_config(CONFIG, changes)
    dataset = read_dataset(Path(settings["data"]), settings["split"])
    trainer = {"edgedet": edgedet_side, "torchvision": torchvision_side}[side](config, dataset)
    sources = {"step": cycle(trainer.prepared), "whole": trainer.batches}
    print(json.dumps(trainer.facts), flush=True)
    for line in sys.stdin:
        wanted = json.loads(line)
        print(json.dumps(_run(trainer, sources[wanted["kind"]], wanted["warm_up"], wanted["steps"])), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
