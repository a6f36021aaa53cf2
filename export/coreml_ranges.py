"""Ranges of activations, measured by running the float program on photographs in the reference runtime.

coremltools measures them through Core ML's own prediction, which exists on macOS only; here they are the same on every
system.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from edgedet.export.calibrate import CalibrationSet
from edgedet.export.coreml_names import IMAGE
from edgedet.export.coreml_screen import until
from edgedet.export.mil_loader import Program
from edgedet.export.mil_runtime import Executable
from edgedet.export.ranges import RangeMeter
from edgedet.progress import track


def measure_ranges(
    program: Program, source: Path, variables: Sequence[str], calibration: CalibrationSet
) -> dict[str, tuple[float, float]]:
    """The range of each variable, by the method that the calibration names.

    Args:
        program: of floats.
        source: of the program, for error messages.
        variables: names.

    Returns:
        Name to (least, greatest) value; each range holds 0.
    """
    if not variables:
        return {}
    executable = Executable(until(program, variables), source)
    meters = {name: RangeMeter(calibration.record.method) for name in variables}
    with torch.inference_mode():
        for pixels in track(calibration.network_pixels, "Measuring ranges", total=len(calibration)):
            image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
            for name, value in executable.run({IMAGE: image}, variables).items():
                meters[name].add(value.numpy())
    return {name: meter.range() for name, meter in meters.items()}
