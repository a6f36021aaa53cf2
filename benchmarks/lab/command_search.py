"""`edgedet quantize search`: mixed precision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from edgedet.benchmarks.lab.mixed import Mixed


def search_command(
    model: Path = typer.Argument(..., metavar="MODEL", help="A model.pt."),
    data: Path = typer.Option(..., "--data", help="The data set: a folder or a YAML file."),
    out: Path = typer.Option(..., "--out", metavar="DIR", help="Folder for files, results and search.json."),
    max_ap_loss: float = typer.Option(0.005, "--max-ap-loss", help="COCO AP that may be lost against the float file."),
    objective: str = typer.Option(
        "latency", "--objective", help="latency or size: what float layers should cost least."
    ),
    minutes: float = typer.Option(20.0, "--minutes", help="The search ends after this time."),
    format: str = typer.Option("tflite", "--format", help="Whose int8 file: tflite or onnx."),
    search_split: str = typer.Option("val", "--search-split", help="Steers the search; not the one reported on."),
    search_images: int | None = typer.Option(None, "--search-images", min=1, help="Only this many of it."),
    split: str = typer.Option("test", "--split", help="On which the result is reported."),
    calibration: Path | None = typer.Option(
        None, "--calibration", metavar="DATA", help="Photographs to measure ranges on. Default: --data."
    ),
    calibration_split: str | None = typer.Option(None, "--calibration-split", help="Default: the training split."),
    calibration_images: int = typer.Option(200, "--calibration-images", min=1, metavar="N", help="How many."),
    calibration_method: str = typer.Option("minmax", "--calibration-method", help="minmax, entropy or percentile."),
    seed: int = typer.Option(0, "--seed", help="Chooses the photographs; nothing else is drawn by lot."),
    seconds: float = typer.Option(3.0, "--seconds", min=0.0, help="Length of each latency measurement; 0 for none."),
    threads: int | None = typer.Option(1, "--threads", min=1, help="CPU threads when timing."),
    json: Path | None = typer.Option(None, "--json", metavar="FILE", help="Also write search.json there."),
) -> None:
    """Find the layers that should stay in float so that the int8 file keeps its accuracy.

    Simulation proposes, real exported files decide: the result is the file, not a guess about it. Accuracy is searched
    on one split and reported on another. The exit code is 0 only if the file keeps the accuracy on the images of the
    search; where the time or the network does not allow that, the best file found is reported and the code is 1.

    \b
    Examples:
      edgedet quantize search run/model.pt --data my_photos --max-ap-loss 0.005 --objective latency --out mixed
      edgedet export run/model.pt --format tflite --precision int8 --calibration my_photos \\
        --float-layers mixed/search.json --out phone
    """
    from rich.console import Console

    from edgedet.benchmarks.harness import Budget as Length
    from edgedet.benchmarks.lab.mixed import check, find_mixed, mixed_json
    from edgedet.benchmarks.lab.search_layers import Budget
    from edgedet.benchmarks.lab.store import Photographs, Store
    from edgedet.benchmarks.request import Request
    from edgedet.data import read_dataset
    from edgedet.errors import ConfigError
    from edgedet.evaluation.evaluate import subset
    from edgedet.files import write_json
    from edgedet.progress import console

    if search_split == split:
        raise ConfigError(
            f"--search-split and --split are both {split}", "Report on images that the search did not see."
        )
    wanted = check(format, objective, max_ap_loss, minutes)
    budget = Budget(60 * minutes)
    searched, test = subset(read_dataset(data, search_split), search_images), read_dataset(data, split)
    photographs = Photographs(calibration or data, calibration_split, calibration_images, seed)
    store = Store(out, model, searched, photographs)
    request = None
    if seconds:
        pictures = tuple(sample.image_path for sample in test.samples)[:32]
        request = Request(pictures, threads, budget=Length(seconds=seconds))

    def tell(line: str) -> None:
        console.print(line, style="dim", highlight=False, markup=False)

    mixed = find_mixed(store, test, format, wanted, max_ap_loss, budget, request, calibration_method, tell)
    value = mixed_json(mixed, store, test, out)
    for path in (out / "search.json", *([json] if json else ())):
        write_json(path, value)
    _print(Console(), mixed, search_split, split)
    typer.echo(f"wrote {out / 'search.json'}")
    if not mixed.outcome.met:
        raise typer.Exit(1)


def _print(console: Console, mixed: Mixed, search_split: str, split: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from edgedet.benchmarks.report_devices import typical_ms

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for k, name in enumerate(("file", "MB", f"AP {search_split}", f"AP {split}", f"lost on {split}", "p50 ms")):
        table.add_column(name, justify="right" if k else "left", no_wrap=True)
    for name, judged in mixed.files.items():
        time_ms = typical_ms(judged.latency) if judged.latency else None
        texts = [name, f"{judged.artifact.size_bytes / 1e6:.2f}", f"{judged.search_ap:.4f}", f"{judged.test_ap:.4f}"]
        texts += [f"{mixed.test_loss(name):+.4f}", "-" if time_ms is None else f"{time_ms:.2f}"]
        table.add_row(*(Text(text) for text in texts))
    console.print(table)
    layers = mixed.float_layers
    console.print(f"layers in float ({len(layers)}): {', '.join(layers) or 'none'}", highlight=False, markup=False)
    if not mixed.outcome.met:
        why = "no set of layers that was tried is enough" if mixed.outcome.complete else "the time was not enough"
        console.print(
            f"AP may fall by {mixed.max_ap_loss:g} on {search_split}, and {why}: this is the best file found.",
            highlight=False,
        )
    elif not mixed.outcome.complete:
        console.print("The time ended the search: with more, another set of layers may be found.", highlight=False)
