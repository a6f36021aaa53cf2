"""What a latency depends on besides the file: the machine, its load and the libraries. Recorded with every result."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

_LIBRARIES = ("edgedet", "numpy", "torch", "torchvision", "onnxruntime", "ai-edge-litert", "coremltools")
_CPU_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal")  # Intel, AMD, Arm
BUSY_CORES = 0.25  # an idle desktop stays below
_CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")


@dataclass(frozen=True)
class DeviceInfo:
    """What a device is, apart from any measurement.

    Attributes:
        kind: prefix of its kind in `edgedet.benchmarks.devices.DEVICES`.
        name: as it was named on the command line, so that it can be asked for again.
        model: what a reader calls it: a phone's maker and model, a board, a CPU or GPU.
        cpu: model name of the CPU as the system gives it.
        cores: logical cores of the machine.
        memory_bytes: of the machine; None where it cannot be read.
        os: system, version and architecture.
        details: anything else worth printing, by name ("SoC", "browser", "GPU driver").
    """

    kind: str
    name: str
    model: str
    cpu: str
    cores: int
    memory_bytes: int | None
    os: str
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Environment:
    """A device and what went on there during one measurement. `busy` says whether other work disturbed it.

    Pairs hold the value just before and just after; None where it cannot be read (virtual machines, macOS, browsers).

    Attributes:
        device: where it happened.
        usable_cores: those that the measuring process may run on.
        threads: what the runtime was allowed to use; None leaves it the runtime's default.
        pinned_cores: numbers of the cores the process was pinned to; None where it was not.
        governor: the system's policy for the CPU's clock.
        clock_mhz: the CPU's clock.
        temperature_c: of the hottest sensor of the CPU.
        load_average_1m: the system's load average. It counts this very work too.
        other_cores_busy: cores that other work kept busy during the measurement, on average.
        versions: of Python and the libraries or tools that took part.
        notes: what else changed or matters, by name ("thermal status", "battery"), in words.
    """

    device: DeviceInfo
    usable_cores: int
    threads: int | None = None
    pinned_cores: tuple[int, ...] | None = None
    governor: str | None = None
    clock_mhz: tuple[float, float] | None = None
    temperature_c: tuple[float, float] | None = None
    load_average_1m: tuple[float, float] | None = None
    other_cores_busy: float | None = None
    versions: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def busy(self) -> bool:
        """Whether other work is known to have taken enough of the machine to disturb latencies."""
        return self.other_cores_busy is not None and self.other_cores_busy > BUSY_CORES


def host_info() -> DeviceInfo:
    """This machine."""
    cpu = cpu_name()
    return DeviceInfo(
        kind="host",
        name="host",
        model=cpu,
        cpu=cpu,
        cores=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        os=f"{platform.system()} {platform.release()} {platform.machine()}",
    )


def usable_cores() -> tuple[int, ...]:
    """Numbers of the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def read_environment(threads: int | None, watch: LoadWatch, pinned_cores: tuple[int, ...] | None = None) -> Environment:
    """The environment of this process now; call it right after a measurement.

    Args:
        threads: as given to `edgedet.load`.
        watch: made right before the measurement.
        pinned_cores: the cores that the process was pinned to, if it was.
    """
    return Environment(
        device=host_info(),
        usable_cores=len(usable_cores()),
        threads=threads,
        pinned_cores=pinned_cores,
        governor=_read(_CPUFREQ / "scaling_governor"),
        clock_mhz=_pair(watch.clock_mhz, _cpu_mhz()),
        temperature_c=_pair(watch.temperature_c, _temperature_c()),
        load_average_1m=(watch.load_average, _load_average()),
        other_cores_busy=watch.other_cores_busy(),
        versions={"python": platform.python_version(), **installed_versions(_LIBRARIES)},
    )


class LoadWatch:
    """Watches what else the machine does, from its making on."""

    def __init__(self) -> None:
        self.load_average = _load_average()
        self.clock_mhz, self.temperature_c = _cpu_mhz(), _temperature_c()
        self._start = time.monotonic()
        self._everybody, self._own = _busy_seconds(), time.process_time()

    def other_cores_busy(self) -> float:
        """Cores that other processes kept busy since, on average; children of this process count as others."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        others = (_busy_seconds() - self._everybody) - (time.process_time() - self._own)
        return round(max(others / seconds, 0.0), 2)


def _load_average() -> float:
    """Mean number of processes that wanted a core during the last minute."""
    return round(float(psutil.getloadavg()[0]), 2)


def _busy_seconds() -> float:
    """Core seconds the machine has worked since it started; time that other virtual machines took away counts too."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - _counted_twice(times))


def _counted_twice(times: Any) -> float:
    """Linux counts guests' time in `user` and `nice` as well."""
    return float(getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0))


def cpu_name() -> str:
    """Model name of the CPU, or its architecture where the system does not tell."""
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        return found.stdout.strip() or platform.machine()
    lines = (_read(Path("/proc/cpuinfo")) or "").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def peak_memory_bytes() -> int:
    """Most memory this process has held so far (resident set)."""
    for line in (_read(Path("/proc/self/status")) or "").splitlines():
        if line.startswith("VmHWM:"):  # getrusage would count the parent's memory too: Linux keeps it across exec
            return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """Version of each distribution that is installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cpu_mhz() -> float | None:
    try:
        clock = psutil.cpu_freq()
    except (OSError, NotImplementedError, AttributeError, RuntimeError):
        return None  # psutil raises one of these where the system does not tell
    return round(clock.current, 1) if clock else None


def _temperature_c() -> float | None:
    """The hottest sensor of the CPU; None where the system shows none (macOS, Windows, most virtual machines)."""
    sensors = getattr(psutil, "sensors_temperatures", None)
    found = [
        row.current for name, rows in (sensors() if sensors else {}).items() if name in _CPU_SENSORS for row in rows
    ]
    return round(max(found), 1) if found else None


def _pair(before: float | None, after: float | None) -> tuple[float, float] | None:
    return None if before is None or after is None else (before, after)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
