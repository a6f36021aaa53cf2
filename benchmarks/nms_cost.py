"""What suppression inside a file costs: the file against the same file cut before its NMS, in turn, on real images.

    python -m edgedet.benchmarks.nms_cost run/model.onnx run/model.tflite --data my_photos [--threads 1] [--json FILE]

Both sides get pixels that were resized before; the cut file still decodes boxes and scores.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from torch import Tensor

from edgedet.benchmarks.interleaved import time_interleaved
from edgedet.data import load_image, read_dataset
from edgedet.errors import EdgedetError, ModelFileError
from edgedet.export.card import CardRunner
from edgedet.files import write_json
from edgedet.formats import load
from edgedet.preprocess import to_network_pixels


def nms_cost(path: Path, images: list[Path], threads: int, rounds: int) -> dict[str, Any]:
    """Median times in milliseconds, and the share that the suppression adds to heads and decoding.

    Args:
        path: an exported file.
        images: shown one after the other, the same one to both sides.
        threads: of the runtime.
        rounds: measured runs of each side.
    """
    runner = load(path, threads)
    if not isinstance(runner, CardRunner):
        raise ModelFileError(
            f"{path}: its suppression is not inside the file", "Give a file that `edgedet export` wrote."
        )
    pixels = [to_network_pixels(load_image(image), runner.spec.input) for image in images]
    found = [len(runner.infer(one).scores) for one in pixels]
    sides = {"whole": _Turns(runner.infer, pixels), "before_nms": _Turns(runner.before_nms(), pixels)}
    times = time_interleaved(sides, rounds)
    whole, before = times["whole"], times["before_nms"]
    return {
        "artifact": str(path),
        "runtime": runner.runtime,
        "score_min": runner.spec.nms.score_min,
        "images": len(images),
        "mean_detections": float(np.mean(found)),
        "whole_ms": whole.p50_ms,
        "before_nms_ms": before.p50_ms,
        "added_share": whole.p50_ms / before.p50_ms - 1,
        "samples_ms": {"whole": whole.samples_ms, "before_nms": before.samples_ms},
    }


class _Turns:
    """Calls a function with one image after the other."""

    def __init__(self, function: Any, pixels: list[Tensor]) -> None:
        self.function, self.pixels, self.calls = function, pixels, 0

    def __call__(self) -> object:
        self.calls += 1
        return self.function(self.pixels[self.calls % len(self.pixels)])


def main(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="Exported files.")],
    data: Annotated[Path, typer.Option(help="The data set: a folder or a YAML file.")],
    split: Annotated[str, typer.Option(help="Split whose images are shown.")] = "test",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
    rounds: Annotated[int, typer.Option(min=10, help="Runs of each side.")] = 300,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write all samples as JSON.")] = None,
) -> None:
    """Time files against themselves without their suppression."""
    from rich.console import Console
    from rich.table import Column, Table

    images = [sample.image_path for sample in read_dataset(data, split).samples]
    results = [nms_cost(path, images, threads, rounds) for path in models]
    columns = (
        Column("file", overflow="fold"),
        "runtime",
        "score_min",
        "detections per image",
        "before NMS ms",
        "whole ms",
        "NMS adds",
    )
    table = Table(*columns, title=f"{len(images)} images, {threads} thread(s), medians of {rounds} runs")
    for row in results:
        counts = (f"{row['score_min']:g}", f"{row['mean_detections']:.1f}")
        times = (f"{row['before_nms_ms']:.2f}", f"{row['whole_ms']:.2f}", f"{row['added_share']:+.1%}")
        table.add_row(row["artifact"], row["runtime"], *counts, *times)
    Console().print(table)
    if json is not None:
        write_json(json, {"schema": 1, "threads": threads, "files": results})


if __name__ == "__main__":
    try:
        typer.run(main)
    except EdgedetError as error:
        raise SystemExit(f"error: {error}") from error
