"""The clients: libraries that apps load our files with, and which of them our tests know how to run.

A client is one row here and one folder beside this file with `requirements.txt` and `client.py`, a program that imports
nothing of edgedet.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Client:
    """One row.

    Attributes:
        name: of its folder.
        title: as tables print it.
        format: row of edgedet.formats whose files it reads.
        own_resize: it takes an image of any size and resizes with a kernel of its own, so that its pixels differ from
            edgedet's unless the image is already at the network's size.
        rounding_px: how far whole numbers may move a corner, in pixels of the image; 0 where it answers in floats.
            A corner that is written as a whole left edge plus a whole width may be 2 px off.
        newest_python: the last version its wheels exist for; None when there is no such limit.
        other_kernels: precisions whose integers it rounds in another way than the runtimes that edgedet measures with.
    """

    name: str
    title: str
    format: str
    own_resize: bool = False
    rounding_px: float = 0.0
    newest_python: tuple[int, int] | None = None
    other_kernels: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return HERE / self.name

    @property
    def program(self) -> Path:
        return self.folder / "client.py"

    @property
    def requirements(self) -> Path:
        return self.folder / "requirements.txt"

    def wheels_missing(self) -> str:
        """Why pip would find no wheel for this Python; empty when nothing is known against it."""
        if self.newest_python and sys.version_info[:2] > self.newest_python:
            newest = ".".join(map(str, self.newest_python))
            return f"its wheels end with Python {newest}, and this is {sys.version_info.major}.{sys.version_info.minor}"
        return ""


CLIENTS: dict[str, Client] = {
    client.name: client
    for client in (
        Client(
            "task_library", "TFLite Task Library", "tflite", own_resize=True, rounding_px=2.0, newest_python=(3, 11)
        ),
        Client("mediapipe", "MediaPipe Tasks", "tflite", own_resize=True, rounding_px=2.0),
        Client("tensorflow", "TensorFlow Lite interpreter", "tflite", newest_python=(3, 12)),
        # 2.14 leaves int8 to TFLite's built-in kernels; all the others here compute it in XNNPACK's.
        Client("tflite_runtime", "tflite-runtime", "tflite", newest_python=(3, 11), other_kernels=("int8",)),
        Client("onnxruntime", "ONNX Runtime, newest", "onnx"),
        Client("onnxruntime_1_17", "ONNX Runtime 1.17", "onnx", newest_python=(3, 12)),
        Client("coremltools", "coremltools", "coreml"),
    )
}
