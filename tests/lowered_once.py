"""litert-torch takes eight seconds of CPU for a small network, and gives the same graph whatever is then put around it.

So the tests keep what it gave for a network, on disk: precision, layout, input type and suppression are added later.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from edgedet.export import to_tflite
from edgedet.export.deployable import Deployable
from edgedet.files import atomic_path


@contextmanager
def lowered_once(folder: Path) -> Iterator[None]:
    """Each network is lowered to TFLite once, in all processes that give the same folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lower = to_tflite._lower

    def lower_once(deployable: Deployable) -> bytes:
        path = folder / f"{_key(deployable)}.tflite"
        with FileLock(f"{path}.lock"):
            if not path.exists():
                with atomic_path(path) as temporary:
                    temporary.write_bytes(lower(deployable))
        return path.read_bytes()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(to_tflite, "_lower", lower_once)
        yield


def _key(deployable: Deployable) -> str:
    """Of all that the graph depends on: the weights, and what the spec says of everything before suppression."""
    spec = json.loads(deployable.spec.to_json())
    spec.pop("nms")
    return hashlib.sha256((deployable.weights_sha256 + json.dumps(spec, sort_keys=True)).encode()).hexdigest()[:24]
