"""How Task Library and MediaPipe shrink a picture: the .pt runner repeats them with pixels from several kernels.

    python -m tests.clients.resize runs/a/model.pt      a markdown table; with EDGEDET_DATA on real photographs

The kernel with which the .pt runner comes nearest to a client is the one that this client uses, or nearly so.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from edgedet.export.options import ExportOptions
from edgedet.export.pipeline import export_model
from edgedet.preprocess import UInt8Image, to_network_pixels
from edgedet.runner import to_detections
from edgedet.spec import InputSpec
from edgedet.torch_runner import TorchRunner, open_runner
from tests.clients.agreement import Agreement, Named, Pair, agree
from tests.clients.clients import CLIENTS, Client
from tests.clients.measure import ask, named
from tests.clients.pictures import Pictures, shared_photographs, write_pictures

Kernel = Callable[[UInt8Image, InputSpec], UInt8Image]


def _own(picture: UInt8Image, spec: InputSpec) -> UInt8Image:
    return np.ascontiguousarray(to_network_pixels(picture, spec).permute(1, 2, 0).numpy())


def _without_half_pixel(picture: UInt8Image, spec: InputSpec) -> UInt8Image:
    across = _interpolate(picture.astype(np.float64), spec.width, axis=1)
    return np.rint(_interpolate(across, spec.height, axis=0)).clip(0, 255).astype(np.uint8)


def _interpolate(pixels: npt.NDArray[np.float64], wanted: int, axis: int) -> npt.NDArray[np.float64]:
    """Wanted pixel i is read at i * size / wanted."""
    size = pixels.shape[axis]
    place = np.minimum(np.arange(wanted) * (size / wanted), size - 1)
    first = place.astype(np.int64)
    weight = (place - first).reshape([-1 if a == axis else 1 for a in range(3)])
    second = np.minimum(first + 1, size - 1)
    mixed: npt.NDArray[np.float64] = pixels.take(first, axis) * (1 - weight) + pixels.take(second, axis) * weight
    return mixed


def _antialiased(picture: UInt8Image, spec: InputSpec) -> UInt8Image:
    return np.asarray(Image.fromarray(picture).resize((spec.width, spec.height), Image.Resampling.BILINEAR))


KERNELS: dict[str, Kernel] = {
    "half-pixel bilinear (edgedet's)": _own,
    "bilinear without the half pixel": _without_half_pixel,
    "bilinear with antialiasing": _antialiased,
}


def compare_kernels(client: Client, tflite: Path, runner: TorchRunner, pictures: Pictures) -> dict[str, Agreement]:
    """Agreement of a client with the .pt runner on the pictures as taken, for each kernel the runner is given."""
    only = replace(pictures, magnified={})
    (answer,) = ask(client, [tflite], only, runner.spec.input)
    assert answer.images is not None, answer.error
    found = named(answer.images, only)
    return {name: _agreement(kernel, found, client, runner, only) for name, kernel in KERNELS.items()}


def _agreement(
    kernel: Kernel, found: list[Named], client: Client, runner: TorchRunner, pictures: Pictures
) -> Agreement:
    size, pairs = runner.spec.input, []
    for picture, theirs in zip(pictures.images(), found, strict=True):
        height, width = picture.shape[:2]
        pixels = torch.from_numpy(kernel(picture, size).copy()).permute(2, 0, 1)
        ours = Named.of_runner(to_detections(runner.infer(pixels), width, height, runner.spec), runner.spec)
        pairs.append(Pair(ours, theirs, (width / size.width, height / size.height)))
    return agree(pairs, client.rounding_px)


def resize_table(model: Path) -> list[str]:
    """Markdown lines for one model.pt."""
    runner = open_runner(model)
    lines = ["| client | pixels of the .pt runner | matched | score |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        (file,) = export_model(model, ["tflite"], Path(folder), options=ExportOptions())
        pictures = write_pictures(shared_photographs(), runner.spec.input, Path(folder) / "pictures")
        for client in CLIENTS.values():
            if client.own_resize:
                for name, found in compare_kernels(client, file.path, runner, pictures).items():
                    lines.append(f"| {client.title} | {name} | {found.share:.1%} | {found.score_error:.2f} |")
    return lines


if __name__ == "__main__":
    print("\n".join(resize_table(Path(sys.argv[1]))))
