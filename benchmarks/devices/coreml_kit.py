"""A folder that times a .mlpackage on a Mac or on an iPhone attached to one, where edgedet itself need not be.

It holds the model, pictures resized to its input, a script for coremltools, and what the script is to do (job.json).
What comes back is read by `coreml_kit_result`.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pydantic
from PIL import Image

from edgedet.benchmarks.latency import ImagesUsed
from edgedet.benchmarks.recording import FileFacts, file_facts
from edgedet.benchmarks.request import Request, seconds_of
from edgedet.benchmarks.worker import pictures
from edgedet.errors import EdgedetError, NotRunError
from edgedet.files import write_json
from edgedet.formats import load
from edgedet.preprocess import to_network_pixels

SCHEMA = 1
SCRIPT, README, JOB, RESULT = "measure.py", "README.md", "job.json", "result.json"
_FORMAT = "coreml"
_INPUT = "image"
_MAX_PICTURES = 32
_TEMPLATES = {SCRIPT: "coreml_kit.py", README: "coreml_kit_readme.md"}


@dataclass(frozen=True)
class Job:
    """What a kit asks for, and what comes back with its result.

    Attributes:
        package: name of the model's folder in the kit.
        input: name of the model's input.
        pictures: files of the kit, of the size of that input.
        facts: of the model file that the kit was made for.
        images: the pictures before they were resized.
    """

    package: str
    input: str
    pictures: tuple[str, ...]
    facts: FileFacts
    images: ImagesUsed
    request: Request
    schema: int = SCHEMA

    def to_json(self) -> dict[str, Any]:
        return dict(pydantic.TypeAdapter(Job).dump_python(self, mode="json"))


def make_kit(file: Path, request: Request, folder: Path) -> Path:
    """Write a kit.

    Args:
        file: a .mlpackage that `edgedet export` wrote.
        request: what is to be measured. Core ML chooses threads and cores itself.
        folder: made; must not exist, or be empty.

    Raises:
        NotRunError: the file is of another format, or threads or cores are asked for.
        ModelFileError: it is missing, damaged or foreign.
        DataError: an image cannot be read.
        EdgedetError: the folder holds something.
    """
    facts = file_facts(file)
    if facts.format != _FORMAT:
        raise NotRunError(f"{file}: Core ML runs .mlpackage files only", "Export the model to Core ML.")
    if request.threads is not None or request.cores is not None:
        raise NotRunError("Core ML chooses threads and cores itself", "Leave --threads and --cores out.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise EdgedetError(f"{folder}: exists and is not empty", "Choose another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(file, folder / file.name)
    names, used = _write_pictures(file, request, folder)
    shown = Request(budget=request.budget, mode=request.mode)  # paths of this machine say nothing on another
    facts = replace(facts, artifact=file.name)
    job = Job(file.name, _INPUT, names, facts, used, shown)
    write_json(folder / JOB, job.to_json())
    shutil.copyfile(_template(SCRIPT), folder / SCRIPT)
    (folder / README).write_text(_readme(job, folder), encoding="utf-8")
    return folder


def _write_pictures(file: Path, request: Request, folder: Path) -> tuple[tuple[str, ...], ImagesUsed]:
    """Resize pictures as evaluation does, and write them without loss."""
    spec = load(file).spec.input
    images, used = pictures(request.images[:_MAX_PICTURES])
    (folder / "pictures").mkdir()
    names = tuple(f"pictures/{number:03}.png" for number in range(len(images)))
    for name, image in zip(names, images, strict=True):
        pixels = to_network_pixels(image, spec).permute(1, 2, 0).contiguous().numpy()
        Image.fromarray(pixels).save(folder / name)
    return names, used


def _readme(job: Job, folder: Path) -> str:
    with Image.open(folder / job.pictures[0]) as picture:
        width, height = picture.size
    text = Path(_template(README)).read_text(encoding="utf-8")
    kind = {"photographs": "your photographs", "generated": "generated pictures"}[job.images.source]
    return text.format(
        package=job.package,
        pictures=f"{len(job.pictures)} {kind}",
        width=width,
        height=height,
        duration=f"{seconds_of(job.request):g} seconds",
    )


def _template(name: str) -> Path:
    return Path(str(files("edgedet.benchmarks") / "templates" / _TEMPLATES[name]))
