"""Layer sensitivities as a picture: the screen of all layers above, what the worst ones cost below."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgedet.benchmarks.lab.sensitivity import Sensitivity
from edgedet.benchmarks.report_svg import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 20  # layers with bars of their own


def sensitivity_figure(found: Sensitivity) -> Figure:
    """Two axes: signal-to-noise ratio in order of execution, and mAP of the ranked layers."""
    from matplotlib.figure import Figure

    measured = [layer for layer in found.layers if layer.ap_alone is not None][:_MOST]
    figure = Figure(figsize=(7.2, 2.6 + 0.32 * max(1, len(measured))), layout="constrained")
    screen, bars = figure.subplots(2, 1, height_ratios=(2.0, max(1.0, 0.32 * len(measured))))
    in_order = sorted(found.layers, key=lambda layer: layer.number)
    seen = [layer for layer in in_order if math.isfinite(layer.error.heads_sqnr_db)]
    screen.plot(
        [layer.number for layer in seen], [layer.error.heads_sqnr_db for layer in seen], color=COLOURS[1], marker=".",
        linewidth=0.8,
    )  # fmt: skip
    marked = [layer for layer in measured if math.isfinite(layer.error.heads_sqnr_db)]
    screen.scatter(
        [layer.number for layer in marked], [layer.error.heads_sqnr_db for layer in marked], color=COLOURS[5], zorder=3,
        s=18, label="got mAP runs",
    )  # fmt: skip
    screen.set(xlabel="layer, in order of execution", ylabel="SQNR at heads, dB")
    screen.grid(alpha=0.2)
    if marked:
        screen.legend(fontsize="small")
    places = range(len(measured))
    alone = [found.lost_alone(layer) or 0.0 for layer in measured]
    spared = [found.won_spared(layer) or 0.0 for layer in measured]
    bars.barh([k - 0.19 for k in places], alone, 0.38, color=COLOURS[1], label="lost when it alone is int8")
    bars.barh([k + 0.19 for k in places], spared, 0.38, color=COLOURS[2], label="won when it alone is float")
    bars.set_yticks(list(places), [layer.error.layer for layer in measured], fontsize=7)
    bars.invert_yaxis()
    bars.axvline(0, color=COLOURS[0], linewidth=0.8)
    title = f"float {found.float_ap:.4f}, all int8 {found.int8_ap:.4f} (simulated)"
    bars.set(xlabel=f"COCO AP; {title}")
    if measured:
        bars.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    return figure
