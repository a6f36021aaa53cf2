"""fleet.yaml: which files are timed on which devices, and how; and the jobs that follow from it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml

from edgedet.benchmarks.harness import find_images
from edgedet.benchmarks.request import Budget, Mode, Rate, Request, Steady, Sustained
from edgedet.errors import ConfigError, ModelFileError
from edgedet.export.artifact import file_digest

_MAX_IMAGES = 32  # no device shows more
_Positive = Annotated[float, pydantic.Field(gt=0)]


class FleetDevice(pydantic.BaseModel):
    """One device.

    Attributes:
        name: as after `--device`.
        options: as after `--device-option`.
        threads: every number gives a measurement of its own; None leaves the runtime's default.
        cores: numbers of the cores it is pinned to.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    options: dict[str, str] = {}
    threads: Annotated[list[Annotated[int, pydantic.Field(ge=1)] | None], pydantic.Field(min_length=1)] = [None]
    cores: Annotated[list[Annotated[int, pydantic.Field(ge=0)]], pydantic.Field(min_length=1)] | None = None


class FleetFile(pydantic.BaseModel):
    """The whole file; paths in it are relative to its folder.

    Attributes:
        files: model files; those of the command line come first.
        images: a folder of photographs; without it, generated pictures are shown.
        seconds: length of the recorded phase; sustained (minutes), rate (pictures a second) and early_stopping as the
            options of `edgedet bench`, at most one of them.
        results: folder of the results; without it, one beside the file.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    schema_: Literal[1] = pydantic.Field(alias="schema")
    devices: Annotated[list[str | FleetDevice], pydantic.Field(min_length=1)]
    files: list[str] = []
    images: str | None = None
    seconds: _Positive = 3.0
    sustained: _Positive | None = None
    rate: _Positive | None = None
    early_stopping: bool = False
    results: str | None = None

    def mode(self) -> Mode:
        """Raises ValueError where two are given."""
        if sum((self.sustained is not None, self.rate is not None, self.early_stopping)) > 1:
            raise ValueError("sustained, rate and early_stopping exclude each other")
        if self.sustained is not None:
            return Sustained(self.sustained)
        return Rate(self.rate) if self.rate is not None else Steady(self.early_stopping)


@dataclass(frozen=True)
class Job:
    """One measurement.

    Attributes:
        place: the file that will hold its result, named after all that decides it: the model file's digest, the
            device and its options, and the settings.
    """

    device: str
    options: dict[str, str]
    file: Path
    request: Request
    place: Path

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "file": str(self.file), "place": str(self.place), "request": self.request.to_json()}

    @staticmethod
    def from_json(value: dict[str, Any]) -> Job:
        request, file, place = Request.from_json(value["request"]), Path(value["file"]), Path(value["place"])
        return Job(value["device"], value["options"], file, request, place)


def read_fleet(path: Path, files: Sequence[Path] = ()) -> list[Job]:
    """The jobs of a fleet file, in the order of files and devices there.

    Args:
        files: model files besides those that it names.

    Raises:
        ConfigError: it is missing, no YAML, holds a field that does not exist or a value that cannot be, names the
            same measurement twice, or no model file.
        ModelFileError: a model file is missing.
        DataError: the folder of photographs is missing or empty.
    """
    fleet = _parsed(path)
    models = [*files, *(path.parent / name for name in fleet.files)]
    if not models:
        raise ConfigError(f"{path}: names no model file", "Add `files: [...]`, or give them on the command line.")
    images = find_images(path.parent / fleet.images)[:_MAX_IMAGES] if fleet.images else []
    results = path.parent / (fleet.results or f"{path.stem}-results")
    shown = [file_digest(image)[0] for image in images]
    digests = {model: _digest(model) for model in models}
    jobs = []
    for device in fleet.devices:
        row = FleetDevice(name=device) if isinstance(device, str) else device
        for model in models:
            for threads in row.threads:
                cores = tuple(row.cores) if row.cores else None
                request = Request(tuple(images), threads, cores, Budget(seconds=fleet.seconds), fleet.mode())
                key = _key(digests[model], row, {**request.to_json(), "images": shown})
                place = results / _slug(row.name) / f"{model.stem}-{key}.json"
                jobs.append(Job(row.name, dict(row.options), model, request, place))
    twice = [job for k, job in enumerate(jobs) if job.place in [other.place for other in jobs[:k]]]
    if twice:
        raise ConfigError(f"{path}: {twice[0].file} on {twice[0].device} is named twice", "Remove one of them.")
    return jobs


def _parsed(path: Path) -> FleetFile:
    try:
        fleet = FleetFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        fleet.mode()
        return fleet
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})", "Check the path.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is no YAML ({' '.join(str(error).split())})", "Mend that line.") from error
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise ConfigError(f"{path}: {place}: {first['msg']}", "See docs/benchmarking.md for the fields.") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}", "Choose one of them.") from error


def _digest(model: Path) -> str:
    if not model.exists():
        raise ModelFileError(f"{model}: there is no such file", "Check the path, or run `edgedet export`.")
    return file_digest(model)[0]


def _key(digest: str, device: FleetDevice, settings: dict[str, Any]) -> str:
    """Equal measurements have equal keys, whatever the folder they are asked from."""
    value = {"file": digest, "device": device.name, "options": device.options, "settings": settings}
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)
