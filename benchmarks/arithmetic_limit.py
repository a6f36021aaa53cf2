"""How near exported files come to what one core can compute: their speed against a measured loop of multiply-adds.

    python -m edgedet.benchmarks.arithmetic_limit run/model.pt run/model.onnx run/model.tflite [--json FILE]

The limit is a loop of independent multiply-adds in C (see core_limits.py): of floats, and for int8 files of 8-bit
integers. Multiply-adds of a network are those of its convolutions, 2 FLOP each, whatever their type. The loop and the
network up to its raw heads run in turns on one thread; of both, the time is the lower quartile. Parts are the network's
time in the proportions of `edgedet bench --operators`; of a float .onnx file, so are convolutions by kind.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor, nn

from edgedet.benchmarks.convolution_kinds import convolution_ms, kind_of
from edgedet.benchmarks.core_limits import Loop, compile_loops
from edgedet.benchmarks.operators import attribute
from edgedet.errors import EdgedetError, NotRunError
from edgedet.export.card import CardRunner
from edgedet.export.pictures import generated_pictures
from edgedet.files import write_json
from edgedet.formats import load
from edgedet.preprocess import to_network_pixels
from edgedet.progress import track

SCHEMA = 1
AIM = 0.75
AIM_INT8 = 0.5
_LOOPS = 20_000
_QUARTILE = 25.0


@dataclass(frozen=True)
class Achieved:
    """Of one file: FLOP and GFLOP/s of the network up to its heads and of parts, and their shares of the limit."""

    artifact: str
    runtime: str
    part: str
    gflop: float
    ms: float
    limit_gflops: float
    precision: str = "fp32"

    @property
    def gflops(self) -> float:
        return self.gflop / self.ms * 1e3

    @property
    def share(self) -> float:
        return self.gflops / self.limit_gflops


def gflop_by(network: nn.Module, height: int, width: int, group: Callable[[str, nn.Conv2d], str]) -> dict[str, float]:
    """GFLOP of all convolutions of one picture, in groups by name and module."""
    found: dict[str, float] = defaultdict(float)

    def count(name: str) -> Any:
        def hook(module: nn.Conv2d, inputs: Any, output: Tensor) -> None:
            found[group(name, module)] += 2 * output.numel() * module.weight[0].numel() / 1e9

        return hook

    hooks = [
        module.register_forward_hook(count(name))
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, height, width))
    for hook in hooks:
        hook.remove()
    return dict(found)


def part_of(name: str, module: nn.Conv2d) -> str:
    """ "backbone" or "head", which is whatever lies outside the backbone."""
    return "backbone" if name.startswith(("backbone.", "extras.")) else "head"


def achieved(model: Path, files: Sequence[Path], rounds: int = 100) -> list[Achieved]:
    """Measure files of one network on one thread.

    Raises:
        NotRunError: no compiler, or a file that cannot be taken apart.
    """
    torch.set_num_threads(1)
    reference: Any = load(model)
    image = reference.spec.input
    gflop, by_kind = (gflop_by(reference.model, image.height, image.width, group) for group in (part_of, kind_of))
    pixels = to_network_pixels(generated_pictures()[0], image)
    with tempfile.TemporaryDirectory(prefix="edgedet-fma-") as scratch:
        loops = compile_loops(Path(scratch))
        return [row for path in files for row in _of_file(path, gflop, by_kind, pixels, loops, rounds)]


def _of_file(
    path: Path,
    gflop: dict[str, float],
    by_kind: dict[str, float],
    pixels: Tensor,
    loops: dict[str, dict[int, Loop]],
    rounds: int,
) -> list[Achieved]:
    runner = load(path, 1)
    assert isinstance(runner, CardRunner)
    kind = "int8" if runner.precision == "int8" else "float"
    if not loops[kind]:
        raise NotRunError(f"{path}: this core has no instructions for 8-bit dot products", "Give float files.")
    run = _up_to_heads(runner)
    times_ms: list[float] = []
    speeds: dict[int, list[float]] = {width: [] for width in loops[kind]}
    for _ in track(range(rounds), path.name, total=rounds):
        for width, loop in loops[kind].items():
            speeds[width].append(loop(_LOOPS))
        run(pixels)
        start = time.perf_counter()
        run(pixels)
        times_ms.append((time.perf_counter() - start) * 1e3)
    limit = max(float(np.percentile(values, 100 - _QUARTILE)) for values in speeds.values())
    whole_ms = float(np.percentile(times_ms, _QUARTILE))
    parts = attribute(path, threads=1, runs=rounds).parts_ms
    # A YOLO network has no backbone by name: its FLOP cannot be told apart as its times can.
    known = {name: ms for name, ms in parts.items() if name in gflop and len(gflop) > 1}
    before = sum(ms for name, ms in parts.items() if name in ("normalise", "backbone", "head", "backbone and head"))
    name, runtime = str(path), runner.runtime
    whole = Achieved(name, runtime, "network", sum(gflop.values()), whole_ms, limit, runner.precision)
    rows = [
        Achieved(name, runtime, part, gflop[part], whole_ms * ms / before, limit, runner.precision)
        for part, ms in known.items()
    ]
    return [whole, *rows, *_kinds(runner, by_kind, pixels, limit, rounds)]


def _kinds(runner: CardRunner, gflop: dict[str, float], pixels: Tensor, limit: float, rounds: int) -> list[Achieved]:
    """Convolutions by kind, where the runtime says how long each took: float .onnx files."""
    from edgedet.export.onnx_runner import OnnxRunner

    if not isinstance(runner, OnnxRunner) or runner.precision != "fp32":
        return []
    times_ms = convolution_ms(runner, pixels, rounds)
    name, runtime = str(runner.path), runner.runtime
    return [
        Achieved(name, runtime, f"{kind} convolutions", gflop[kind], times_ms[kind], limit)
        for kind in sorted(gflop, key=lambda kind: -gflop[kind])
    ]


def _up_to_heads(runner: CardRunner) -> Callable[[Tensor], object]:
    """The file cut behind its raw heads."""
    from edgedet.export.onnx_runner import OnnxRunner
    from edgedet.export.tflite_runner import BOX_CODES, LOGITS, TfliteRunner
    from edgedet.export.to_onnx import INPUT, TAPS

    if isinstance(runner, OnnxRunner):
        session = runner._cut(TAPS[:2])
        return lambda pixels: session.run(None, {INPUT: runner._feed(pixels)})
    if isinstance(runner, TfliteRunner):
        from edgedet.benchmarks.operators_tflite import _up_to

        run: Callable[[Tensor], object] = _up_to(runner, (BOX_CODES, LOGITS))
        return run
    raise NotRunError(f"{runner.path}: .onnx and .tflite files are measured", "Export the model.")


def main(
    model: Annotated[Path, typer.Argument(metavar="MODEL.pt", help="The network, for its multiply-adds.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files exported from it.")],
    rounds: Annotated[int, typer.Option(min=10, help="Runs of each.")] = 100,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write as JSON.")] = None,
) -> None:
    """Compare files with the arithmetic limit of one core."""
    from rich.console import Console
    from rich.table import Column, Table

    rows = achieved(model, files, rounds)
    names = ("file", "part", "GFLOP", "ms", "GFLOP/s", "limit", "share")
    table = Table(*(Column(name, justify="right" if k > 1 else "left") for k, name in enumerate(names)))
    for row in rows:
        numbers = (f"{row.gflop:.3f}", f"{row.ms:.2f}", f"{row.gflops:.1f}", f"{row.limit_gflops:.1f}")
        table.add_row(Path(row.artifact).name, row.part, *numbers, f"{row.share:.0%}")
    Console().print(table)
    if json is not None:
        found = [{**asdict(row), "gflops": row.gflops, "share": row.share} for row in rows]
        write_json(json, {"schema": SCHEMA, "aim": AIM, "aim_int8": AIM_INT8, "rows": found})


if __name__ == "__main__":
    try:
        typer.run(main)
    except EdgedetError as error:
        raise SystemExit(f"error: {error}") from error
