"""The runner of .onnx files: ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from torch import Tensor

from edgedet.errors import ModelFileError
from edgedet.export.card import KEY, CardRunner, FileCard
from edgedet.export.onnx_nms import OUTPUTS
from edgedet.export.to_onnx import INPUT, TAPS
from edgedet.runner import Float32Array, HeadOutputs, UnitDetections


class OnnxRunner(CardRunner):
    """Runs the file with its NMS inside. `heads` cuts the same file, in memory, before the NMS.

    Args:
        path: a .onnx that `edgedet export` wrote.
        threads: of ONNX Runtime's pool; None leaves its default.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self.threads = threads
        self._session = _session(path, path, threads)
        card = FileCard.from_json(self._session.get_modelmeta().custom_metadata_map.get(KEY), str(path))
        if tuple(o.name for o in self._session.get_outputs()) != OUTPUTS:
            raise ModelFileError(f"{path}: its outputs are not those of edgedet", "Export the model again.")
        super().__init__(path, card, "onnx", f"onnxruntime {onnxruntime.__version__}")
        self._heads_session: onnxruntime.InferenceSession | None = None

    def infer(self, network_pixels: Tensor) -> UnitDetections:
        count, boxes, scores, classes = self._session.run(OUTPUTS, {INPUT: _feed(network_pixels)})
        rows = int(count[0, 0])
        return UnitDetections(boxes[0, :rows], scores[0, :rows], classes[0, :rows].astype(np.int64))

    def heads(self, network_pixels: Tensor) -> HeadOutputs:
        if self._heads_session is None:
            self._heads_session = self._cut(TAPS)
        return HeadOutputs(*(v[0] for v in self._heads_session.run(TAPS, {INPUT: _feed(network_pixels)})))

    def before_nms(self) -> Callable[[Tensor], object]:
        session = self._cut(("boxes", "scores"))
        return lambda network_pixels: session.run(None, {INPUT: _feed(network_pixels)})

    def _cut(self, outputs: tuple[str, ...]) -> onnxruntime.InferenceSession:
        """The saved file up to the given inner tensors."""
        import onnx

        whole = onnx.load(str(self.path))
        cut = onnx.utils.Extractor(whole).extract_model([INPUT], list(outputs))
        return _session(cut.SerializeToString(), self.path, self.threads)


def _feed(network_pixels: Tensor) -> Float32Array:
    """(3, H, W) uint8 to (1, 3, H, W) float32; by numpy, because torch would wake its own threads for it."""
    return network_pixels.numpy()[None].astype(np.float32)


def _session(source: Path | bytes, path: Path, threads: int | None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors come as exceptions; stderr is for our own lines
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(
            source if isinstance(source, bytes) else str(source), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's errors have no common base below Exception
        reason = str(error).strip().splitlines()[0].split(" failed:")[-1][:160]
        raise ModelFileError(
            f"{path}: ONNX Runtime cannot load it ({reason})", "The file is damaged or foreign; export the model again."
        ) from error
