"""This machine: each file in a process of its own, by its own runtime or by another one that is installed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgedet.benchmarks.environment import DeviceInfo, host_info
from edgedet.benchmarks.harness import measure_here
from edgedet.benchmarks.latency import Latency, NotRun
from edgedet.benchmarks.live import LiveWorker
from edgedet.benchmarks.request import Request
from edgedet.errors import ConfigError, DataError, EdgedetError, NotRunError
from edgedet.formats import format_of

# By format, the one that edgedet runs such files with first; `host_runtimes`, which imports torch, holds the rest.
RUNTIMES = {
    "torch": ("eager", "compiled", "executorch"),
    "onnx": ("onnxruntime", "openvino"),
    "tflite": ("xnnpack", "plain"),
}
_ALL = "all"
_OPENER = "edgedet.benchmarks.devices.host_runtimes"


@dataclass(frozen=True)
class HostDevice:
    """The machine edgedet runs on.

    Attributes:
        runtime: that runs the files; "" for the one that edgedet runs them with, "all" for each that fits.
    """

    runtime: str = ""
    name: str = "host"

    def describe(self) -> DeviceInfo:
        return host_info()

    def measure(self, file: Path, request: Request) -> Latency:
        """See `Device.measure`."""
        if not self.runtime:
            return measure_here(file, request)
        results = self._results(file, request)
        if isinstance(results[0], NotRun):
            raise NotRunError(results[0].reason, "Choose another runtime.")
        return results[0]

    def measure_files(self, files: Sequence[Path], request: Request) -> list[Latency | NotRun]:
        """See `Batching.measure_files`: a result for each runtime that fits."""
        return [result for file in files for result in self._results(file, request)]

    def open_stream(self, file: Path, request: Request) -> LiveWorker:
        """See `Interleaving.open_stream`."""
        if self.runtime:
            raise NotRunError("files are compared in the runtime that edgedet runs them with", "Leave runtime out.")
        return LiveWorker(file, request)

    def _results(self, file: Path, request: Request) -> list[Latency | NotRun]:
        try:
            fitting = RUNTIMES.get(format_of(file).name, ())
        except EdgedetError as error:
            return [NotRun(str(file), str(error), self.name)]
        if not self.runtime or not fitting:
            return [self._one(file, "", request)]
        wanted = [name for name in fitting if self.runtime in (name, _ALL)]
        if not wanted:
            return [NotRun(str(file), f"{self.runtime} does not run such files, but {', '.join(fitting)}", self.name)]
        return [self._one(file, name, request) for name in wanted]

    def _one(self, file: Path, runtime: str, request: Request) -> Latency | NotRun:
        try:
            return measure_here(file, request, (_OPENER, runtime) if runtime else None)
        except DataError:
            raise
        except EdgedetError as error:
            return NotRun(str(file), f"{runtime}: {error}" if runtime else str(error), self.name)


def open_device(argument: str, options: Mapping[str, str]) -> HostDevice:
    """There is one host.

    Raises:
        ConfigError: it was given an argument, or there is no such runtime.
    """
    if argument:
        raise ConfigError(f"host:{argument}: this machine has no other name", "Say host.")
    runtime = options.get("runtime", "")
    known = [name for names in RUNTIMES.values() for name in names]
    if runtime and runtime not in (*known, _ALL):
        raise ConfigError(f"there is no runtime called {runtime!r}", f"Choose from {', '.join(known)}, {_ALL}.")
    return HostDevice(runtime)
