"""`edgedet data anchors`: anchors fitted to a data set, and how many are worth having."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from edgedet.config import Config
    from edgedet.spec import InputSpec
    from edgedet.training.anchors import AnchorFit

SCHEMA = 1
_DECIMALS = 1  # of a pixel: finer digits change no assignment


def anchors_command(
    data: Path = typer.Argument(..., metavar="DATA", help="A folder (VOC, COCO, YOLO, CSV) or a YAML file."),
    out: Path = typer.Option(..., "--out", metavar="DIR", help="Folder for anchors.png and anchors.json."),
    k: str = typer.Option("1..12", "--k", metavar="FROM..TO", help="Numbers of anchors to try, for the curve."),
    levels: str | None = typer.Option(
        None, "--levels", metavar="N,N", help="Anchors of each level, the finest first. Default: the elbow, one level."
    ),
    size: str = typer.Option("320", "--size", metavar="PX|WxH", help="The network's input."),
    config: str | None = typer.Option(
        None, "--config", metavar="NAME", help="Take input and levels from a configuration instead, in its own order."
    ),
    split: str = typer.Option("train", "--split", help="Split whose boxes are clustered."),
    seed: int = typer.Option(0, "--seed", min=0, help="The same seed gives the same anchors."),
) -> None:
    """Fit anchors by k-means with the distance 1 - IoU, and show what each further anchor is worth.

    The suggested number is the elbow of the curve: the point farthest from the chord between its ends (Kneedle).

    \b
    Example:
      edgedet data anchors my_photos --k 1..12 --levels 3,3 --size 320 --out anchors
    """
    import numpy as np
    from rich.console import Console

    from edgedet.data import read_dataset
    from edgedet.files import write_json
    from edgedet.training.anchor_plot import write_anchors
    from edgedet.training.anchors import anchor_curve, boxes_wh_px, elbow, fit_anchors, rate_anchors

    asked, configured = _numbers(k), _config(config)
    image = configured.input if configured else _input(size)
    dataset = read_dataset(data, split)
    boxes = boxes_wh_px(dataset, image)
    tried = _possible(asked, boxes, f"{data}, split {split}")
    curve = anchor_curve(boxes, tried, seed)
    suggested = elbow(tried, [fit.mean_iou for fit in curve])
    counts = _levels(levels, configured, suggested)
    per_level = _spread(fit_anchors(boxes, sum(counts), seed), counts, configured)
    rounded = sorted((anchor for level in per_level for anchor in level), key=lambda a: a[0] * a[1])
    chosen = rate_anchors(boxes, np.array(rounded))
    title = f"{dataset.root.name}, split {split}: {len(boxes)} boxes in {image.width}x{image.height} px"
    write_anchors(boxes, curve, suggested, chosen, out / "anchors.png", title)
    content = {"data": str(data), "split": split, "seed": seed, "size_wh": [image.width, image.height]}
    content |= {"boxes": len(boxes), "curve": [_plain(fit) for fit in curve], "elbow": suggested}
    content |= {"chosen": _plain(chosen), "priors": {"kind": "anchors", "anchors_wh_px": per_level}}
    write_json(out / "anchors.json", {"schema": SCHEMA, **content})
    console = Console()
    console.print(_table(title, curve, suggested))
    if len(tried) < len(asked):
        console.print(f"There are no more than {tried[-1]} different boxes, so larger k were left out.", style="yellow")
    console.print(f"{chosen.count} anchors, mean IoU {chosen.mean_iou:.3f}. For a configuration:", highlight=False)
    console.print(_yaml(per_level), highlight=False, markup=False, soft_wrap=True)
    for name in ("anchors.png", "anchors.json"):
        console.print(f"wrote {out / name}", highlight=False, soft_wrap=True)


def _numbers(text: str) -> list[int]:
    """ "1..12" or "5"."""
    from edgedet.errors import ConfigError

    first, dots, last = text.partition("..")
    try:
        low, high = int(first), int(last) if dots else int(first)
    except ValueError:
        low, high = 0, 0
    if not 1 <= low <= high:
        raise ConfigError(f"--k {text}: not a range of numbers from 1", "Write it as --k 1..12.")
    return list(range(low, high + 1))


def _input(text: str) -> InputSpec:
    from edgedet.errors import ConfigError
    from edgedet.spec import InputSpec

    width, cross, height = text.lower().partition("x")
    if not (width.isdecimal() and int(width) and (not cross or (height.isdecimal() and int(height)))):
        raise ConfigError(f"--size {text}: not a size in pixels", "Write it as --size 320 or --size 416x320.")
    return InputSpec(int(height or width), int(width))


def _config(name: str | None) -> Config | None:
    from edgedet.config import load_config

    return load_config(name) if name else None


def _possible(asked: list[int], boxes: Any, where: str) -> list[int]:
    import numpy as np

    from edgedet.errors import DataError

    different = len(np.unique(boxes, axis=0))
    possible = [count for count in asked if count <= different]
    if not possible:
        raise DataError(f"{where}: has {different} different boxes, too few for {asked[0]} anchors", "Lower --k.")
    return possible


def _levels(text: str | None, config: Config | None, suggested: int) -> tuple[int, ...]:
    """How many anchors each level gets; what a configuration says about its own levels unless told otherwise."""
    from edgedet.config import AnchorPriors, FitPriors
    from edgedet.errors import ConfigError

    if text is not None:
        parts = text.split(",")
        if not all(part.strip().isdecimal() and int(part) for part in parts):
            raise ConfigError(f"--levels {text}: not numbers of anchors", "Write it as --levels 3,3.")
        if config and len(parts) != config.priors.num_levels:
            what = f"--levels {text}: {config.name} has {config.priors.num_levels} levels"
            raise ConfigError(what, "Give one number for each.")
        return tuple(int(part) for part in parts)
    if config and isinstance(config.priors, FitPriors):
        return config.priors.anchors_per_level
    if config and isinstance(config.priors, AnchorPriors):
        return tuple(len(level) for level in config.priors.anchors_wh_px)
    if config:
        raise ConfigError(f"{config.name}: its priors are not lists of anchors", "Give --levels, one number a level.")
    return (suggested,)


def _spread(fitted: Any, counts: Sequence[int], config: Config | None) -> list[list[list[float]]]:
    """The smallest anchors to the finest level: the first, or what a configuration's network makes of it."""
    from edgedet.models import feature_grids_hw

    grids = feature_grids_hw(config.network, config.input, len(counts)) if config else [(1, 1)] * len(counts)
    levels: list[list[list[float]]] = [[] for _ in counts]
    start = 0
    for index in sorted(range(len(counts)), key=lambda i: -grids[i][0] * grids[i][1]):
        part = fitted[start : start + counts[index]]
        levels[index] = [[round(float(side), _DECIMALS) for side in anchor] for anchor in part]
        start += counts[index]
    return levels


def _plain(fit: AnchorFit) -> dict[str, Any]:
    anchors = [[round(float(side), 3) for side in anchor] for anchor in fit.anchors_wh]
    return {"k": fit.count, "mean_iou": fit.mean_iou, "share_iou_50": fit.covered, "anchors_wh_px": anchors}


def _yaml(per_level: list[list[list[float]]]) -> str:
    levels = "\n".join(f"    - {level}" for level in per_level)
    return f"priors:\n  kind: anchors\n  anchors_wh_px:\n{levels}"


def _table(title: str, curve: Sequence[AnchorFit], suggested: int) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in ("k", "mean IoU", "gain", "boxes with IoU >= 0.5", ""):
        table.add_column(column, justify="left" if not column else "right")
    before: float | None = None
    for fit in curve:
        gain = "" if before is None else f"{fit.mean_iou - before:+.3f}"
        note = "elbow" if fit.count == suggested else ""
        table.add_row(str(fit.count), f"{fit.mean_iou:.3f}", gain, f"{fit.covered:.1%}", note)
        before = fit.mean_iou
    return table
