"""How fast training is, what memory it takes and where the time goes.

    python -m edgedet.benchmarks.training_speed --data DATA [--config NAME] [--set FIELD=VALUE ...] [--json FILE]

Runs the steps of `edgedet train` (the same loader, network, loss, optimiser and weight average) with a clock between
their parts. To see what the faster CPU kernels bring, add --set training.fast_kernels=false.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from edgedet.benchmarks.environment import LoadWatch, peak_memory_bytes, read_environment
from edgedet.config import Config, load_config, make_spec
from edgedet.data import read_dataset
from edgedet.errors import EdgedetError
from edgedet.files import write_json
from edgedet.models import build
from edgedet.progress import track
from edgedet.training.anchors import boxes_wh_px
from edgedet.training.engine import make_fabric
from edgedet.training.fast_cpu import keep_freed_memory
from edgedet.training.loop import make_loader
from edgedet.training.step import TrainStep
from edgedet.training.targets import Targets

SCHEMA = 1
TARGET_IMAGES_PER_S, TARGET_BYTES = 14, 4e9  # SSDLite MobileNetV2 at 320 px, batch 16, two cores
PARTS = ("wait for data", "forward", "loss", "backward", "optimiser and average")
T = TypeVar("T")


@dataclass(frozen=True)
class TrainingSpeed:
    """What was measured.

    Attributes:
        images_per_s: over all measured steps, everything included.
        step_ms: for each part its milliseconds in every measured step.
        peak_memory_bytes: the most this process held, and what its loaders hold besides the images that all share.
    """

    config: str
    batch_size: int
    precision: str
    threads: int
    workers: int
    images_per_s: float
    step_ms: dict[str, list[float]]
    peak_memory_bytes: int

    def mean_ms(self, part: str) -> float:
        return sum(self.step_ms[part]) / len(self.step_ms[part])


def measure_training(config: Config, data: Path, steps: int, warmup: int, device: str = "auto") -> TrainingSpeed:
    """Train a new network for `warmup` steps unmeasured and then `steps` measured.

    Raises:
        EdgedetError: configuration or data cannot be used.
    """
    if config.training.fast_kernels:
        keep_freed_memory()
    dataset = read_dataset(data, config.training.train_split)
    fabric = make_fabric(config.training, device)
    fabric.launch()
    torch.manual_seed(config.training.seed)
    spec = make_spec(config, dataset.class_names, boxes_wh_px(dataset, config.input))
    step = TrainStep(fabric, build(spec), spec, config)
    loader, order = make_loader(config, dataset, fabric)
    batches = _endless(loader, order)
    for pixels, targets in track(islice(batches, warmup), "Warming up", total=warmup):
        step([(pixels, targets)], config.training.lr * 1e-3)
    times: dict[str, list[float]] = defaultdict(list)
    begun = time.perf_counter()
    for _ in track(range(steps), "Measuring", total=steps):
        _timed_step(step, batches, config.training.lr * 1e-3, times)
    seconds = time.perf_counter() - begun
    return TrainingSpeed(
        config=config.name,
        batch_size=order.batch_size,
        precision="bf16" if "bf16" in str(fabric._precision.precision) else "fp32",
        threads=torch.get_num_threads(),
        workers=config.training.workers,
        images_per_s=steps * order.batch_size / seconds,
        step_ms=dict(times),
        peak_memory_bytes=_peak_memory_bytes(),
    )


def _timed_step(
    step: TrainStep, batches: Iterator[tuple[Tensor, Targets]], lr: float, times: dict[str, list[float]]
) -> None:
    """One step, with the milliseconds of each part appended to `times`."""

    def clocked(part: str, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = work()
        if step.fabric.device.type == "cuda":
            torch.cuda.synchronize()
        times[part].append((time.perf_counter() - start) * 1e3)
        return result

    pixels, targets = clocked(PARTS[0], lambda: next(batches))
    raw = clocked(PARTS[1], lambda: step.forward(pixels))
    losses = clocked(PARTS[2], lambda: step.losses(raw, targets.to(step.fabric.device)))
    clocked(PARTS[3], lambda: step.backward(losses))
    clocked(PARTS[4], lambda: step.update(lr))


def _endless(loader: Any, order: Any) -> Iterator[tuple[Tensor, Targets]]:
    while True:
        yield from loader
        order.epoch += 1


def _peak_memory_bytes() -> int:
    """The most this process has held, and what its loaders hold for themselves; the images they share count once."""
    loaders = psutil.Process().children(recursive=True)
    own: int = sum(one.memory_full_info().uss for one in loaders)
    return peak_memory_bytes() + own


def _table(speed: TrainingSpeed) -> Table:
    total = sum(speed.mean_ms(part) for part in PARTS)
    table = Table(title=f"{speed.config}: batch {speed.batch_size}, {speed.precision}, {speed.threads} threads")
    table.add_column("part of a step")
    for name in ("ms", "share"):
        table.add_column(name, justify="right")
    for part in PARTS:
        table.add_row(part, f"{speed.mean_ms(part):.0f}", f"{speed.mean_ms(part) / total:.1%}")
    table.add_row("whole step", f"{total:.0f}", "")
    return table


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m edgedet.benchmarks.training_speed", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", default="ssdlite_mobilenet_v2", help="a YAML file or a bundled name")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--warmup", type=int, default=8)
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    arguments = _arguments(words)
    watch = LoadWatch()
    try:
        config = load_config(arguments.config, arguments.changes)
        speed = measure_training(config, arguments.data, arguments.steps, arguments.warmup, arguments.device)
    except EdgedetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    environment = read_environment(speed.threads, watch)
    before, after = environment.load_average_1m or (0.0, 0.0)
    console = Console()
    console.print(_table(speed))
    console.print(
        f"{speed.images_per_s:.1f} images/s (aim {TARGET_IMAGES_PER_S}), "
        f"peak memory {speed.peak_memory_bytes / 1e9:.2f} GB (aim {TARGET_BYTES / 1e9:.0f}), "
        f"{speed.workers} loader processes; load average {before:.1f} before, "
        f"{after:.1f} after",
        highlight=False,
    )
    if arguments.json:
        write_json(arguments.json, {"schema": SCHEMA, **asdict(speed), "environment": asdict(environment)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
