"""What suppression costs against the number of candidates: the suppression of the file itself, fed with chosen scores.

    python -m edgedet.benchmarks.nms_curve run/model.onnx run/model.tflite --data my_photos [--threads 1]
        [--json FILE] [--svg FILE]

The file is cut before its suppression. Boxes are those that the network decodes on real photographs. For each number of
candidates, the boxes that the network thinks best get scores above the file's threshold, in the network's order and for
the network's best class, and all others 0: so candidates overlap as they do in use. The .tflite decodes boxes within
its suppression, which is in its times too. Numbers are run in turns, in an order drawn by lot.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from torch import Tensor

from edgedet.benchmarks.bootstrap import percentile_intervals
from edgedet.data import load_image, read_dataset
from edgedet.errors import EdgedetError, NotRunError
from edgedet.export.artifact import file_digest
from edgedet.export.card import CardRunner
from edgedet.files import write_json, write_text
from edgedet.formats import load
from edgedet.preprocess import to_network_pixels
from edgedet.progress import track

SCHEMA = 1
COUNTS = (0, 10, 30, 100, 300, 1000, 3000, 10000)
_UNRECORDED = 1
Array = npt.NDArray[np.float32]
# Decoded boxes, or what is left to decode, and scores (1, N, C) to however many detections there are.
Suppress = Callable[[Array, Array], int]


@dataclass(frozen=True)
class CurvePoint:
    """Suppression with so many candidates: the median, its 95 % interval, and the mean of the boxes that are left."""

    candidates: int
    p50_ms: float
    interval_ms: tuple[float, float] | None
    detections: float


@dataclass(frozen=True)
class NmsCurve:
    """One file's points, in rising numbers of candidates; `pre_topk` of them at most enter suppression."""

    artifact: str
    sha256: str
    runtime: str
    threads: int
    pre_topk: int
    points: tuple[CurvePoint, ...]


def nms_curve(path: Path, images: Sequence[Path], threads: int = 1, rounds: int = 100, seed: int = 0) -> NmsCurve:
    """Measure a file that holds its suppression.

    Raises:
        NotRunError: it is no .onnx or .tflite, or leaves suppression to the app.
        ModelFileError: the file is missing, damaged or foreign.
        DataError: an image cannot be read.
    """
    runner = load(path, threads)
    openers = {"onnx": _open_onnx, "tflite": _open_tflite}
    if runner.format not in openers or not isinstance(runner, CardRunner):
        raise NotRunError(f"{path}: suppression is timed in .onnx and .tflite files", "Export the model.")
    before, suppress = openers[runner.format](runner)
    decoded = [before(to_network_pixels(load_image(image), runner.spec.input)) for image in images]
    numbers = [count for count in COUNTS if count < runner.spec.num_priors] + [runner.spec.num_priors]
    spec = runner.spec
    fed = {n: [(boxes, with_candidates(scores, n, spec.nms.score_min)) for boxes, scores in decoded] for n in numbers}
    samples = _in_turns(fed, suppress, rounds, seed)
    points = tuple(
        CurvePoint(
            number,
            float(np.median(samples[number])),
            percentile_intervals(samples[number]).get("p50"),
            float(np.mean([suppress(*one) for one in fed[number]])),
        )
        for number in numbers
    )
    return NmsCurve(str(path), file_digest(path)[0], runner.runtime, threads, spec.nms.pre_topk, points)


def with_candidates(scores: Array, count: int, score_min: float) -> Array:
    """Scores by which exactly `count` boxes are candidates, with one class each.

    Args:
        scores: (1, N, C) as the network gives them; their order is kept.
        score_min: of the file; candidates get scores from 0.95 down to just above it.
    """
    best, classes = scores[0].max(axis=1), scores[0].argmax(axis=1)
    chosen = np.argsort(-best, kind="stable")[:count]
    found = np.zeros_like(scores)
    lowest = min(score_min + 0.01, 0.95)
    found[0, chosen, classes[chosen]] = np.linspace(0.95, lowest, num=count, dtype=np.float32)
    return found


def _in_turns(
    fed: dict[int, list[tuple[Array, Array]]], suppress: Suppress, rounds: int, seed: int
) -> dict[int, tuple[float, ...]]:
    """Milliseconds by number of candidates."""
    rng = np.random.default_rng(seed)
    samples: dict[int, list[float]] = {number: [] for number in fed}
    for index in track(range(rounds), "rounds", total=rounds):
        for number in rng.permutation(list(fed)):
            boxes, scores = fed[int(number)][index % len(fed[int(number)])]
            for _ in range(_UNRECORDED):
                suppress(boxes, scores)
            start = time.perf_counter()
            suppress(boxes, scores)
            samples[int(number)].append((time.perf_counter() - start) * 1e3)
    return {number: tuple(values) for number, values in samples.items()}


def _open_onnx(runner: CardRunner) -> tuple[Callable[[Tensor], tuple[Array, Array]], Suppress]:
    import onnx

    from edgedet.export.onnx_nms import OUTPUTS
    from edgedet.export.onnx_runner import OnnxRunner, _session

    assert isinstance(runner, OnnxRunner)
    inner = ("boxes", "scores")
    whole = onnx.load(str(runner.path))
    end = onnx.utils.Extractor(whole).extract_model(list(inner), list(OUTPUTS))
    session = _session(end.SerializeToString(), runner.path, runner.threads)
    before = runner.before_nms()

    def decode(pixels: Tensor) -> tuple[Array, Array]:
        found: Any = before(pixels)
        return found[0], found[1]

    def suppress(boxes: Array, scores: Array) -> int:
        return int(session.run(OUTPUTS, dict(zip(inner, (boxes, scores), strict=True)))[0][0, 0])

    return decode, suppress


