"""Runners of a GPU: torch eager, compiled and as a CUDA graph; ONNX Runtime's CUDA and TensorRT providers.

The file's own time is that between two events on the GPU's stream: from the pixels in the host's memory to the boxes
there, suppression on the GPU included.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from edgedet.benchmarks.devices.cuda_nms import ROUNDS, Suppressed, suppress
from edgedet.decode import Decoder
from edgedet.errors import NotRunError
from edgedet.model_file import load_model
from edgedet.preprocess import UInt8Image, normalise, to_network_pixels
from edgedet.runner import Detections, Float32Array, Runner, StageTimes, UnitDetections, to_detections
from edgedet.spec import DetectorSpec

_PROVIDERS = {"ort-cuda": "CUDAExecutionProvider", "ort-tensorrt": "TensorrtExecutionProvider"}
_WARM_UPS = 3  # before a capture: libraries choose algorithms and allocate


class Clock(Protocol):
    """Times what a function makes a device do."""

    def timed_ms(self, function: Callable[[], None]) -> float:
        """Call it, wait until the device is done, and give the milliseconds that it took there."""
        ...


class EventClock:
    """CUDA events around the work, on the current stream of the device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self._end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

    def timed_ms(self, function: Callable[[], None]) -> float:
        """See `Clock.timed_ms`."""
        with torch.cuda.device(self._device):
            self._start.record()
            function()
            self._end.record()
            self._end.synchronize()
        return float(self._start.elapsed_time(self._end))


class WholeDetector(nn.Module):
    """From (B, 3, H, W) uint8 pixels to suppressed boxes, with fixed shapes."""

    def __init__(self, network: nn.Module, spec: DetectorSpec, rounds: int = ROUNDS) -> None:
        super().__init__()
        self.network, self.decoder = network.eval(), Decoder(spec)
        self.spec, self.rounds = spec, rounds

    def forward(self, pixels: Tensor) -> Suppressed:
        return self.in_rounds(pixels, self.rounds)

    def in_rounds(self, pixels: Tensor, rounds: int) -> Suppressed:
        boxes, scores = self.decoder(self.network(normalise(pixels, self.spec.input)))
        return suppress(boxes, scores, self.spec.nms, rounds)


