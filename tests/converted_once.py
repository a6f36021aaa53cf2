"""coremltools takes seconds for a small network, and gives the same program whatever its weights are then stored as.

So the tests keep the float program that a network was converted to, on disk, for all precisions that start from it.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from edgedet.export import to_coreml
from edgedet.export.coreml_library import Model_pb2
from edgedet.export.coreml_program import Detector
from edgedet.export.coreml_stages import Stage
from edgedet.export.coreml_targets import Target
from edgedet.files import atomic_path


@contextmanager
def converted_once(folder: Path) -> Iterator[None]:
    """Each network is converted to a float program once a target, in all processes that give the same folder."""
    folder.mkdir(parents=True, exist_ok=True)
    convert = to_coreml.convert_detector

    def convert_once(stage: Stage, precision: str, target: Target) -> Detector:
        if not target.is_program:
            return convert(stage, precision, target)
        path = folder / _key(stage, precision, target)
        with FileLock(f"{path}.lock"):
            if not path.exists():
                with atomic_path(path) as temporary:
                    temporary.mkdir()
                    made = convert(stage, precision, target)
                    assert made.weight_file is not None
                    (temporary / "model").write_bytes(made.model.SerializeToString(deterministic=True))
                    shutil.copyfile(made.weight_file, temporary / "weight.bin")
        model = Model_pb2.Model.FromString((path / "model").read_bytes())
        return Detector(model, path / "weight.bin", None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(to_coreml, "convert_detector", convert_once)
        yield


def _key(stage: Stage, precision: str, target: Target) -> str:
    deployable = stage.deployable
    columns = getattr(stage, "column_ids", ())
    what = (deployable.weights_sha256, deployable.spec.to_json(), type(stage).__name__, len(columns), target.name)
    return hashlib.sha256(repr((*what, precision == "fp32")).encode()).hexdigest()[:24]
