"""Pictures as the very bytes that a file's input takes, for devices without Python's libraries.

The resizing happens here, by the code that evaluation uses, so such a device times the file alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedet.benchmarks.latency import ImagesUsed
from edgedet.data import load_image
from edgedet.errors import NotRunError
from edgedet.export.pictures import generated_pictures
from edgedet.formats import format_of, load
from edgedet.preprocess import UInt8Image, normalise, to_network_pixels
from edgedet.spec import InputSpec

WHAT_IS_TIMED = "the file alone; pictures were resized before, and normalised where the file leaves that to the app"
MAX_PICTURES = 8  # each is as large as the network's input, and travels over a cable


@dataclass(frozen=True)
class RawInputs:
    """What a file's one input is fed.

    Attributes:
        tensor: the input's name.
        values: an array a picture, of the tensor's shape and type.
        used: which pictures they are.
    """

    tensor: str
    values: tuple[npt.NDArray[Any], ...]
    used: ImagesUsed


def raw_inputs(file: Path, images: Sequence[Path]) -> RawInputs:
    """Prepare pictures for a file; without any, the generated ones.

    Raises:
        DataError: an image cannot be read.
        ModelFileError: the file is missing, damaged or foreign.
        NotRunError: files of this kind cannot be run away from this host.
    """
    prepare = _prepare(file)
    chosen = images[:MAX_PICTURES]
    pictures = [load_image(path) for path in chosen] or generated_pictures()
    sizes = tuple((picture.shape[1], picture.shape[0]) for picture in pictures)
    used = ImagesUsed("photographs" if chosen else "generated", sizes, tuple(path.name for path in chosen))
    tensor, values = prepare(file, pictures, load(file).spec.input)
    return RawInputs(tensor, tuple(values), used)


_Prepare = Callable[[Path, Sequence[UInt8Image], InputSpec], tuple[str, list[npt.NDArray[Any]]]]


def _prepare(file: Path) -> _Prepare:
    name = format_of(file).name
    if name not in _FORMATS:
        raise NotRunError(f"{file}: {name} files run on this host only", "Export it to one of: " + ", ".join(_FORMATS))
    return _FORMATS[name]


def _for_tflite(file: Path, pictures: Sequence[UInt8Image], spec: InputSpec) -> tuple[str, list[npt.NDArray[Any]]]:
    """(1, H, W, 3): pixels where the file normalises them itself, else normalised."""
    from edgedet.export.tflite_graph import Graph

    graph = Graph.parse(file.read_bytes())
    tensor = int(graph.main.inputs[0])
    values = []
    for picture in pictures:
        pixels = to_network_pixels(picture, spec).permute(1, 2, 0)
        fed = pixels if graph.dtype(tensor) == "uint8" else normalise(pixels, spec)
        values.append(np.ascontiguousarray(fed[None].numpy()))
    return graph.main.tensors[tensor].name.decode(), values


def _for_onnx(file: Path, pictures: Sequence[UInt8Image], spec: InputSpec) -> tuple[str, list[npt.NDArray[Any]]]:
    """The image itself where the file resizes, else (1, 3, H, W) pixel values 0..255, float32."""
    import onnx

    graph = onnx.load(str(file), load_external_data=False).graph
    taken = graph.input[0]
    if taken.type.tensor_type.elem_type == onnx.TensorProto.UINT8:
        return taken.name, [np.ascontiguousarray(picture) for picture in pictures]
    return taken.name, [to_network_pixels(picture, spec).numpy()[None].astype(np.float32) for picture in pictures]


_FORMATS: dict[str, _Prepare] = {"tflite": _for_tflite, "onnx": _for_onnx}
