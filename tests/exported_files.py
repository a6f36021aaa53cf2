"""Each small model exported once per format, precision and option, for every test of the run. See tests/conftest.py.

Where pytest-xdist runs the tests in several processes, they share the files: the first that wants one exports it.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from filelock import FileLock

from edgedet.export.artifact import Artifact
from edgedet.export.calibrate import CalibrationSet, calibration_of_arrays
from edgedet.export.options import ExportOptions
from edgedet.export.pictures import generated_pictures, picture
from edgedet.export.pipeline import export_model
from edgedet.export.precisions import PRECISIONS
from edgedet.formats import load
from edgedet.model_file import save_model
from edgedet.runner import Runner
from edgedet.spec import InputSpec
from edgedet.torch_runner import TorchRunner, open_runner
from tests.converted_once import converted_once
from tests.lowered_once import lowered_once
from tests.small_models import SPECS, small_model


@dataclass(frozen=True)
class Exported:
    """An exported file and the model.pt it came from."""

    artifact: Artifact
    model: Path

    def runner(self) -> Runner:
        return load(self.artifact.path)

    def reference(self) -> TorchRunner:
        return open_runner(self.model)


class Export(Protocol):
    """(model name, format, precision, other ExportOptions) to the exported file."""

    def __call__(self, name: str, format: str, precision: str, **options: Any) -> Exported: ...


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temporary folder that all processes of this run of the tests see."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def saved_model(shared_folder: Path) -> Callable[[str], Path]:
    """Name of a row of SPECS to its model.pt."""

    def save(name: str) -> Path:
        path = shared_folder / f"{name}.pt"
        with FileLock(f"{path}.lock"):
            if not path.exists():
                save_model(path, small_model(SPECS[name]), SPECS[name])
        return path

    return save


@pytest.fixture(scope="session")
def lowered(shared_folder: Path) -> Iterator[None]:
    """From here on each network is lowered to TFLite once, and to a float program of Core ML once a target."""
    with lowered_once(shared_folder / "lowered"), converted_once(shared_folder / "converted"):
        yield


@pytest.fixture(scope="session")
def exported(lowered: None, saved_model: Callable[[str], Path], shared_folder: Path) -> Export:
    """Exports on demand; what failed once fails again without another try."""

    def export(name: str, format: str, precision: str, **options: Any) -> Exported:
        key = repr((name, format, precision, *sorted(options.items())))
        place = shared_folder / hashlib.sha256(key.encode()).hexdigest()[:16]  # options no name tells apart: no sharing
        model, answer = saved_model(name), place.with_suffix(".pickle")
        with FileLock(f"{place}.lock"):
            if not answer.exists():
                answer.write_bytes(pickle.dumps(_export(model, format, precision, place, ExportOptions(**options))))
        found = pickle.loads(answer.read_bytes())
        if isinstance(found, Exception):
            raise found
        return Exported(found, model)

    return export


def calibration_pictures(input_spec: InputSpec, method: str = "minmax") -> CalibrationSet:
    """Pictures like those that files are compared on, for precisions that measure ranges: a `CalibrationReader`."""
    images = [picture(np.random.default_rng(seed), 180 + 8 * seed, 240) for seed in range(12)]
    return calibration_of_arrays([*generated_pictures(), *images], input_spec, method=method)


def _export(model: Path, format: str, precision: str, place: Path, options: ExportOptions) -> Artifact | Exception:
    calibration = calibration_pictures if PRECISIONS[precision].needs_calibration else None
    try:
        (artifact,) = export_model(
            model, [format], place, precision=precision, options=options, calibration=calibration
        )
    except Exception as error:
        return error
    return artifact
