"""Training SSDLite MobileNetV3-Large 320 with edgedet and with torchvision's own model and loss, in turn.

    python -m edgedet.benchmarks.training_vs_torchvision --data DATA [--rounds 8] [--threads N] [--json FILE]

Both sides train the same network (3234 priors) on the same images in default settings: edgedet as `edgedet train
ssdlite_mobilenet_v3_large`, torchvision as its references/detection/train.py does for ssdlite (float32, SGD). Two
things are compared: the step alone (forward, loss, backward, optimiser) on the very same augmented batches, and the
whole with loading, where each side has its own loader: torchvision's decodes with PIL and applies the transforms of its
ssdlite preset, and its network resizes.

Each side is a process of its own, so that neither changes the other's memory or threads. They take turns, a few steps a
round, and a round's ratio compares neighbours in time; other work on the machine slows both.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import IO, Annotated, Any

import numpy as np
import typer

from edgedet.benchmarks.environment import LoadWatch, read_environment
from edgedet.errors import EdgedetError
from edgedet.files import write_json
from edgedet.progress import track

AIM = 2.5
SIDES = ("edgedet", "torchvision")
KINDS = {"step": "step alone", "whole": "with loading"}
_RESAMPLES = 2000


class Side:
    """A process that trains when it is told to, and waits in between."""

    def __init__(self, name: str, data: Path, split: str, batch: int, threads: int, workers: int) -> None:
        module = "edgedet.benchmarks.training_vs_torchvision_side"
        settings = {"data": str(data), "split": split, "batch": batch, "threads": threads, "workers": workers}
        words = [sys.executable, "-m", module, name, json.dumps(settings)]
        self.name = name
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.facts = self._answer()

    def train(self, kind: str, warm_up: int, steps: int) -> dict[str, float]:
        """Seconds and CPU seconds a step, the mean of `steps` after `warm_up` unmeasured ones."""
        stdin: IO[str] | None = self.process.stdin
        assert stdin is not None
        stdin.write(json.dumps({"kind": kind, "warm_up": warm_up, "steps": steps}) + "\n")
        stdin.flush()
        return self._answer()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise EdgedetError(f"the process that trains with {self.name} ended", "Its message stands above.")
        answer: dict[str, Any] = json.loads(line)
        return answer


def compare(sides: list[Side], rounds: int, steps: int, warm_up: int) -> dict[str, list[dict[str, Any]]]:
    """For each kind its rounds: {side: {"seconds": ..., "cpu_seconds": ...}}; every other round in reversed order."""
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for index in track(range(rounds), "Rounds", total=rounds):
        order = sides if index % 2 else sides[::-1]
        for kind, results in found.items():
            results.append({side.name: side.train(kind, warm_up, steps) for side in order})
    return found


def ratio(rounds: list[dict[str, Any]], quantity: str) -> tuple[float, float, float]:
    """Median over rounds of torchvision's time over edgedet's, and its 95 % interval (percentile bootstrap)."""
    ratios = np.array([one["torchvision"][quantity] / one["edgedet"][quantity] for one in rounds])
    random = np.random.default_rng(0)
    medians = np.median(random.choice(ratios, (_RESAMPLES, len(ratios))), axis=1)
    low, high = np.quantile(medians, (0.025, 0.975))
    return float(np.median(ratios)), float(low), float(high)


def summary(rounds: list[dict[str, Any]], batch: int) -> dict[str, Any]:
    """Medians of one kind."""
    result: dict[str, Any] = {}
    for side in SIDES:
        seconds = float(np.median([one[side]["seconds"] for one in rounds]))
        cpu_seconds = float(np.median([one[side]["cpu_seconds"] for one in rounds]))
        result[side] = {"step_s": seconds, "cpu_s": cpu_seconds, "images_per_s": batch / seconds}
    for quantity in ("seconds", "cpu_seconds"):
        middle, low, high = ratio(rounds, quantity)
        result[f"ratio_{quantity}"] = {"median": middle, "low": low, "high": high}
    return result


def main(
    data: Annotated[Path, typer.Option(help="The data set: a folder or a YAML file.")],
    split: Annotated[str, typer.Option(help="Split to train on.")] = "trainval",
    batch: Annotated[int, typer.Option(min=1, help="Images a step.")] = 16,
    threads: Annotated[int, typer.Option(min=0, help="Threads of each side; 0 for torch's default.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Loader processes of each side.")] = 1,
    rounds: Annotated[int, typer.Option(min=3, help="Turns of each side.")] = 8,
    steps: Annotated[int, typer.Option(min=1, help="Measured steps a turn.")] = 2,
    warm_up: Annotated[int, typer.Option(min=0, help="Unmeasured steps before them, which empty the queue.")] = 2,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write all rounds.")] = None,
) -> None:
    """Compare the speed of training with that of torchvision's reference."""
    from rich.console import Console

    watch = LoadWatch()
    sides = [Side(name, data, split, batch, threads, workers) for name in SIDES]
    try:
        found = compare(sides, rounds, steps, warm_up)
    finally:
        for side in sides:
            side.close()
    results = {kind: summary(one, batch) for kind, one in found.items()}
    environment = read_environment(threads or None, watch)
    facts = {side.name: side.facts for side in sides}
    console = Console()
    console.print(_table(results, facts, batch))
    console.print(f"other work kept {environment.other_cores_busy} cores busy (both sides counted in)", highlight=False)
    if json_file is not None:
        from dataclasses import asdict

        content = {"schema": 1, "batch": batch, "sides": facts, "results": results, "rounds": found}
        write_json(json_file, {**content, "environment": asdict(environment)})


def _table(results: dict[str, Any], facts: dict[str, Any], batch: int) -> Any:
    from rich.table import Table

    told = "; ".join(
        f"{name}: {f['priors']} priors, {f['precision']}, {f['threads']} threads" for name, f in facts.items()
    )
    table = Table(title=f"Batch {batch}. {told}", title_justify="left")
    table.add_column("")
    for column in ("edgedet ms", "torchvision ms", "ratio (95 %)", f"CPU time ratio, aim {AIM}"):
        table.add_column(column, justify="right")
    for kind, one in results.items():
        times = [f"{one[side]['step_s'] * 1e3:.0f}" for side in SIDES]
        ratios = [one[f"ratio_{q}"] for q in ("seconds", "cpu_seconds")]
        table.add_row(KINDS[kind], *times, *(f"{r['median']:.2f} ({r['low']:.2f}-{r['high']:.2f})" for r in ratios))
    return table


if __name__ == "__main__":
    try:
        typer.run(main)
    except EdgedetError as error:
        raise SystemExit(f"error: {error}") from error
