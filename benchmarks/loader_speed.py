"""How many training images one loader process decodes and augments in a second, for each recipe of augmentation.

    python -m edgedet.benchmarks.loader_speed --data DATA [--config NAME] [--set FIELD=VALUE ...] [--json FILE]

Does what a loader process of `edgedet train` does for an image, in this process and on one thread: once from the files,
once from decoded pictures in memory. Images per second of CPU time are what a core can do that has nothing else to do;
images per second by the clock are less where other programs run.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from edgedet.benchmarks.environment import LoadWatch, read_environment
from edgedet.config import AugmentConfig, Config, load_config
from edgedet.data import read_dataset
from edgedet.data.types import Dataset
from edgedet.errors import EdgedetError
from edgedet.files import write_json
from edgedet.progress import track
from edgedet.training.augment import Augment
from edgedet.training.images import TrainingImages, one_thread
from edgedet.training.sampler import SampleKey

SCHEMA = 1
TARGET_IMAGES_PER_S = 60  # one process, 320 px, from JPEG files of 640 x 480
_WARMUP = 4
_CACHE_MB = 1 << 20  # holds every picture that is measured


@dataclass(frozen=True)
class LoaderSpeed:
    """What was measured of one recipe.

    Attributes:
        source: "files", decoded each time, or "memory".
        images_per_s: by the clock.
        images_per_cpu_s: by the time this process had a core.
    """

    recipe: str
    source: str
    images: int
    images_per_s: float
    images_per_cpu_s: float


def measure_loading(config: Config, data: Path, images: int) -> list[LoaderSpeed]:
    """The configuration's recipe, then each recipe in its default strengths.

    Raises:
        EdgedetError: the data cannot be used.
    """
    dataset = read_dataset(data, config.training.train_split)
    dataset = replace(dataset, samples=dataset.samples[: images + _WARMUP])
    return [
        _measure(name, augment, config, dataset, cached)
        for name, augment in _recipes(config)
        for cached in (False, True)
    ]


def _recipes(config: Config) -> Iterator[tuple[str, AugmentConfig]]:
    yield f"{config.augment.recipe} of {config.name}", config.augment
    yield "ssd", AugmentConfig()
    yield "yolo", AugmentConfig(recipe="yolo")
    yield "yolo, all mosaics", AugmentConfig(recipe="yolo", mosaic_probability=1)


def _measure(name: str, augment: AugmentConfig, config: Config, dataset: Dataset, cached: bool) -> LoaderSpeed:
    loaded = TrainingImages(dataset, Augment(augment, config.input), config.training.seed, _CACHE_MB if cached else 0)
    count = max(1, len(loaded) - _WARMUP)
    with one_thread():
        for index in range(min(_WARMUP, len(loaded))):
            loaded[SampleKey(0, index)]
        clock, cpu = time.perf_counter(), time.process_time()
        for index in track(range(count), f"{name}, {'memory' if cached else 'files'}", total=count):
            loaded[SampleKey(1, index)]
        seconds, cpu_seconds = time.perf_counter() - clock, time.process_time() - cpu
    return LoaderSpeed(name, "memory" if cached else "files", count, count / seconds, count / cpu_seconds)


def _table(speeds: Sequence[LoaderSpeed], config: Config) -> Table:
    title = f"one loader process at {config.input.width}x{config.input.height} px, images per second"
    table = Table(title=title)
    table.add_column("recipe")
    table.add_column("from")
    for heading in ("by CPU time", "by the clock"):
        table.add_column(heading, justify="right")
    for speed in speeds:
        table.add_row(speed.recipe, speed.source, f"{speed.images_per_cpu_s:.0f}", f"{speed.images_per_s:.0f}")
    return table


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m edgedet.benchmarks.loader_speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", default="ssdlite_mobilenet_v2", help="a YAML file or a bundled name")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--images", type=int, default=200, help="at most so many of the training split")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    arguments = _arguments(words)
    watch = LoadWatch()
    try:
        config = load_config(arguments.config, arguments.changes)
        speeds = measure_loading(config, arguments.data, arguments.images)
    except EdgedetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    environment = read_environment(torch.get_num_threads(), watch)
    console = Console()
    console.print(_table(speeds, config))
    console.print(f"aim: {TARGET_IMAGES_PER_S} from JPEG files of 640 x 480 at 320 px", highlight=False)
    if arguments.json:
        rows = [asdict(speed) for speed in speeds]
        write_json(arguments.json, {"schema": SCHEMA, "speeds": rows, "environment": asdict(environment)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
