"""An NVIDIA GPU of this machine: each file in each way that fits it, each in a process of its own."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgedet.benchmarks.devices.cuda_ways import ORT_WAYS, TORCH_WAYS
from edgedet.benchmarks.environment import DeviceInfo, host_info
from edgedet.benchmarks.harness import measure_here
from edgedet.benchmarks.latency import Latency, NotRun
from edgedet.benchmarks.request import Request
from edgedet.errors import ConfigError, DataError, EdgedetError, NotRunError
from edgedet.formats import format_of

if TYPE_CHECKING:
    import torch

_OPENER = "edgedet.benchmarks.devices.cuda_runners"
_WAYS = {"torch": TORCH_WAYS, "onnx": ORT_WAYS}
_NOTE = "from pixels in the host's memory to boxes there, between two CUDA events; a run is one batch"


@dataclass(frozen=True)
class CudaDevice:
    """One GPU.

    Attributes:
        ways: those asked for; empty for all that fit a file.
        batches: numbers of pictures a run; an .onnx of one picture runs with 1 only.
    """

    number: int
    ways: tuple[str, ...]
    batches: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"cuda:{self.number}"

    def describe(self) -> DeviceInfo:
        """See `Device.describe`."""
        import torch

        if not torch.cuda.is_available():
            raise NotRunError("no CUDA device", "Use a machine with an NVIDIA GPU, and torch's build for CUDA.")
        if self.number >= torch.cuda.device_count():
            raise NotRunError(f"there is no GPU number {self.number}", f"There are {torch.cuda.device_count()}.")
        return self._info(torch.cuda.get_device_properties(self.number), str(torch.version.cuda))

    def _info(self, gpu: torch.cuda._CudaDeviceProperties, cuda: str) -> DeviceInfo:
        details = {
            "GPU memory": f"{gpu.total_memory / 2**30:.0f} GiB",
            "multiprocessors": str(gpu.multi_processor_count),
            "compute capability": f"{gpu.major}.{gpu.minor}",
            "CUDA of torch": cuda,
            "host": platform.machine(),
        }
        return replace(host_info(), kind="cuda", name=self.name, model=gpu.name, details=details)

    def measure(self, file: Path, request: Request) -> Latency:
        """See `Device.measure`: the first way that runs.

        Raises:
            NotRunError: none runs; the reason of the first.
        """
        results = self.measure_files([file], request)
        for result in results:
            if isinstance(result, Latency):
                return result
        assert isinstance(results[0], NotRun)
        raise NotRunError(results[0].reason, "See docs/benchmarking.md about GPUs.")

    def measure_files(self, files: Sequence[Path], request: Request) -> list[Latency | NotRun]:
        """See `Batching.measure_files`: a result for each way and batch."""
        try:
            info = self.describe()
        except NotRunError as error:
            return [NotRun(str(file), str(error), self.name) for file in files]
        return [self._one(file, way, batch, request, info) for file in files for way, batch in self._runs(file)]

    def _runs(self, file: Path) -> list[tuple[str, int]]:
        """Ways and batches of a file; one with an empty name where none fits."""
        fitting = _WAYS.get(format_of(file).name, ())
        chosen = [way for way in fitting if not self.ways or way in self.ways]
        return [(way, batch) for way in chosen for batch in (self.batches if way in TORCH_WAYS else (1,))] or [("", 1)]

    def _one(self, file: Path, way: str, batch: int, request: Request, info: DeviceInfo) -> Latency | NotRun:
        if not way:
            return NotRun(str(file), "a GPU runs .pt and .onnx files, in the ways that fit them", self.name)
        try:
            latency = measure_here(file, request, (_OPENER, f"{self.number}/{way}/{batch}"))
        except DataError:
            raise
        except EdgedetError as error:
            return NotRun(str(file), f"{way}, batch {batch}: {error}", self.name)
        notes = {**latency.environment.notes, "stages": _NOTE, "batch": str(batch)}
        return replace(latency, environment=replace(latency.environment, device=info, notes=notes))


def open_device(argument: str, options: Mapping[str, str]) -> CudaDevice:
    """A GPU by its number, 0 by default.

    Raises:
        ConfigError: the number, a way or a batch is none.
    """
    ways = tuple(filter(None, options.get("ways", "").split(",")))
    for way in ways:
        if way not in (*TORCH_WAYS, *ORT_WAYS):
            raise ConfigError(f"a GPU has no way {way!r}", f"Choose from {', '.join((*TORCH_WAYS, *ORT_WAYS))}.")
    numbers = [argument or "0", *options.get("batches", "1").split(",")]
    if not all(number.isdecimal() for number in numbers) or "0" in numbers[1:]:
        raise ConfigError(f"cuda:{argument}, batches {options.get('batches', '1')}: no whole numbers", "Say cuda:0.")
    return CudaDevice(int(numbers[0]), ways, tuple(int(number) for number in numbers[1:]))
