"""Runtimes of this machine besides those that edgedet runs each format with."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgedet.errors import ModelFileError, NotRunError
from edgedet.formats import format_of, load
from edgedet.runner import Runner


@dataclass(frozen=True)
class Runtime:
    """One row.

    Attributes:
        name: as `--device-option runtime=NAME` calls it.
        format: row name in edgedet.formats of the files that it runs.
        open: path and threads to a runner.
        library: that it needs; "" for one that the format needs anyway.
    """

    name: str
    format: str
    open: Callable[[Path, int | None], Runner]
    library: str = ""


def _compiled(path: Path, threads: int | None) -> Runner:
    """torch.compile of network and decoding; suppression stays as it is. Compiles at the first picture."""
    from edgedet.torch_runner import TorchRunner

    runner = load(path, threads)
    assert isinstance(runner, TorchRunner)
    runner.model = torch.compile(runner.model)  # type: ignore[assignment]
    runner.decoder = torch.compile(runner.decoder)  # type: ignore[assignment]
    runner.provider = "torch.compile"
    return runner


def _without_xnnpack(path: Path, threads: int | None) -> Runner:
    """LiteRT's own kernels, without the delegate that it takes by default."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    from edgedet.export.tflite_runner import TfliteRunner

    runner = load(path, threads)
    assert isinstance(runner, TfliteRunner)
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    runner._interpreter = Interpreter(str(path), num_threads=threads, experimental_op_resolver_type=resolver)
    runner._interpreter.allocate_tensors()
    runner.provider = "without XNNPACK"
    return runner


def _openvino(path: Path, threads: int | None) -> Runner:
    import openvino

    from edgedet.export.onnx_runner import OnnxRunner

    class OpenVinoRunner(OnnxRunner):
        """The same file in OpenVINO: what ONNX Runtime's session answers, asked of a request there."""

        def __init__(self) -> None:
            super().__init__(path, threads)
            settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
            if threads is not None:
                settings["INFERENCE_NUM_THREADS"] = threads
            try:
                self._compiled = openvino.Core().compile_model(str(path), "CPU", settings)
            except RuntimeError as error:
                reason = str(error).strip().splitlines()[-1][:160]
                raise ModelFileError(
                    f"{path}: OpenVINO cannot load it ({reason})", "Choose another runtime."
                ) from error
            self._request = self._compiled.create_infer_request()
            self._session = self
            self.runtime = f"OpenVINO {version('openvino')}"
            self.provider = "CPU"

        def run(self, names: tuple[str, ...], fed: dict[str, Any]) -> list[Any]:
            """As `onnxruntime.InferenceSession.run`."""
            self._request.infer(fed)
            return [self._request.get_tensor(name).data for name in names]

    return OpenVinoRunner()


class _Decoded(nn.Module):
    """What a .pte holds: from pixels, as floats, to boxes and scores."""

    def __init__(self, network: nn.Module, decoder: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.network, self.decoder, self.mean, self.scale = network, decoder, mean, 1.0 / std

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        boxes, scores = self.decoder(self.network((pixels - self.mean) * self.scale))
        return boxes, scores


def _executorch(path: Path, threads: int | None) -> Runner:
    """The .pt lowered to a .pte with XNNPACK; suppression is edgedet's reference."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.runtime import Runtime as Pte

    from edgedet.nms import non_maximum_suppression
    from edgedet.runner import UnitDetections
    from edgedet.torch_runner import TorchRunner

    if threads is not None:
        from executorch.extension.pybindings import _C as pool  # noqa: N811 - a module

        pool._unsafe_reset_threadpool(threads)  # the only way from Python (1.5); before anything runs it is safe
    loaded = load(path)
    assert isinstance(loaded, TorchRunner)
    image = loaded.spec.input
    module = _Decoded(loaded.model, loaded.decoder, image.mean, image.std).eval()
    exported = torch.export.export(module, (torch.zeros(1, 3, image.height, image.width),))
    program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
    with tempfile.NamedTemporaryFile(suffix=".pte") as file:
        file.write(program.buffer)
        file.flush()
        lowered = Pte.get().load_program(Path(file.name))
        method = lowered.load_method("forward")

    class ExecuTorchRunner(TorchRunner):
        """The lowered network; the rest is the same."""

        program = lowered  # the method reads from it and does not keep it

        @torch.inference_mode()
        def infer(self, network_pixels: Tensor) -> UnitDetections:
            boxes, scores = method.execute([network_pixels[None].float()])
            kept = non_maximum_suppression(boxes[0], scores[0], self.spec.nms)
            ids = kept.class_ids.numpy().astype(np.int64)
            return UnitDetections(boxes[0, kept.prior_indices].numpy(), kept.scores.numpy(), ids)

    runner = ExecuTorchRunner(loaded.model, loaded.spec, path)
    runner.runtime, runner.provider = f"ExecuTorch {version('executorch')}", "XNNPACK"
    return runner


RUNTIMES = (
    Runtime("eager", "torch", load),
    Runtime("compiled", "torch", _compiled),
    Runtime("executorch", "torch", _executorch, "executorch"),
    Runtime("onnxruntime", "onnx", load),
    Runtime("openvino", "onnx", _openvino, "openvino"),
    Runtime("xnnpack", "tflite", load),
    Runtime("plain", "tflite", _without_xnnpack),
)


def open_runner(path: Path, threads: int | None, argument: str) -> Runner:
    """The runner of a runtime by its name, for the measuring process.

    Raises:
        NotRunError: it runs no such files, or is not installed.
        ModelFileError: the file is damaged or foreign, or the runtime refuses it.
    """
    row = next(row for row in RUNTIMES if row.name == argument)
    if format_of(path).name != row.format:
        raise NotRunError(f"{path}: {row.name} runs files of the format {row.format}", "Choose another runtime.")
    if row.library and find_spec(row.library) is None:
        raise NotRunError(f"{row.library} is not installed", f"Install it with: pip install {row.library}")
    return row.open(path, threads)
