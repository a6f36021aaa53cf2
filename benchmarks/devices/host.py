"""This machine: each file in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgedet.benchmarks.environment import DeviceInfo, host_info
from edgedet.benchmarks.harness import measure_here
from edgedet.benchmarks.latency import Latency
from edgedet.benchmarks.live import LiveWorker
from edgedet.benchmarks.request import Request
from edgedet.errors import ConfigError


class HostDevice:
    """The machine edgedet runs on."""

    name = "host"

    def describe(self) -> DeviceInfo:
        return host_info()

    def measure(self, file: Path, request: Request) -> Latency:
        """See `Device.measure`."""
        return measure_here(file, request)

    def open_stream(self, file: Path, request: Request) -> LiveWorker:
        """See `Interleaving.open_stream`."""
        return LiveWorker(file, request)


def open_device(argument: str, options: Mapping[str, str]) -> HostDevice:
    """There is one host.

    Raises:
        ConfigError: it was given an argument.
    """
    if argument:
        raise ConfigError(f"host:{argument}: this machine has no other name", "Say host.")
    return HostDevice()
