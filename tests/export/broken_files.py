"""All broken files: which good file each is made of, how it is taken apart, and how it is put together again."""

from __future__ import annotations

from pathlib import Path

from tests.export import (
    broken_coreml,
    broken_onnx,
    broken_onnx_int8,
    broken_tflite,
    broken_tflite_int8,
    broken_two_outputs,
)
from tests.export.broken import Broken

BROKEN: tuple[Broken, ...] = (
    *broken_tflite.BROKEN,
    *broken_tflite_int8.BROKEN,
    *broken_two_outputs.BROKEN,
    *broken_onnx.BROKEN,
    *broken_onnx_int8.BROKEN,
    *broken_coreml.BROKEN,
)
_KINDS = {
    "tflite": (broken_tflite, "broken.tflite"),
    "onnx": (broken_onnx, "broken.onnx"),
    "coreml": (broken_coreml, "broken.mlpackage"),
}


def break_file(broken: Broken, good: Path, folder: Path) -> Path:
    """Write the broken file into a folder."""
    kind, name = _KINDS[broken.base.split("-")[0]]
    parts = kind.load(good)
    broken.change(parts)
    kind.save(parts, folder / name)
    return folder / name
