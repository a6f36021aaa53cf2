"""What ruins or slows an integer file, and can be seen in it without running it: names, limits and fixes of the rules.

The rules of a format look into its files; what they look for, from which value on it is a fault, and what to do about
it stands here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedet.export.contracts import Rule

JOINED_RANGES = "joined-ranges"
OUTLIERS = "outliers"
SOFTMAX = "integer-softmax"
BATCH_NORM = "unfused-batch-norm"
PER_CHANNEL = "per-channel-scales"
UNFUSED = "unfused-operators"

FIXES = {
    JOINED_RANGES: "Join them as floats behind their own scales: boxes, scores and logits never share one.",
    OUTLIERS: "Keep this layer and the one that reads it in float (--float-layers), or train with --qat.",
    SOFTMAX: "Keep it in float: leave what comes after the raw heads out of quantization.",
    BATCH_NORM: "Fold batch norms into the convolutions before them, then quantize.",
    PER_CHANNEL: "Quantize weights with one scale for each output channel (per_channel=True).",
    UNFUSED: "Write the operator with ones that have an integer kernel, or keep its whole neighbourhood in float.",
}

UNLIKE = 8.0  # a range that is so many times another leaves it 32 of 256 steps
_OUTLIER_RATIO = 32.0  # of a channel's weights to those of the median channel
_OUTLIER_WIDTH = 16.0  # of the range of the output; what ReLU6 bounds has no outliers
_LIVE = 1e-4  # of the largest scale; below, pruning or weight decay has emptied the channel


def rules(checks: Mapping[str, Callable[[Any], str]]) -> tuple[Rule, ...]:
    """A format's rules, in the order of FIXES; a hazard that it does not check is a KeyError."""
    return tuple(Rule(name, checks[name], fix) for name, fix in FIXES.items())


def are_unlike(widths: Sequence[float]) -> bool:
    """Whether ranges of these widths lose accuracy under one scale."""
    return max(widths) > UNLIKE * min(widths)


def outlier_ratio(channel_scales: npt.NDArray[np.float32], output_width: float) -> float | None:
    """How many times the median channel's weights the largest's are, where one range over all channels is too coarse.

    Args:
        channel_scales: (C,) of a layer's weights.
        output_width: of the range of the layer's output, after its activation; all C channels share it.

    Returns:
        The ratio, or None where it does no harm.
    """
    scales = np.abs(channel_scales[np.isfinite(channel_scales)])
    if len(scales) < 2 or not scales.max() > 0:
        return None
    live = scales[scales > _LIVE * scales.max()]
    ratio = float(live.max() / np.median(live))
    return ratio if ratio > _OUTLIER_RATIO and output_width > _OUTLIER_WIDTH else None


def joined(name: str, wide: float, narrow: float) -> str:
    """The reason of JOINED_RANGES."""
    steps = max(0, round(255 * narrow / wide))
    return f"{name!r} joins ranges {wide:.3g} and {narrow:.3g} wide under one scale: the narrow one gets {steps} steps"


def joined_kinds(name: str, bounded: str, layer: str) -> str:
    """The reason of JOINED_RANGES where the common scale is that of 0..1, and cuts what may lie outside."""
    return (
        f"{name[:80]!r} joins {bounded[:60]!r}, which lies in 0..1 by definition, and {layer[:60]!r}, the output of a "
        "layer, under the scale of the first: all of the second that lies outside of 0..1 is cut off"
    )


def outlying(weights: str, ratio: float, width: float) -> str:
    """The reason of OUTLIERS; layers are known by the name of their weights."""
    return (
        f"the output of the layer with weights {weights[:80]!r} has one scale for all channels, of which one has "
        f"{ratio:.0f} x the weights of the median channel; a step is {width / 255:.2g}, so that small channels vanish"
    )


def counted(what: str, names: Sequence[str]) -> str:
    """The reason of the other rules: how many, and which is the first."""
    return f"{len(names)} {what}, such as {names[0][:60]!r}"
