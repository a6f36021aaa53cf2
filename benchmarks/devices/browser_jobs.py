"""What the page is asked to do: a job a file and backend, with the files it fetches for it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgedet.benchmarks.devices.browser_packages import ORT_WASM, VERSIONS
from edgedet.benchmarks.devices.raw_inputs import MAX_PICTURES, RawInputs, raw_inputs
from edgedet.benchmarks.recording import FileFacts, file_facts
from edgedet.benchmarks.request import EARLY_STOPPING_QUERIES, Rate, Request, Steady, seconds_of
from edgedet.data import load_image
from edgedet.export.pictures import generated_pictures
from edgedet.formats import load
from edgedet.preprocess import UInt8Image, placement
from edgedet.runner import Runner

BACKENDS = ("wasm", "webgpu")
_SHOWN_PX = 640  # longest side of a picture in the page


@dataclass(frozen=True)
class BrowserFile:
    """One model file, ready to be sent: `inputs` are what its one input is fed, of `pictures`."""

    number: int
    path: Path
    facts: FileFacts
    runner: Runner
    inputs: RawInputs
    pictures: tuple[UInt8Image, ...]

    @property
    def takes_images(self) -> bool:
        """Whether it is fed whole pictures and resizes them itself; its boxes are then in 0..1 of the picture."""
        return self.inputs.values[0].ndim == 3


@dataclass(frozen=True)
class Job:
    """One run of the page. `optional`: only where the browser has the backend."""

    number: int
    file: BrowserFile
    backend: str
    optional: bool


def read_file(number: int, path: Path, request: Request) -> BrowserFile:
    """Load a file here and prepare its pictures.

    Raises:
        ModelFileError: the file is missing, damaged or foreign.
        NotRunError: files of this kind do not run in a browser, or not with so many threads.
        DataError: an image cannot be read.
    """
    facts = file_facts(path)
    inputs = raw_inputs(path, request.images)
    pictures = [load_image(image) for image in request.images[:MAX_PICTURES]] or generated_pictures()
    return BrowserFile(number, path, facts, load(path, request.threads), inputs, tuple(pictures))


def job_files(jobs: Sequence[Job], request: Request) -> dict[str, Path | bytes]:
    """What the page fetches for its jobs, by address."""
    files: dict[str, Path | bytes] = {}
    described = [_describe(job, request, files) for job in jobs]
    files["jobs.json"] = json.dumps({"schema": 1, "jobs": described}).encode()
    return files


def _describe(job: Job, request: Request, files: dict[str, Path | bytes]) -> dict[str, Any]:
    file = job.file
    prefix = f"file{file.number}"
    model = f"{prefix}/model{file.path.suffix}"
    files[model] = file.path
    urls = []
    for k, value in enumerate(file.inputs.values):
        urls.append(f"{prefix}/input{k}.bin")
        files[urls[-1]] = value.tobytes()
    budget, mode = request.budget, request.mode
    early = isinstance(mode, Steady) and mode.early_stopping
    return {
        "number": job.number,
        "file": file.path.name,
        "url": model,
        "format": file.facts.format,
        "precision": file.facts.precision,
        "backend": job.backend,
        "optional": job.optional,
        "threads": request.threads,
        "wasm_file": ORT_WASM[job.backend],
        "versions": {"litertjs": VERSIONS["@litertjs/core"]},
        "labels": list(file.runner.spec.class_names),
        "input": {
            "name": file.inputs.tensor,
            "signature": "image",
            "dtype": str(file.inputs.values[0].dtype),
            "shapes": [list(value.shape) for value in file.inputs.values],
            "urls": urls,
        },
        "pictures": [_picture(file, k, prefix, files) for k in range(len(file.pictures))],
        "seconds": seconds_of(request),
        "min_samples": max(budget.min_samples, EARLY_STOPPING_QUERIES if early else 0),
        "max_samples": budget.max_samples if isinstance(mode, Steady) and not early else None,
        "fps": mode.fps if isinstance(mode, Rate) else None,
        **_outputs(file, prefix, files),
    }


def _outputs(file: BrowserFile, prefix: str, files: dict[str, Path | bytes]) -> dict[str, Any]:
    """How the page reads the file's outputs."""
    if file.facts.format == "onnx":
        return {"layout": "onnx"}
    from edgedet.export.tflite_encodings import file_priors
    from edgedet.export.tflite_postprocess import MAX_THREADS
    from edgedet.export.tflite_runner import TfliteRunner

    assert isinstance(file.runner, TfliteRunner)
    if file.runner.suppresses:
        return {"layout": "postprocess", "max_threads": MAX_THREADS}
    files[f"{prefix}/priors.bin"] = file_priors(file.path.read_bytes()).astype(np.float32).tobytes()
    nms = file.runner.spec.nms
    suppression = {
        "num_classes": len(file.runner.spec.class_names),
        "score_min": nms.score_min,
        "iou_max": nms.iou_max,
        "max_detections": nms.max_detections,
    }
    encodings = {"priors_url": f"{prefix}/priors.bin", "suppression": suppression}
    return {"layout": "encodings", "max_threads": MAX_THREADS, **encodings}


def _picture(file: BrowserFile, k: int, prefix: str, files: dict[str, Path | bytes]) -> dict[str, Any]:
    """A picture to be shown, and where it lies in what the boxes are in 0..1 of: x0, y0, width, height."""
    image = file.pictures[k]
    shown, (width, height) = _jpeg(image)
    files[f"{prefix}/picture{k}.jpg"] = shown
    names = file.inputs.used.names
    spec = file.runner.spec.input
    place = placement(image.shape[1], image.shape[0], spec)
    placed = (place.x0 / spec.width, place.y0 / spec.height, place.width / spec.width, place.height / spec.height)
    return {
        "url": f"{prefix}/picture{k}.jpg",
        "name": names[k] if names else f"generated {k + 1}",
        "width": width,
        "height": height,
        "placed_unit": (0.0, 0.0, 1.0, 1.0) if file.takes_images else placed,
    }


def _jpeg(image: npt.NDArray[np.uint8]) -> tuple[bytes, tuple[int, int]]:
    picture = Image.fromarray(image)
    picture.thumbnail((_SHOWN_PX, _SHOWN_PX))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=88)
    return data.getvalue(), picture.size
