"""The table of precisions: what `--precision` may be called, what each means, and what it needs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Precision:
    """One row.

    Attributes:
        name: what `--precision` takes, and part of the file's name.
        text: what is stored and computed, for --help and tables.
        needs_calibration: activations are integers, so their ranges are measured on photographs.
        mixed: single layers may stay in float (`--float-layers`).
        float_stem: the first layers stay in float by themselves (edgedet.quantization.stem).
    """

    name: str
    text: str
    needs_calibration: bool = False
    mixed: bool = False
    float_stem: bool = False


_ROWS = (
    Precision("fp32", "32-bit floats"),
    Precision("fp16", "16-bit floats"),
    Precision("int8", "8-bit weights and activations", needs_calibration=True, mixed=True, float_stem=True),
    Precision("int8-weights", "8-bit weights, computed in float", mixed=True, float_stem=True),
    Precision("int8-dynamic", "8-bit weights, activations made 8-bit while running", mixed=True, float_stem=True),
    Precision("int16x8", "8-bit weights, 16-bit activations", needs_calibration=True, mixed=True),
    Precision("palette8", "weights of a table of 256 values a layer", mixed=True),
    Precision("palette6", "weights of a table of 64 values a layer", mixed=True),
    Precision("palette4", "weights of a table of 16 values a layer", mixed=True),
    Precision("pruned", "small weights set to zero and not stored", mixed=True),
)
PRECISIONS = {row.name: row for row in _ROWS}

# How the range of an activation follows from the values that were seen, the default first.
CALIBRATION_METHODS = ("minmax", "entropy", "percentile")
DEFAULT_IMAGES = 200


def calibrated_names() -> tuple[str, ...]:
    """The precisions that need photographs."""
    return tuple(row.name for row in _ROWS if row.needs_calibration)
