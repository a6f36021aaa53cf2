"""What each layer costs: average precision when it alone is quantized, and when it alone is spared.

Every layer is screened by the error that its quantization makes at the heads; mAP runs go to the worst of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from edgedet.benchmarks.lab.simulated import LayerCost, Simulated
from edgedet.progress import progress_bar
from edgedet.quantization import LayerError

SCHEMA = 1
RUNS_A_LAYER = 2  # alone quantized, alone spared


@dataclass(frozen=True)
class LayerSensitivity:
    """One layer.

    Attributes:
        number: in order of execution, from 0.
        error: signal-to-noise ratios when it alone is quantized; its `layer` is the name.
        ap_alone: COCO AP when it alone is quantized; ap_spared: when all others are. None where no run was spent.
    """

    number: int
    error: LayerError
    cost: LayerCost
    ap_alone: float | None = None
    ap_spared: float | None = None


@dataclass(frozen=True)
class Sensitivity:
    """All layers, the most harmful first: those with mAP runs by what they cost, then the others by the screen."""

    float_ap: float
    int8_ap: float
    layers: tuple[LayerSensitivity, ...]

    def lost_alone(self, layer: LayerSensitivity) -> float | None:
        """AP lost when it alone is quantized."""
        return None if layer.ap_alone is None else self.float_ap - layer.ap_alone

    def won_spared(self, layer: LayerSensitivity) -> float | None:
        """AP won against all in int8 when it alone stays in float."""
        return None if layer.ap_spared is None else layer.ap_spared - self.int8_ap


def sensitivity(simulated: Simulated, map_runs: int) -> Sensitivity:
    """Screen all layers, and measure the worst.

    Args:
        map_runs: evaluations to spend besides the two of the whole network; two a layer.
    """
    names = simulated.layer_names
    costs = simulated.costs()
    with progress_bar() as bar:
        task = bar.add_task("screen layers", total=len(names))
        errors = simulated.screen(lambda: bar.advance(task))
    worst = sorted(range(len(names)), key=lambda k: (errors[k].heads_sqnr_db, k))[: map_runs // RUNS_A_LAYER]
    runs = 2 + RUNS_A_LAYER * len(worst)
    with progress_bar() as bar:
        task = bar.add_task("mAP runs", total=runs)

        def ap(quantized: list[str] | None) -> float:
            found = simulated.ap(quantized)
            bar.advance(task)
            return found

        float_ap, int8_ap = ap([]), ap(None)
        measured = {k: (ap([names[k]]), ap([n for n in names if n != names[k]])) for k in worst}
    layers = [
        LayerSensitivity(k, errors[k], costs[name], *measured.get(k, (None, None))) for k, name in enumerate(names)
    ]
    found = Sensitivity(float_ap, int8_ap, tuple(layers))
    return Sensitivity(float_ap, int8_ap, tuple(sorted(layers, key=lambda layer: _rank(found, layer))))


def _rank(found: Sensitivity, layer: LayerSensitivity) -> tuple[float, ...]:
    """What sparing wins and what quantizing alone loses say the same thing; their mean has less noise."""
    alone, spared = found.lost_alone(layer), found.won_spared(layer)
    if alone is None or spared is None:
        return (1, 0, layer.error.heads_sqnr_db, layer.number)
    return (0, -(alone + spared), layer.error.heads_sqnr_db, layer.number)


def sensitivity_json(found: Sensitivity, simulated: Simulated) -> dict[str, Any]:
    """Ratios of layers that no head sees are null."""
    layers = [
        {
            "layer": layer.error.layer,
            "number": layer.number,
            "weights": layer.cost.weights,
            "macs": layer.cost.macs,
            "output_sqnr_db": _finite(layer.error.output_sqnr_db),
            "heads_sqnr_db": _finite(layer.error.heads_sqnr_db),
            "ap_alone_quantized": layer.ap_alone,
            "ap_lost_alone_quantized": found.lost_alone(layer),
            "ap_alone_spared": layer.ap_spared,
            "ap_won_alone_spared": found.won_spared(layer),
        }
        for layer in found.layers
    ]
    dataset = simulated.dataset
    return {
        "schema": SCHEMA, "model": str(simulated.model), "dataset": dataset.root.name, "split": dataset.split,
        "images": len(dataset), "float_ap": found.float_ap, "int8_ap": found.int8_ap, "layers": layers,
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
