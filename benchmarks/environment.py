"""What a latency depends on besides the file: the machine, its load and the libraries. Recorded with every result."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

_LIBRARIES = ("edgedet", "numpy", "torch", "torchvision", "onnxruntime", "ai-edge-litert", "coremltools")
BUSY_CORES = 0.25  # an idle desktop stays below
_CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")


@dataclass(frozen=True)
class Environment:
    """The host of a measurement. `busy` says whether other work disturbed it.

    Attributes:
        cpu: model name as the system gives it.
        cores: logical cores of the machine, and usable_cores: those this process may run on.
        threads: what the runtime was allowed to use; None leaves it the runtime's default.
        governor: the system's policy for the CPU's clock; None where it cannot be read (virtual machines, macOS).
        cpu_mhz: current clock; None where it cannot be read.
        load_average_1m: the system's load average just before and just after. It counts this very work too.
        other_cores_busy: cores that other work kept busy during the measurement, on average.
        versions: of the libraries that are installed.
    """

    cpu: str
    cores: int
    usable_cores: int
    threads: int | None
    governor: str | None
    cpu_mhz: float | None
    load_average_1m: tuple[float, float]
    other_cores_busy: float
    memory_bytes: int
    os: str
    python: str
    versions: dict[str, str]

    @property
    def busy(self) -> bool:
        """Whether other work took enough of the machine to disturb latencies."""
        return self.other_cores_busy > BUSY_CORES


def read_environment(threads: int | None, watch: LoadWatch) -> Environment:
    """The environment now; call it right after a measurement.

    Args:
        threads: as given to `edgedet.load`.
        watch: made right before the measurement.
    """
    cores = os.cpu_count() or 1
    return Environment(
        cpu=cpu_name(),
        cores=cores,
        usable_cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores,
        threads=threads,
        governor=_read(_CPUFREQ / "scaling_governor"),
        cpu_mhz=_cpu_mhz(),
        load_average_1m=(watch.load_average, _load_average()),
        other_cores_busy=watch.other_cores_busy(),
        memory_bytes=psutil.virtual_memory().total,
        os=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        versions=installed_versions(_LIBRARIES),
    )


class LoadWatch:
    """Watches what else the machine does, from its making on."""

    def __init__(self) -> None:
        self.load_average = _load_average()
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


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
