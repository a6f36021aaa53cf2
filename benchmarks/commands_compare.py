"""`edgedet compare`: which of two files is faster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgedet.benchmarks.termination import cleaning_up_on_sigterm

if TYPE_CHECKING:
    from edgedet.benchmarks.compare import Comparison


@cleaning_up_on_sigterm()
def compare_command(
    a: Path = typer.Argument(..., metavar="A", help="A model file."),
    b: Path = typer.Argument(..., metavar="B", help="Another one; the verdict is about it."),
    device: str = typer.Option("host", "--device", help="Where; one that can keep two files loaded."),
    threads: int | None = typer.Option(None, "--threads", min=1, help="CPU threads; default: the runtime's choice."),
    cores: str | None = typer.Option(None, "--cores", metavar="0,1", help="Pin the processes to these cores."),
    data: Path | None = typer.Option(None, "--data", help="Data set whose pictures are shown to the models."),
    split: str = typer.Option("test", "--split", help="Split of --data: train, val, trainval or test."),
    images: Path | None = typer.Option(None, "--images", metavar="FOLDER", help="Or a folder of pictures."),
    max_runs: int = typer.Option(400, "--max-runs", min=32, help="At most so many runs of both files together."),
    seed: int | None = typer.Option(None, "--seed", help="Of the lot that decides who runs first; default: a new one."),
    json: Path | None = typer.Option(None, "--json", metavar="FILE", help="Also write all samples as JSON."),
) -> None:
    """Say whether B is faster than A, slower, or no different, with the interval of the ratio.

    Both files stay loaded and run in pairs, in an order drawn by lot, so that a machine that slows down slows both. It
    stops as soon as it is sure. A difference of less than 1 % counts as none. The exit code is 0 whatever the verdict.

    \b
    Example:
      edgedet compare old/model.tflite new/model.tflite --threads 1 --data my_photos
    """
    from rich.console import Console

    from edgedet.benchmarks.commands_bench import choose_pictures, parse_cores
    from edgedet.benchmarks.compare import compare
    from edgedet.benchmarks.devices import open_device
    from edgedet.benchmarks.request import Request
    from edgedet.files import write_json

    request = Request(tuple(choose_pictures(data, split, images)), threads, parse_cores(cores))
    result = compare(open_device(device), a, b, request, max_runs, seed)
    if json is not None:
        write_json(json, result.to_json())
    console = Console()
    for line in lines(result):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def lines(result: Comparison) -> list[str]:
    """The verdict, what it rests on, and what disturbed it."""
    decision = result.decision
    low, high = decision.interval
    percent = f"{(decision.ratio - 1) * 100:+.1f} % time, between {(low - 1) * 100:+.1f} and {(high - 1) * 100:+.1f} %"
    head = f"B is {decision.verdict}: {percent}"
    if decision.verdict == "no difference":
        head = f"no difference: {percent}"
    rows = [(name, ready, times) for name, ready, times in zip(
        "AB", (result.a, result.b), (result.times_a, result.times_b), strict=True)]  # fmt: skip
    files = [
        f"{name}: {ready.facts.artifact}, p50 {times.p50_ms:.2f} ms, p90 {times.p90_ms:.2f} ms, {ready.runtime}"
        for name, ready, times in rows
    ]
    device, threads = result.environment.device, result.environment.threads
    told = f"{threads} threads" if threads else "each runtime's own threads"
    runs = f"{result.runs} runs in pairs, order by lot (seed {result.seed}), at most {result.max_runs}"
    noise = [f"? {check.name}: {check.meaning} (ratios B / A)" for check in result.noise if check.exceeded]
    return [head, *files, f"{runs}; {told}, {device.model}", *noise]