class TorchDeviceRunner(Runner):
    """A model.pt with its suppression on a device.

    Args:
        network, spec, path: as `TorchRunner`.
        device: where it runs.
        way: one of cuda_ways.TORCH_WAYS.
        batch: pictures a run; the newest ones, repeated at the start. Times are of the whole batch.
        clock: times the device.
        rounds: of suppression; where they are not enough, the batch runs again with more.

    Attributes:
        unsettled: batches that ran again.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: DetectorSpec,
        path: Path,
        device: torch.device,
        way: str,
        batch: int,
        clock: Clock,
        rounds: int = ROUNDS,
    ) -> None:
        super().__init__(path, spec, format="torch", precision="fp32", runtime=f"torch {torch.__version__}")
        self.provider = f"{device.type} {way}, batch {batch}"
        self.unsettled = 0
        self._device, self._clock = device, clock
        self._recent: deque[Tensor] = deque(maxlen=batch)
        shape = (batch, 3, spec.input.height, spec.input.width)
        self._staged = torch.zeros(shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
        self._pixels = torch.zeros(shape, dtype=torch.uint8, device=device)
        self._detector = WholeDetector(network, spec, rounds).to(device)
        self._run = _WAYS[way](self._detector, self._pixels)
        self._found: Suppressed | None = None

    @torch.inference_mode()
    def timed(self, image_u8_hwc: UInt8Image) -> tuple[Detections, StageTimes]:
        """See `Runner.timed`; boxes are those of this picture, the newest of its batch."""
        start = time.perf_counter()
        self._stage(to_network_pixels(image_u8_hwc, self.spec.input))
        preprocess_ms = (time.perf_counter() - start) * 1e3
        inference_ms = self._clock.timed_ms(self._detect)
        start = time.perf_counter()
        found = to_detections(self._newest(), image_u8_hwc.shape[1], image_u8_hwc.shape[0], self.spec)
        return found, StageTimes(preprocess_ms, inference_ms, (time.perf_counter() - start) * 1e3)

    @torch.inference_mode()
    def infer(self, network_pixels: Tensor) -> UnitDetections:
        self._stage(network_pixels)
        self._detect()
        return self._newest()

    def _stage(self, network_pixels: Tensor) -> None:
        self._recent.append(network_pixels)
        while len(self._recent) < len(self._staged):
            self._recent.append(network_pixels)
        torch.stack(list(self._recent), out=self._staged)

    def _detect(self) -> None:
        """Pixels to the device, the detector, boxes back: the last waits for the device."""
        self._pixels.copy_(self._staged, non_blocking=True)
        found = Suppressed(*(tensor.cpu() for tensor in self._run()))
        rounds = self._detector.rounds
        self.unsettled += not bool(found.settled.all())
        while not bool(found.settled.all()):  # as many rounds as boxes always do
            rounds *= 4
            found = Suppressed(*(tensor.cpu() for tensor in self._detector.in_rounds(self._pixels, rounds)))
        self._found = found

    def _newest(self) -> UnitDetections:
        assert self._found is not None
        boxes, scores, class_ids, _ = (tensor[-1] for tensor in self._found)
        rows = scores >= 0
        return UnitDetections(boxes[rows].numpy(), scores[rows].numpy(), class_ids[rows].numpy())


def _eager(detector: WholeDetector, pixels: Tensor) -> Callable[[], Suppressed]:
    return lambda: detector(pixels)


def _compiled(detector: WholeDetector, pixels: Tensor) -> Callable[[], Suppressed]:
    """Compiles at the first run, which therefore takes long."""
    compiled = torch.compile(detector)
    return lambda: compiled(pixels)


@torch.inference_mode()
def _graphs(detector: WholeDetector, pixels: Tensor) -> Callable[[], Suppressed]:
    """One graph of all kernels, captured now: a run only starts it."""
    stream = torch.cuda.Stream(pixels.device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(pixels.device))
    with torch.cuda.stream(stream):  # a capture must not see what a first run does: choosing algorithms, allocating
        for _ in range(_WARM_UPS):
            detector(pixels)
    torch.cuda.current_stream(pixels.device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(pixels.device), torch.cuda.graph(graph):
        found: Suppressed = detector(pixels)

    def run() -> Suppressed:
        graph.replay()
        return found

    return run


_WAYS: dict[str, Callable[[WholeDetector, Tensor], Callable[[], Suppressed]]] = {
    "eager": _eager,
    "compiled": _compiled,
    "graphs": _graphs,
}


def open_runner(path: Path, threads: int | None, argument: str) -> Runner:
    """A runner from "NUMBER/WAY/BATCH", for the measuring process.

    Raises:
        NotRunError: no such GPU, or the provider is not installed.
        ModelFileError: the file is damaged or foreign.
    """
    number, way, batch = argument.split("/")
    if not torch.cuda.is_available() or int(number) >= torch.cuda.device_count():
        raise NotRunError(f"cuda:{number}: no such CUDA device", "See `nvidia-smi -L`, and torch's build for CUDA.")
    device = torch.device("cuda", int(number))
    torch.cuda.set_device(device)
    if way in _PROVIDERS:
        return _open_onnx(path, threads, device, _PROVIDERS[way])
    network, spec = load_model(path)
    return TorchDeviceRunner(network.to(device), spec, path, device, way, int(batch), EventClock(device))


def _open_onnx(path: Path, threads: int | None, device: torch.device, provider: str) -> Runner:
    import onnxruntime

    from edgedet.export.onnx_runner import OnnxRunner

    if provider not in onnxruntime.get_available_providers():
        raise NotRunError(f"ONNX Runtime has no {provider} here", "Install onnxruntime-gpu in place of onnxruntime.")
    stream = torch.cuda.current_stream(device)
    settings = {"device_id": str(device.index), "user_compute_stream": str(stream.cuda_stream)}
    fallback = [("CUDAExecutionProvider", settings)] if provider != "CUDAExecutionProvider" else []
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4

    class OnnxCudaRunner(OnnxRunner):
        """ONNX Runtime on torch's stream, so that events of that stream see its work."""

        def __init__(self) -> None:
            super().__init__(path, threads)
            providers = [(provider, settings), *fallback, "CPUExecutionProvider"]
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
            if self._session.get_providers()[0] != provider:
                raise NotRunError(f"{path}: {provider} could not be started", "See onnxruntime's CUDA requirements.")
            self.provider = provider
            self._clock, self._inference_ms = EventClock(device), 0.0

        def _run(self, image: Float32Array | UInt8Image) -> UnitDetections:
            found: list[UnitDetections] = []
            self._inference_ms = self._clock.timed_ms(lambda: found.append(OnnxRunner._run(self, image)))
            return found[0]

        def timed(self, image_u8_hwc: UInt8Image) -> tuple[Detections, StageTimes]:
            detections, times = super().timed(image_u8_hwc)
            return detections, StageTimes(times.preprocess_ms, self._inference_ms, times.postprocess_ms)

    return OnnxCudaRunner()
