"""litert-torch takes eight seconds of CPU for a small network, and gives the same graph whatever is then put around it.

So the tests keep what it gave for a network, on disk: precision, layout, input type and suppression are added later.
The same goes for torch's own ONNX exporter, where only half precision and a dynamic batch change the graph.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import pytest
from filelock import FileLock

from edgedet.export import to_onnx, to_tflite
from edgedet.export.deployable import Deployable
from edgedet.export.options import ExportOptions
from edgedet.files import atomic_path


@contextmanager
def lowered_once(folder: Path) -> Iterator[None]:
    """Each network is lowered to TFLite and ONNX once, in all processes that give the same folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lower, trace = to_tflite._lower, to_onnx._trace

    def lower_once(deployable: Deployable) -> bytes:
        return _once(folder / f"{_key(deployable)}.tflite", lambda: lower(deployable))

    def trace_once(deployable: Deployable, options: ExportOptions) -> onnx.ModelProto:
        kind = f"{options.precision == 'fp16'}-{options.dynamic_batch}"
        path = folder / f"{_key(deployable)}-{kind}.onnx"
        return onnx.load_from_string(_once(path, lambda: trace(deployable, options).SerializeToString()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(to_tflite, "_lower", lower_once)
        patch.setattr(to_onnx, "_trace", trace_once)
        yield


def _once(path: Path, make: Callable[[], bytes]) -> bytes:
    with FileLock(f"{path}.lock"):
        if not path.exists():
            with atomic_path(path) as temporary:
                temporary.write_bytes(make())
    return path.read_bytes()


def _key(deployable: Deployable) -> str:
    """Of all that the graph depends on: the weights, and what the spec says of everything before suppression."""
    spec = json.loads(deployable.spec.to_json())
    spec.pop("nms")
    return hashlib.sha256((deployable.weights_sha256 + json.dumps(spec, sort_keys=True)).encode()).hexdigest()[:24]
