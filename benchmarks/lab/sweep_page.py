"""A sweep as sweep.json and as pictures of its Pareto fronts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgedet.benchmarks.lab.sweep import Row, Sweep
from edgedet.benchmarks.report_pareto import front
from edgedet.benchmarks.report_svg import COLOURS
from edgedet.evaluation.plots import to_png
from edgedet.files import atomic_path, write_json

SCHEMA = 1
JSON = "sweep.json"
_LEAST_AP_SPAN = 0.02  # of the vertical axis: smaller differences should look small


def megabytes(row: Row) -> float | None:
    return None if row.artifact is None else row.artifact.size_bytes / 1e6


def p50_ms(row: Row) -> float | None:
    return row.p50_ms


_COSTS: dict[str, tuple[str, Callable[[Row], float | None]]] = {
    "size": ("size, MB", megabytes),
    "latency": ("p50, ms, whole file with NMS", p50_ms),
}


def on_front(rows: Sequence[Row], cost: str) -> list[bool]:
    """Which rows no other one beats: not costlier, not less accurate, and better in one; never one without a cost."""
    points = [(number, point) for number, row in enumerate(rows) if (point := _point(row, cost)) is not None]
    best = {number for (number, _), flag in zip(points, front([p for _, p in points]), strict=True) if flag}
    return [number in best for number in range(len(rows))]


def sweep_json(sweep: Sweep, out: Path) -> dict[str, Any]:
    """Paths in it are relative to the folder it lies in."""
    fronts = {cost: on_front(sweep.rows, cost) for cost in _COSTS}
    cells = [
        {**_row_json(sweep, row, out), **{f"on_{cost}_front": flags[k] for cost, flags in fronts.items()}}
        for k, row in enumerate(sweep.rows)
    ]
    reference = sweep.reference
    return {
        "schema": SCHEMA,
        "model": {"artifact": str(sweep.model), "sha256": reference.sha256, "coco_ap": reference.metrics["coco_ap"]},
        "dataset": reference.dataset,
        "split": reference.split,
        "images": reference.images,
        "cells": cells,
    }


def write_sweep(sweep: Sweep, out: Path) -> list[Path]:
    """sweep.json, and a picture for each cost that is known of two files or more."""
    write_json(out / JSON, sweep_json(sweep, out))
    written = [out / JSON]
    for cost, (label, _) in _COSTS.items():
        if sum(_point(row, cost) is not None for row in sweep.rows) >= 2:
            path = out / f"pareto_{cost}.png"
            with atomic_path(path) as temporary:
                temporary.write_bytes(_picture(sweep.rows, cost, label))
            written.append(path)
    return written


def _row_json(sweep: Sweep, row: Row, out: Path) -> dict[str, Any]:
    artifact, cell = row.artifact, row.cell
    value: dict[str, Any] = {"format": cell.format, "precision": cell.precision, "calibration_method": cell.method}
    value |= {"reason": row.reason or None, "file": None}
    if artifact is not None:
        value["file"] = artifact.path.relative_to(out).as_posix()
        value |= {"sha256": artifact.file_sha256, "size_bytes": artifact.size_bytes, "parity": artifact.parity.status}
    trusted = all(latency.trusted for latency in row.latencies) if row.latencies else None
    numbers = {"coco_ap": row.ap, "change": sweep.change(row), "p50_ms": row.p50_ms, "speed_up": sweep.speed_up(row)}
    return value | {key: _finite(number) for key, number in numbers.items()} | {"trusted": trusted}


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _point(row: Row, cost: str) -> tuple[float, float] | None:
    value, ap = _COSTS[cost][1](row), row.ap
    return None if value is None or ap is None or math.isnan(ap) else (value, ap)


def _picture(rows: Sequence[Row], cost: str, label: str) -> bytes:
    """Accuracy against the cost: a colour for each format, the front as a staircase."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    flags = on_front(rows, cost)
    points = [(row, point, best) for row, best in zip(rows, flags, strict=True) if (point := _point(row, cost))]
    formats = list(dict.fromkeys(row.cell.format for row, _, _ in points))
    for row, (x, y), best in points:
        number = formats.index(row.cell.format)
        colour = COLOURS[1 + number % (len(COLOURS) - 1)]
        axes.scatter(x, y, s=36, color=colour if best else "white", edgecolors=colour, zorder=3)
        label_xy = ((6, 5), (6, -11), (-6, 5))[number % 3]  # a format each, because their files lie close together
        axes.annotate(
            row.cell.name.partition(" ")[2], (x, y), xytext=label_xy, textcoords="offset points", fontsize=7,
            color=colour, ha="left" if label_xy[0] > 0 else "right",
        )  # fmt: skip
    stairs = sorted(point for _, point, best in points if best)
    right = 1.12 * max(x for _, (x, _), _ in points)
    axes.step(
        [x for x, _ in stairs] + [right], [y for _, y in stairs] + [stairs[-1][1]], where="post", color=COLOURS[0]
    )
    for k, name in enumerate(formats):
        axes.scatter([], [], color=COLOURS[1 + k % (len(COLOURS) - 1)], label=name)
    aps = [y for _, (_, y), _ in points]
    middle, span = (min(aps) + max(aps)) / 2, max(_LEAST_AP_SPAN, 1.2 * (max(aps) - min(aps)))
    axes.set(xlim=(0, right), ylim=(middle - span / 2, middle + span / 2), xlabel=label, ylabel="COCO AP")
    figure.legend(fontsize="small", loc="outside right upper")
    axes.grid(alpha=0.2)
    return to_png(figure)
