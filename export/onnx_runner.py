"""The runner of .onnx files: ONNX Runtime on the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
from torch import Tensor

from edgedet.errors import ModelFileError
from edgedet.export.card import KEY, CardRunner, FileCard
from edgedet.export.onnx_nms import OUTPUTS
from edgedet.export.to_onnx import INPUT, TAPS
from edgedet.preprocess import UInt8Image
from edgedet.runner import Detections, Float32Array, HeadOutputs, StageTimes, UnitDetections, to_detections


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
        self.provider = self._session.get_providers()[0]
        self._takes_images = self._session.get_inputs()[0].type == "tensor(uint8)"
        # Boxes of a file that takes images are in 0..1 of the image, whatever its resizing is.
        self._of_the_image = replace(card.spec, input=replace(card.spec.input, resize="stretch"))
        self._heads_session: onnxruntime.InferenceSession | None = None

    def infer(self, network_pixels: Tensor) -> UnitDetections:
        return self._run(self._feed(network_pixels))

    def timed(self, image_u8_hwc: UInt8Image) -> tuple[Detections, StageTimes]:
        """A file that takes images gets the image itself, and says where boxes lie in it."""
        if not self._takes_images:
            return super().timed(image_u8_hwc)
        start = time.perf_counter()
        found = self._run(np.ascontiguousarray(image_u8_hwc))
        inferred = time.perf_counter()
        detections = to_detections(found, image_u8_hwc.shape[1], image_u8_hwc.shape[0], self._of_the_image)
        return detections, StageTimes(0.0, (inferred - start) * 1e3, (time.perf_counter() - inferred) * 1e3)

    def _run(self, image: Float32Array | UInt8Image) -> UnitDetections:
        count, boxes, scores, classes = self._session.run(OUTPUTS, {INPUT: image})
        rows = int(count[0, 0])
        return UnitDetections(boxes[0, :rows], scores[0, :rows], classes[0, :rows].astype(np.int64))

    def heads(self, network_pixels: Tensor) -> HeadOutputs:
        if self._heads_session is None:
            self._heads_session = self._cut(TAPS)
        return HeadOutputs(*(v[0] for v in self._heads_session.run(TAPS, {INPUT: self._feed(network_pixels)})))

    def before_nms(self) -> Callable[[Tensor], object]:
        session = self._cut(("boxes", "scores"))
        return lambda network_pixels: session.run(None, {INPUT: self._feed(network_pixels)})

    def _feed(self, network_pixels: Tensor) -> Float32Array | UInt8Image:
        """(3, H, W) uint8 as the file wants it; to one that takes images, pixels of the network's size are an image.

        By numpy, because torch would wake its own threads for it.
        """
        if self._takes_images:
            return np.ascontiguousarray(network_pixels.numpy().transpose(1, 2, 0))
        return network_pixels.numpy()[None].astype(np.float32)

    def _cut(self, outputs: tuple[str, ...]) -> onnxruntime.InferenceSession:
        """The saved file up to the given inner tensors."""
        import onnx

        whole = onnx.load(str(self.path))
        cut = onnx.utils.Extractor(whole).extract_model([INPUT], list(outputs))
        return _session(cut.SerializeToString(), self.path, self.threads)


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
