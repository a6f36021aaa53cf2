"""damage.json: the report for machines."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from edgedet.benchmarks.lab.damage import Change, ChangeKind, Damage
from edgedet.benchmarks.lab.damage_causes import CAUSES
from edgedet.benchmarks.lab.operating_point import OperatingPoints, Point
from edgedet.evaluation import EvalResult

SCHEMA = 1
KINDS: dict[ChangeKind, str] = {
    "lost": "shown by A only",
    "new": "shown by B only",
    "flipped": "shown by both, with another label",
}


def damage_json(damage: Damage) -> dict[str, Any]:
    """Everything the report holds; undefined numbers are null."""
    names = damage.a.dataset.class_names
    value = {
        "schema": SCHEMA,
        "a": _file(damage.a),
        "b": _file(damage.b),
        "dataset": damage.a.dataset.root.name,
        "split": damage.a.dataset.split,
        "images": len(damage.a.dataset),
        "score_min": damage.score_min,
        "shown": {"a": damage.shown_a, "b": damage.shown_b, "kept": len(damage.kept)},
        "changes": {kind: _summary(damage, kind) for kind in KINDS},
        "ap": [{**asdict(row), "class_name": row.class_name or None, "change": row.change} for row in damage.ap],
        "operating_points": [_points(row) for row in damage.points],
        "calibration": {"a": asdict(damage.calibration_a), "b": asdict(damage.calibration_b)},
        "cause_texts": dict(CAUSES),
        "detections": [_change(change, damage, names) for change in damage.changes],
    }
    return dict(_without_nan(value))


def _file(result: EvalResult) -> dict[str, Any]:
    source = result.source
    return {
        "artifact": source.artifact, "sha256": source.sha256, "precision": source.precision,
        "runtime": source.runtime, "score_min": source.score_min, "coco_ap": result.metrics["coco_ap"],
    }  # fmt: skip


def _summary(damage: Damage, kind: ChangeKind) -> dict[str, Any]:
    changes = damage.of_kind(kind)
    return {"count": len(changes), "right": sum(change.right for change in changes), "causes": damage.causes(kind)}


def _points(row: OperatingPoints) -> dict[str, Any]:
    points = ("a", "b", "same_recall", "same_precision", "best_a", "best_b")
    return {
        "class_name": row.class_name or None,
        "objects": row.objects,
        **{name: _point(getattr(row, name)) for name in points},
    }


def _point(point: Point | None) -> dict[str, float] | None:
    return None if point is None else {**asdict(point), "f1": point.f1}


def _change(change: Change, damage: Damage, names: tuple[str, ...]) -> dict[str, Any]:
    plain = asdict(change)
    for side in ("a", "b"):
        class_id = plain.pop(f"class_{side}")
        plain[f"class_{side}"] = None if class_id is None else names[class_id]
    return {**plain, "image": damage.a.dataset.samples[change.image].image_path.name}


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
