"""What the lab has made and measured before, found again by digests: nothing is exported or measured twice.

A folder holds `files/KEY/` with one exported file each, `accuracy/KEY.json` as `edgedet eval --json` writes it and
`latency/KEY.json` as `edgedet bench --json` does, so that `edgedet report` takes them as they are. Each is written in
one step: what is there is whole, also after a kill.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from edgedet.benchmarks.harness import measure_here
from edgedet.benchmarks.latency import Latency, read_results, results_json
from edgedet.benchmarks.report_evaluations import Accuracy, read_accuracy
from edgedet.benchmarks.request import Request
from edgedet.data import Dataset, load_image
from edgedet.errors import EdgedetError, ExportError
from edgedet.evaluation import evaluate
from edgedet.export import deployable
from edgedet.export.artifact import Artifact, file_digest, json_path, tool_versions
from edgedet.export.calibrate import CalibrationReader, CalibrationSet, read_calibration
from edgedet.export.options import ExportOptions
from edgedet.export.pipeline import artifact_name, export_model
from edgedet.export.precisions import DEFAULT_IMAGES, PRECISIONS
from edgedet.files import write_json
from edgedet.formats import Format, format_by_name, load
from edgedet.progress import track
from edgedet.spec import InputSpec

T = TypeVar("T")
_PARITY_IMAGES = 20
_KEY_DIGITS = 16


@dataclass(frozen=True)
class Photographs:
    """Where ranges are measured: as the options --calibration... of `edgedet export`."""

    data: Path
    split: str | None = None
    count: int = DEFAULT_IMAGES
    seed: int = 0


class Store:
    """One folder of results about one model.

    Attributes:
        made: what was not there yet and was made by this object: "file", "accuracy" or "latency", and its key.
    """

    def __init__(self, root: Path, model: Path, dataset: Dataset, photographs: Photographs | None) -> None:
        """
        Args:
            root: the folder; it need not exist.
            model: the model.pt.
            dataset: accuracy and parity are measured on it.
            photographs: for calibration; None where no precision needs it.

        Raises:
            EdgedetError: model or data cannot be read.
        """
        self.root, self.model, self.dataset, self.photographs = root, model, dataset, photographs
        self.made: list[tuple[str, str]] = []
        self._model_sha256 = _readable(model)
        self._data_key = dataset_key(dataset)
        self._calibrations: dict[str, CalibrationSet] = {}

    def artifact(self, format: str, options: ExportOptions) -> Artifact:
        """The model exported with these options.

        Raises:
            EdgedetError: it cannot be.
        """
        row, key = format_by_name(format), self._export_key(format, options)
        path = self.root / "files" / key / artifact_name(self.model, row, options)
        if (known := _whole(path)) is not None:
            return known
        calibration = self._reader() if PRECISIONS[options.precision].needs_calibration else None
        (artifact,) = export_model(
            self.model, [format], path.parent, precision=options.precision, options=options, calibration=calibration,
            images=[load_image(path) for path in self._parity_images()],
        )  # fmt: skip
        self.made.append(("file", key))
        return artifact

    def accuracy(self, path: Path, sha256: str, dataset: Dataset | None = None) -> Accuracy:
        """Accuracy of a file on the store's data set, or on another one."""
        key = f"{sha256[:_KEY_DIGITS]}-{self._data_key if dataset is None else dataset_key(dataset)}"
        place = self.root / "accuracy" / f"{key}.json"
        if not place.exists():
            write_json(place, evaluate(load(path), dataset or self.dataset).to_json())
            self.made.append(("accuracy", key))
        return read_accuracy(place)

    def latency(self, path: Path, sha256: str, request: Request, number: int) -> Latency:
        """Latency of a file on this machine; measurements of different numbers are different ones.

        Raises:
            EdgedetError: it cannot be timed; nothing is stored then.
        """
        asked = key_of({"request": request.to_json(), "number": number})
        key = f"{sha256[:_KEY_DIGITS]}-{asked}"
        place = self.root / "latency" / f"{key}.json"
        if not place.exists():
            write_json(place, results_json([measure_here(path, request)]))
            self.made.append(("latency", key))
        (result,) = read_results(place)
        assert isinstance(result, Latency)
        return result

    def model_sha256(self) -> str:
        return self._model_sha256

    def calibration(self, input_spec: InputSpec, method: str) -> CalibrationSet:
        """The photographs, read once; the method is only a part of their record.

        Raises:
            ExportError: none were given. DataError: they cannot be used.
        """
        if self.photographs is None:
            raise ExportError("no photographs to calibrate on", "Give --calibration DATA.")
        key = f"{method} {input_spec}"
        if key not in self._calibrations:
            given = self.photographs
            self._calibrations[key] = read_calibration(
                given.data, input_spec, method, count=given.count, seed=given.seed, split=given.split
            )
        return self._calibrations[key]

    def _reader(self) -> CalibrationReader | None:
        return None if self.photographs is None else self.calibration

    def _export_key(self, format: str, options: ExportOptions) -> str:
        row, record = format_by_name(format), None
        if PRECISIONS[options.precision].needs_calibration and self.photographs is not None:
            from edgedet.model_file import load_model

            record = asdict(self.calibration(load_model(self.model)[1].input, options.calibration_method).record)
        return key_of(
            {
                "model": self._model_sha256, "format": format, "options": options.to_json(), "calibration": record,
                "tools": _tools(row), "code": _code_digest(), "parity": self._data_key,
            }
        )  # fmt: skip

    def _parity_images(self) -> Sequence[Path]:
        samples = self.dataset.samples
        return [sample.image_path for sample in samples[:: max(1, -(-len(samples) // _PARITY_IMAGES))]]


def key_of(value: dict[str, Any]) -> str:
    """Digest of plain values."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]


def dataset_key(dataset: Dataset) -> str:
    """Digest over the images' contents and everything that is labelled in them."""
    digest = hashlib.sha256(json.dumps([dataset.split, dataset.class_names]).encode())
    for sample in track(dataset.samples, "read data"):
        digest.update(hashlib.sha256(sample.image_path.read_bytes()).digest())
        objects = sample.objects
        for column in (objects.boxes_xyxy_px, objects.class_ids, objects.difficult, objects.crowd, objects.area_px2):
            digest.update(column.tobytes())
    return digest.hexdigest()[:_KEY_DIGITS]


def attempt(job: Callable[[], T]) -> tuple[T | None, str]:
    """What a job gives, or None and one line why it could not: one broken cell must not stop the others."""
    try:
        return job(), ""
    except EdgedetError as error:
        return None, str(error)
    except Exception as error:  # converters and runtimes raise what they like
        text = str(error).strip().splitlines()
        return None, f"{type(error).__name__}: {text[0][:200] if text else 'no message'}"


def _whole(path: Path) -> Artifact | None:
    """A file that was exported before and not changed since."""
    if not path.exists() or not json_path(path).exists():
        return None
    artifact = Artifact.read(path)
    return artifact if artifact.file_sha256 == file_digest(path)[0] else None


def _tools(row: Format) -> dict[str, str]:
    try:
        return tool_versions(row)
    except ImportError:  # a library is missing; the export will say which
        return {}


@cache
def _code_digest() -> str:
    """Of the exporters' source, so that whoever changes it gets other files."""
    digest = hashlib.sha256()
    for path in sorted(Path(str(deployable.__file__)).parent.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _readable(model: Path) -> str:
    """Digest of a model.pt that can be loaded."""
    from edgedet.model_file import load_model

    load_model(model)
    return file_digest(model)[0]
