"""How much faster files of other precisions are than the float file: all in turns in one run, on real images.

    python -m edgedet.benchmarks.precision_speed float.tflite int8.tflite ... --data my_photos [--threads 1]

The first file is what the others are compared with. Pictures are resized before; what is timed is the whole file, its
suppression included. In a turn a file runs several times, and the first run, which finds the caches full of another
file, does not count: an app runs one file again and again. A turn has the median of the others as its time; a ratio is
that of the turns of one round (Hodges-Lehmann estimate with its 95 % interval).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from torch import Tensor

from edgedet.benchmarks.environment import LoadWatch, read_environment
from edgedet.benchmarks.peers import Ratio, ratio
from edgedet.data import load_image, read_dataset
from edgedet.errors import ConfigError, EdgedetError
from edgedet.files import write_json
from edgedet.formats import load
from edgedet.preprocess import to_network_pixels
from edgedet.progress import track
from edgedet.runner import Runner

SCHEMA = 1
_RUNS, _WARM_UP = 5, 3


@dataclass(frozen=True)
class Speed:
    """Of one file: `speed_up` is the first file's time over its own."""

    artifact: str
    precision: str
    runtime: str
    bytes: int
    samples_ms: tuple[float, ...]
    speed_up: Ratio

    @property
    def p50_ms(self) -> float:
        return statistics.median(self.samples_ms)


def speeds(files: list[Path], images: list[Path], threads: int, rounds: int) -> list[Speed]:
    """Time all files in turns.

    Args:
        files: exported files of one network; the first is the reference.
        images: shown one after the other, the same one to every file of a round.

    Raises:
        ConfigError: files that want pictures of different sizes.
    """
    runners = [load(path, threads) for path in files]
    inputs = {(runner.spec.input.height, runner.spec.input.width) for runner in runners}
    if len(inputs) > 1:
        raise ConfigError(f"the files take pictures of different sizes: {sorted(inputs)}", "Give one network's files.")
    pixels = [to_network_pixels(load_image(image), runners[0].spec.input) for image in images]
    turns = {str(path): _Turns(runner, pixels) for path, runner in zip(files, runners, strict=True)}
    samples_ms = take_turns(turns, rounds)
    reference = samples_ms[str(files[0])]
    return [
        Speed(str(path), runner.precision, runner.runtime, path.stat().st_size, tuple(own), ratio(reference, own))
        for path, runner, own in zip(files, runners, samples_ms.values(), strict=True)
    ]


def take_turns(turns: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each turn; in every other round the order is reversed."""
    samples_ms: dict[str, list[float]] = {name: [] for name in turns}
    for number in track(range(-_WARM_UP, rounds), "measure"):
        for name in list(turns) if number % 2 else reversed(list(turns)):
            ms = turns[name]()
            if number >= 0:
                samples_ms[name].append(ms)
    return samples_ms


class _Turns:
    """Runs a file on the next images; gives the median time of all runs but the first, in milliseconds."""

    def __init__(self, runner: Runner, pixels: list[Tensor]) -> None:
        self.runner, self.pixels, self.calls = runner, pixels, 0

    def __call__(self) -> float:
        times_ms = []
        for _ in range(1 + _RUNS):
            self.calls += 1
            image = self.pixels[self.calls % len(self.pixels)]
            start = time.perf_counter()
            self.runner.infer(image)
            times_ms.append((time.perf_counter() - start) * 1e3)
        return statistics.median(times_ms[1:])


def main(
    files: Annotated[list[Path], typer.Argument(metavar="FLOAT FILE...", help="Exported files, the float one first.")],
    data: Annotated[Path, typer.Option(help="The data set: a folder or a YAML file.")],
    split: Annotated[str, typer.Option(help="Split whose images are shown.")] = "test",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
    rounds: Annotated[int, typer.Option(min=20, help="Turns of each file.")] = 60,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write all samples as JSON.")] = None,
) -> None:
    """Compare the speed of precisions."""
    from rich.console import Console
    from rich.table import Column, Table

    watch = LoadWatch()
    rows = speeds(files, [sample.image_path for sample in read_dataset(data, split).samples], threads, rounds)
    names = ("file", "precision", "MB", "p50 ms", "times as fast (95 %)")
    table = Table(
        *(Column(name, justify="right" if k > 1 else "left", overflow="fold") for k, name in enumerate(names))
    )
    for row in rows:
        numbers = (f"{row.bytes / 1e6:.2f}", f"{row.p50_ms:.2f}", str(row.speed_up))
        table.add_row(Path(row.artifact).name, row.precision, *numbers)
    Console().print(table)
    if json is not None:
        environment = asdict(read_environment(None, watch))
        value = {"schema": SCHEMA, "threads": threads, "rows": [asdict(row) for row in rows]}
        write_json(json, {**value, "environment": environment})


if __name__ == "__main__":
    try:
        typer.run(main)
    except EdgedetError as error:
        raise SystemExit(f"error: {error}") from error
