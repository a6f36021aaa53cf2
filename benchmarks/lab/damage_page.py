"""A folder for one damage report: damage.html (needs no other file), damage.json, and the pictures as PNG."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from edgedet.benchmarks.lab.damage import Damage
from edgedet.benchmarks.lab.damage_accuracy import SIZES
from edgedet.benchmarks.lab.damage_causes import CAUSES
from edgedet.benchmarks.lab.damage_figures import figures
from edgedet.benchmarks.lab.damage_json import KINDS, damage_json
from edgedet.benchmarks.lab.damage_pictures import PicturePair, picture_pairs
from edgedet.benchmarks.lab.operating_point import OperatingPoints, Point
from edgedet.benchmarks.report_context import TEMPLATES
from edgedet.benchmarks.report_pictures import to_picture
from edgedet.evaluation.plots import to_png
from edgedet.files import atomic_path, write_json, write_text

PAGE, JSON = "damage.html", "damage.json"
Rows = list[list[str]]


def write_damage(damage: Damage, out: Path, pictures: int = 6) -> list[Path]:
    """Write the folder; what an earlier report left there is replaced.

    Args:
        pictures: pairs of the worst images.

    Returns:
        What was written, the page first.
    """
    charts = {name: to_png(figure) for name, figure in figures(damage).items()}
    pairs = picture_pairs(damage, pictures)
    written = [out / PAGE, out / JSON]
    for stale in out.glob("worst_*.png"):
        stale.unlink()
    for name, png in charts.items():
        written.append(_write(out / f"{name}.png", png))
    for number, pair in enumerate(pairs, 1):
        written.append(_write(out / f"worst_{number}.png", _png(pair)))
    write_json(out / JSON, damage_json(damage))
    write_text(out / PAGE, _page(damage, charts, pairs))
    return written


def headline(damage: Damage) -> Rows:
    """The report in a few rows of name and value."""
    a, b = damage.a.metrics["coco_ap"], damage.b.metrics["coco_ap"]
    rows = [["COCO AP", f"{_number(a, 4)} to {_number(b, 4)} ({b - a:+.4f})" if not math.isnan(b - a) else "-"]]
    rows.append([f"detections from {damage.score_min:g}", f"{damage.shown_a} to {damage.shown_b}"])
    for kind, text in KINDS.items():
        changes = damage.of_kind(kind)
        right = sum(change.right for change in changes)
        rows.append([f"{kind} ({text})", f"{len(changes)}, of which right: {right}"])
    errors = [_number(one.error, 3) for one in (damage.calibration_a, damage.calibration_b)]
    rows.append(["calibration error", f"{errors[0]} to {errors[1]}"])
    return rows


def cause_rows(damage: Damage) -> Rows:
    """A row for each cause that occurs: its text, and the numbers of lost, new and flipped detections."""
    counts = {kind: damage.causes(kind) for kind in KINDS}
    rows = [[text, *(str(counts[kind].get(cause, 0)) for kind in KINDS)] for cause, text in CAUSES.items()]
    return [row for row in rows if any(cell != "0" for cell in row[1:])]


def ap_rows(damage: Damage) -> Rows:
    """A row for each class: AP of A and B over all sizes, and the change for all sizes and each one."""
    rows = []
    for first in range(0, len(damage.ap), len(SIZES)):
        sizes = damage.ap[first : first + len(SIZES)]
        changes = ["-" if math.isnan(row.change) else f"{row.change:+.4f}" for row in sizes]
        head = sizes[0]
        rows.append(
            [head.class_name or "all", str(head.objects), _number(head.ap_a, 4), _number(head.ap_b, 4), *changes]
        )
    return rows


def point_rows(damage: Damage) -> Rows:
    """A row for each class: A at the threshold, B there, and B's thresholds of the same recall and precision."""
    rows = []
    for row in damage.points:
        texts = [
            _f1_text(row.a),
            _f1_text(row.b),
            _threshold_text(row.same_recall),
            _threshold_text(row.same_precision),
        ]
        rows.append([row.class_name or "all", *texts])
    return rows


def short_point_rows(damage: Damage) -> Rows:
    """The same for 80 columns: F1 of A and B at the threshold; B's threshold of the same recall with its F1, and that
    of the same precision.
    """
    rows = []
    for row in damage.points:
        restored = [
            text
            for point in (row.same_recall, row.same_precision)
            for text in (("none", "-") if point is None else (f"{point.score:.3f}", f"{point.f1:.3f}"))
        ]
        rows.append([row.class_name or "all", f"{row.a.f1:.3f}", f"{row.b.f1:.3f}", *restored])
    return rows


def unreachable(points: Sequence[OperatingPoints]) -> list[str]:
    """Classes for which no threshold of B brings A's recall back."""
    return [row.class_name or "all" for row in points if row.same_recall is None]


def _f1_text(point: Point) -> str:
    return f"{point.precision:.3f} / {point.recall:.3f} / {point.f1:.3f}"


def _threshold_text(point: Point | None) -> str:
    return "none" if point is None else f"{point.score:.3f} (F1 {point.f1:.3f})"


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _page(damage: Damage, charts: dict[str, bytes], pairs: Sequence[PicturePair]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    sources = (damage.a.source, damage.b.source)
    context: dict[str, Any] = {
        "css": (TEMPLATES / "report.css").read_text(encoding="utf-8"),
        "files": [(n, s.artifact, s.precision, s.runtime, s.sha256) for n, s in zip("AB", sources, strict=True)],
        "dataset_line": f"{len(damage.a.dataset)} images of {damage.a.dataset.root.name}, {damage.a.dataset.split}",
        "score_min": damage.score_min,
        "headline": headline(damage),
        "causes": cause_rows(damage),
        "kinds": list(KINDS),
        "ap": ap_rows(damage),
        "sizes": SIZES,
        "points": point_rows(damage),
        "unreachable": unreachable(damage.points),
        "baked": damage.b.source.score_min,
        "charts": {name: "data:image/png;base64," + base64.b64encode(png).decode() for name, png in charts.items()},
        "pairs": [(pair.name, to_picture(pair.image_u8_hwc, pair.caption)) for pair in pairs],
    }
    return environment.get_template("damage.html.j2").render(context)


def _png(pair: PicturePair) -> bytes:
    """With a palette of 256 colours: a third of the bytes, and nothing to see of it at this size."""
    buffer = io.BytesIO()
    Image.fromarray(pair.image_u8_hwc).quantize(256).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> Path:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path