def _open_tflite(runner: CardRunner) -> tuple[Callable[[Tensor], tuple[Array, Array]], Suppress]:
    from edgedet.export.tflite_graph import Graph
    from edgedet.export.tflite_runner import DELTAS, SCORES, TfliteRunner, _interpreter

    assert isinstance(runner, TfliteRunner)
    if not runner.suppresses:
        raise NotRunError(f"{runner.path}: it leaves suppression to the app", "Take the default layout.")
    graph = Graph.parse(runner.path.read_bytes())
    inputs = {name: graph.tensor(name) for name in (DELTAS, SCORES)}
    outputs = {graph.name(int(tensor)): int(tensor) for tensor in graph.main.outputs}
    graph.main.operators = [
        one for one in graph.main.operators if set(inputs.values()).isdisjoint(int(out) for out in one.outputs)
    ]
    graph.set_signature(inputs, outputs)
    graph.prune()
    end = _interpreter(runner.threads, model_content=graph.to_bytes())
    fed = {detail["name"]: detail["index"] for detail in end.get_input_details()}
    count = end.get_output_details()[-1]["index"]
    before = runner.before_nms()

    def decode(pixels: Tensor) -> tuple[Array, Array]:
        found: Any = before(pixels)
        return found[0], found[1]

    def suppress(deltas: Array, scores: Array) -> int:
        end.set_tensor(fed[DELTAS], deltas)
        end.set_tensor(fed[SCORES], scores)
        end.invoke()
        return int(end.get_tensor(count)[0])

    return decode, suppress


def curve_svg(curves: Sequence[NmsCurve], colours: Sequence[str]) -> str:
    """Time against candidates, both axes logarithmic (0 candidates stands at the left end)."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from edgedet.benchmarks.report_svg import INK, STYLE, for_page

    with rc_context(STYLE):
        figure = Figure(figsize=(5.0, 3.1), layout="constrained")
        axes = figure.subplots()
        for curve, colour in zip(curves, colours, strict=True):
            numbers = [point.candidates for point in curve.points]
            axes.plot(numbers, [point.p50_ms for point in curve.points], color=colour, marker="o", markersize=4)
            intervals = [point.interval_ms or (point.p50_ms, point.p50_ms) for point in curve.points]
            low, high = zip(*intervals, strict=True)
            axes.fill_between(numbers, low, high, color=colour, alpha=0.25, linewidth=0)
        axes.set_xscale("symlog", linthresh=10)
        axes.set(xlabel="candidates", ylabel="suppression, ms", ylim=(0, None))
        axes.grid(alpha=0.15, color=INK)
        return for_page(figure)


def read_curves(path: Path) -> list[NmsCurve]:
    """What `--json` wrote.

    Raises:
        DataError: the file is missing or holds something else.
    """
    import json

    import pydantic

    from edgedet.errors import DataError

    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["curves"]
        return pydantic.TypeAdapter(list[NmsCurve]).validate_python(rows)
    except (OSError, ValueError, KeyError, TypeError) as error:
        first_line = str(error).splitlines()[0]
        raise DataError(f"{path}: holds no curves of suppression ({first_line})", "Measure again.") from error


def main(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="Exported files.")],
    data: Annotated[Path, typer.Option(help="The data set: a folder or a YAML file.")],
    split: Annotated[str, typer.Option(help="Split whose images are shown.")] = "test",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
    rounds: Annotated[int, typer.Option(min=10, help="Runs of each number.")] = 100,
    images: Annotated[int, typer.Option(min=1, help="At most so many.")] = 16,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="For `edgedet report --nms-curve`.")] = None,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="The curves as a picture.")] = None,
) -> None:
    """Time the suppression of files by the number of candidates."""
    from rich.console import Console
    from rich.table import Table

    from edgedet.benchmarks.report_svg import INK, PAPER, colour_of

    paths = [sample.image_path for sample in read_dataset(data, split).samples][:images]
    curves = [nms_curve(model, paths, threads, rounds) for model in models]
    table = Table("candidates", *(Path(curve.artifact).name for curve in curves), title=f"ms, {threads} thread(s)")
    rows: dict[int, list[Any]] = {point.candidates: [] for curve in curves for point in curve.points}
    for number, cells in sorted(rows.items()):
        for curve in curves:
            found = [point for point in curve.points if point.candidates == number]
            cells.append(f"{found[0].p50_ms:.3f}" if found else "")
        table.add_row(str(number), *cells)
    Console().print(table)
    if json is not None:
        write_json(json, {"schema": SCHEMA, "curves": [asdict(curve) for curve in curves]})
    if svg is not None:
        text = curve_svg(curves, [colour_of(k + 2) for k in range(len(curves))])
        text = text.replace("currentColor", "#10151c").replace("var(--card)", PAPER).replace(INK, "#10151c")
        write_text(svg, text.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1))


if __name__ == "__main__":
    try:
        typer.run(main)
    except EdgedetError as error:
        raise SystemExit(f"error: {error}") from error
