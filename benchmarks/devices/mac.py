"""This Mac's Core ML: the kit's own script, run here. Elsewhere a kit does the same on another Mac."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgedet.benchmarks.devices.coreml_kit import RESULT, SCRIPT, make_kit
from edgedet.benchmarks.devices.coreml_kit_result import read_kit_result
from edgedet.benchmarks.environment import DeviceInfo, host_info
from edgedet.benchmarks.latency import Latency
from edgedet.benchmarks.request import Request, seconds_of
from edgedet.errors import ConfigError, EdgedetError, NotRunError
from edgedet.progress import progress_bar

UNITS = ("ALL", "CPU_AND_NE", "CPU_AND_GPU", "CPU_ONLY")
_KIT = "On another system: edgedet bench FILE.mlpackage --make-kit coreml --out DIR, and run that on a Mac."


@dataclass(frozen=True)
class CoreMLDevice:
    """A Mac, or a phone attached to it.

    Attributes:
        name: as on the command line.
        units: Core ML's compute units.
        arguments: further ones of the kit's script.
        needs_xcode: whether a helper app must be built.
    """

    name: str
    units: str
    arguments: tuple[str, ...] = ()
    needs_xcode: bool = False

    def describe(self) -> DeviceInfo:
        """See `Device.describe`: of the Mac; what a phone is shows when it is used."""
        self._check_system()
        return replace(host_info(), kind=self.name.partition(":")[0], name=self.name)

    def measure(self, file: Path, request: Request) -> Latency:
        """See `Device.measure`."""
        self._check_system()
        with tempfile.TemporaryDirectory(prefix="edgedet-coreml-") as scratch:
            kit = make_kit(file, request, Path(scratch) / "kit")
            self._run_script(kit, request)
            (result,) = read_kit_result(kit / RESULT, [file])
        if not isinstance(result, Latency):
            raise NotRunError(f"{file}: {result.reason}", "See docs/benchmarking.md about Macs and phones.")
        return result

    def _check_system(self) -> None:
        wanted = "macOS with Xcode" if self.needs_xcode else "macOS"
        if platform.system() != "Darwin" or (self.needs_xcode and shutil.which("xcodebuild") is None):
            raise NotRunError(f"needs {wanted}", _KIT)

    def _run_script(self, kit: Path, request: Request) -> None:
        limit_s = seconds_of(request) + request.budget.limit_seconds
        command = [sys.executable, str(kit / SCRIPT), "--units", self.units, *self.arguments]
        with progress_bar() as bar:
            bar.add_task(f"Timing on {self.name}", total=None)
            try:
                ended = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
            except subprocess.TimeoutExpired as error:
                raise EdgedetError(
                    f"{self.name}: gave no result within {limit_s:.0f} s", "Choose a smaller model."
                ) from error
        if not (kit / RESULT).exists():
            said: Sequence[str] = ended.stderr.strip().splitlines() or ["it said nothing"]
            raise NotRunError(f"{self.name}: {said[-1].removeprefix('error: ')}", _KIT)


def chosen_units(options: Mapping[str, str]) -> str:
    """Core ML's compute units from the options, ALL by default.

    Raises:
        ConfigError: there are no such units.
    """
    units = options.get("units", "ALL")
    if units not in UNITS:
        raise ConfigError(f"compute units {units!r} are not Core ML's", f"Choose from {', '.join(UNITS)}.")
    return units


def open_device(argument: str, options: Mapping[str, str]) -> CoreMLDevice:
    """There is one Mac.

    Raises:
        ConfigError: it was given an argument, or has no such units.
    """
    if argument:
        raise ConfigError(f"mac:{argument}: this Mac has no other name", "Say mac.")
    return CoreMLDevice("mac", chosen_units(options))
