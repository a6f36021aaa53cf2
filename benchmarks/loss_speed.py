"""What part of a training step every loss takes, its matching and its gradients included.

    python -m edgedet.benchmarks.loss_speed --data DATA [--config NAME] [--set FIELD=VALUE ...] [--json FILE]

Each loss gets the priors of one network (3234 of SSDLite at 320 px unless another is named) and the objects of real
batches; the step is that of the same network with its own loss, without the wait for data. Both are measured in CPU
time over all threads, which other programs disturb little.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

from edgedet.benchmarks.environment import LoadWatch, read_environment
from edgedet.config import Config, LossConfig, load_config, make_spec
from edgedet.data import read_dataset
from edgedet.decode import RawHeads
from edgedet.errors import EdgedetError
from edgedet.files import write_json
from edgedet.models import build
from edgedet.progress import track
from edgedet.spec import CodingSpec, DetectorSpec
from edgedet.training.anchors import boxes_wh_px
from edgedet.training.engine import make_fabric
from edgedet.training.fast_cpu import keep_freed_memory
from edgedet.training.loop import make_loader
from edgedet.training.losses import make_loss
from edgedet.training.sampler import BatchOrder
from edgedet.training.step import Batch, TrainStep

SCHEMA = 1
TARGET_SHARE = 0.15
_ONES = (1.0, 1.0, 1.0, 1.0)
# What to call it, the coding, and the fields of the loss.
CASES: tuple[tuple[str, CodingSpec, dict[str, object]], ...] = (
    ("SSD", CodingSpec("ssd"), {}),
    ("SSD, GIoU", CodingSpec("ssd"), {"box": "giou"}),
    ("SSD, CIoU", CodingSpec("ssd"), {"box": "ciou"}),
    ("SSD, YOLO's matching", CodingSpec("ssd"), {"matching": "yolo"}),
    ("RetinaNet", CodingSpec("ssd", score="sigmoid"), {}),
    ("RetinaNet, GIoU", CodingSpec("ssd", score="sigmoid"), {"box": "giou"}),
    ("YOLOv2", CodingSpec("yolo", _ONES, score="obj_times_softmax"), {}),
    ("YOLOv3", CodingSpec("yolo", _ONES, score="obj_times_cls"), {}),
    ("YOLOv3, GIoU, IoU-aware", CodingSpec("yolo", _ONES, score="obj_times_cls"), {"box": "giou", "iou_objectness": 1}),
    ("YOLOv3, CIoU", CodingSpec("yolo", _ONES, score="obj_times_cls"), {"box": "ciou"}),
)


@dataclass(frozen=True)
class LossSpeed:
    """What was measured.

    Attributes:
        step_cpu_ms: forward, loss, backward and update of the configuration as it is; the median of all steps.
        loss_cpu_ms: for each name of CASES the loss and its gradient with respect to the heads; medians.
    """

    config: str
    batch_size: int
    priors: int
    objects_per_image: float
    step_cpu_ms: float
    loss_cpu_ms: dict[str, float]


def measure_losses(config: Config, data: Path, steps: int, repeats: int) -> LossSpeed:
    """Measure a training step, then every loss on the same batches.

    Raises:
        EdgedetError: configuration or data cannot be used.
    """
    if config.training.fast_kernels:
        keep_freed_memory()
    dataset = read_dataset(data, config.training.train_split)
    fabric = make_fabric(config.training, "cpu")
    fabric.launch()
    torch.manual_seed(config.training.seed)
    spec = make_spec(config, dataset.class_names, boxes_wh_px(dataset, config.input))
    step = TrainStep(fabric, build(spec), spec, config)
    loader, order = make_loader(config, dataset, fabric)
    batches: list[Batch] = list(islice(_endless(loader, order), steps + 1))
    lr = config.training.lr * 1e-3
    step([batches[0]], lr)
    times = [_cpu_ms(lambda batch=batch: step([batch], lr)) for batch in track(batches[1:], "Steps", total=steps)]  # type: ignore[misc]
    losses = {
        name: _loss_ms(replace(spec, coding=coding), LossConfig.model_validate(fields), batches, repeats)
        for name, coding, fields in track(CASES, "Losses", total=len(CASES))
    }
    objects = sum(float(targets.trained_on.sum()) for _, targets in batches) / (len(batches) * order.batch_size)
    return LossSpeed(config.name, order.batch_size, spec.num_priors, objects, median(times), losses)


def _loss_ms(spec: DetectorSpec, config: LossConfig, batches: Sequence[Batch], repeats: int) -> float:
    loss = make_loss(spec, config)
    batch_size = len(batches[0][0])
    codes = (torch.randn(batch_size, spec.num_priors, 4) * 0.3).requires_grad_()
    logits = torch.randn(batch_size, spec.num_priors, spec.num_logits).requires_grad_()

    def run(batch: Batch) -> None:
        loss(RawHeads(codes, logits), batch[1]).total.backward()

    run(batches[0])
    return median(_cpu_ms(lambda batch=batch: run(batch)) for _ in range(repeats) for batch in batches)  # type: ignore[misc]


def _cpu_ms(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return (time.process_time() - start) * 1e3


def _endless(loader: DataLoader[Batch], order: BatchOrder) -> Iterator[Batch]:
    while True:
        yield from loader
        order.epoch += 1


def _table(speed: LossSpeed) -> Table:
    what = f"{speed.config}: batch {speed.batch_size}, {speed.priors} priors"
    table = Table(title=f"{what}, {speed.objects_per_image:.0f} objects an image")
    table.add_column("loss, matching and gradient")
    for name in ("CPU ms", "of a step"):
        table.add_column(name, justify="right")
    for name, milliseconds in speed.loss_cpu_ms.items():
        table.add_row(name, f"{milliseconds:.0f}", f"{milliseconds / speed.step_cpu_ms:.1%}")
    table.add_row("whole step", f"{speed.step_cpu_ms:.0f}", "")
    return table


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m edgedet.benchmarks.loss_speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", default="ssdlite_mobilenet_v2", help="a YAML file or a bundled name")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3, help="of every loss on every batch")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    arguments = _arguments(words)
    watch = LoadWatch()
    try:
        config = load_config(arguments.config, arguments.changes)
        speed = measure_losses(config, arguments.data, arguments.steps, arguments.repeats)
    except EdgedetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    environment = read_environment(torch.get_num_threads(), watch)
    console = Console()
    console.print(_table(speed))
    console.print(f"aim: at most {TARGET_SHARE:.0%}", highlight=False)
    if arguments.json:
        write_json(arguments.json, {"schema": SCHEMA, **asdict(speed), "environment": asdict(environment)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
