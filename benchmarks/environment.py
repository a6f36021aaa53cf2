"""What a latency depends on besides the file: the machine, its load and the libraries. Recorded with every result."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

_LIBRARIES = ("edgedet", "numpy", "torch", "torchvision", "onnxruntime", "ai-edge-litert", "coremltools")
_CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")


@dataclass(frozen=True)
class Environment:
    """The host of a measurement.

    Attributes:
        cpu: model name as the system gives it.
        cores: logical cores of the machine, and usable_cores: those this process may run on.
        threads: what the runtime was allowed to use; None leaves it the runtime's default.
        governor: the system's policy for the CPU's clock; None where it cannot be read (virtual machines, macOS).
        cpu_mhz: current clock; None where it cannot be read.
        load_average_1m: the system's load average just before and just after; more than the cores means noise.
        versions: of the libraries that are installed.
    """

    cpu: str
    cores: int
    usable_cores: int
    threads: int | None
    governor: str | None
    cpu_mhz: float | None
    load_average_1m: tuple[float, float]
    memory_bytes: int
    os: str
    python: str
    versions: dict[str, str]


def read_environment(threads: int | None, load_before: float) -> Environment:
    """The environment now; call it right after a measurement.

    Args:
        threads: as given to `edgedet.load`.
        load_before: `load_average()` from right before the measurement.
    """
    cores = os.cpu_count() or 1
    return Environment(
        cpu=cpu_name(),
        cores=cores,
        usable_cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores,
        threads=threads,
        governor=_read(_CPUFREQ / "scaling_governor"),
        cpu_mhz=_cpu_mhz(),
        load_average_1m=(load_before, load_average()),
        memory_bytes=psutil.virtual_memory().total,
        os=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        versions=installed_versions(_LIBRARIES),
    )


def load_average() -> float:
    """Mean number of processes that wanted a core during the last minute."""
    return round(float(psutil.getloadavg()[0]), 2)


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
