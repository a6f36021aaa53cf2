"""Where files are timed. A kind of device is one row of `DEVICES` and one module; nothing else knows its name.

A device's name is "KIND" or "KIND:ARGUMENT" ("host", "android:SERIAL", "ssh:USER@HOST"). The module of a kind has
`open_device(argument, options) -> Device`. An adapter records single runs, warm-up included, and leaves all judgement
(where warm-up ends, percentiles, intervals, noise) to `edgedet.benchmarks.recording.latency_from`, so that figures of
different devices mean the same.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from edgedet.benchmarks.environment import DeviceInfo
from edgedet.benchmarks.latency import Latency, NotRun
from edgedet.benchmarks.request import Request
from edgedet.errors import ConfigError, DataError, EdgedetError, NotRunError

__all__ = ["DEVICES", "Batching", "Device", "DeviceKind", "measure_each", "open_device", "open_devices"]


class Device(Protocol):
    """Something that runs model files and tells how long that takes."""

    @property
    def name(self) -> str:
        """As in the command line: "host", "android:SERIAL"."""
        ...

    def describe(self) -> DeviceInfo:
        """What it is.

        Raises:
            NotRunError: it is not there, or does not let us in; the reason and the remedy.
        """
        ...

    def measure(self, file: Path, request: Request) -> Latency:
        """Time one model file, and leave the device as it was found.

        Raises:
            NotRunError: the device is gone, or cannot run this file or this mode; the reason and the remedy.
            ModelFileError: the file is missing, damaged or foreign.
            DataError: an image cannot be read.
            EdgedetError: measuring broke off, or took longer than the budget's limit.
        """
        ...


@runtime_checkable
class Batching(Protocol):
    """A device that takes all files at once, because somebody has to set it going by hand."""

    def measure_files(self, files: Sequence[Path], request: Request) -> list[Latency | NotRun]:
        """As `measure_each`; a file may have several results, one for each way in which the device can run it."""
        ...


@dataclass(frozen=True)
class DeviceKind:
    """One row.

    Attributes:
        prefix: what a name begins with.
        module: import path; has `open_device(argument: str, options: Mapping[str, str]) -> Device`.
        help: one line, as `edgedet bench --help` prints it.
        options: what `--device-option NAME=VALUE` may set, with one line of help each.
        extra: the optional dependency group of edgedet that brings its libraries; "" where none is needed.
    """

    prefix: str
    module: str
    help: str
    options: Mapping[str, str] = field(default_factory=dict)
    extra: str = ""


DEVICES: tuple[DeviceKind, ...] = (
    DeviceKind(
        "host",
        "edgedet.benchmarks.devices.host",
        "this machine",
        {"runtime": "eager, compiled or executorch (.pt), onnxruntime or openvino, xnnpack or plain (.tflite), or all"},
    ),
    DeviceKind(
        "android",
        "edgedet.benchmarks.devices.android",
        "a phone, by adb: android or android:SERIAL",
        {
            "benchmark_model": "path of the tool's binary for the phone or of its .apk, or apk for an installed app",
            "flags": "further flags of the tool, as one text",
            "runs": "summary (the tool's aggregates) or single (samples, three from each process)",
        },
    ),
    DeviceKind(
        "ssh",
        "edgedet.benchmarks.devices.ssh",
        "a board or another computer: ssh:USER@HOST or ssh:USER@HOST:PORT",
        {"python": "the interpreter there that has the runtime", "config": "another configuration file of ssh"},
    ),
    DeviceKind(
        "browser",
        "edgedet.benchmarks.devices.browser",
        "any browser that opens a page: browser, browser:wasm or browser:webgpu",
        {
            "address": "of this machine, to serve the page from",
            "port": "to serve it from",
            "https": "yes or no; without it, browsers elsewhere allow one thread and no WebGPU",
            "minutes": "to wait for a browser",
        },
        extra="browser",
    ),
    DeviceKind(
        "mac",
        "edgedet.benchmarks.devices.mac",
        "this Mac's Core ML; from elsewhere see --make-kit",
        {"units": "Core ML's compute units: ALL, CPU_AND_NE, CPU_AND_GPU or CPU_ONLY"},
    ),
    DeviceKind(
        "ios",
        "edgedet.benchmarks.devices.mac_ios",
        "an iPhone or iPad attached to this Mac: ios or ios:UDID",
        {"units": "as for mac", "team": "the Apple development team that signs the helper app"},
    ),
    DeviceKind(
        "cuda",
        "edgedet.benchmarks.devices.cuda",
        "a GPU of this machine, suppression included: cuda or cuda:NUMBER",
        {
            "ways": "some of eager,compiled,graphs (.pt) and ort-cuda,ort-tensorrt (.onnx); default: all that fit",
            "batches": "pictures a run, with commas: 1,8,32; default: 1",
        },
    ),
    # One row a kind.
)


def open_device(name: str, options: Mapping[str, str] | None = None) -> Device:
    """The device of that name. Whether it is there shows when it is used.

    Args:
        name: "KIND" or "KIND:ARGUMENT".
        options: settings of that kind, by name.

    Raises:
        ConfigError: there is no such kind, or it has no such option.
        NotRunError: a library of that kind is not installed.
    """
    prefix, _, argument = name.partition(":")
    row = next((row for row in DEVICES if row.prefix == prefix), None)
    if row is None:
        known = ", ".join(row.prefix for row in DEVICES)
        raise ConfigError(f"there is no kind of device called {prefix!r}", f"Choose from {known}.")
    for option in options or {}:
        if option not in row.options:
            known = ", ".join(row.options) or "none"
            raise ConfigError(f"device {prefix!r} has no option {option!r}", f"Its options: {known}.")
    try:
        module = importlib.import_module(row.module)
    except ImportError as error:
        remedy = f"Install it with: pip install 'edgedet[{row.extra}]'" if row.extra else "Reinstall edgedet."
        raise NotRunError(f"{name}: a library is missing ({error})", remedy) from error
    device: Device = module.open_device(argument, dict(options or {}))
    return device


def open_devices(names: Iterable[str], options: Mapping[str, str]) -> list[Device]:
    """Several devices; each gets those of the options that its kind has.

    Raises:
        ConfigError: there is no such kind, or an option that none of them has.
        NotRunError: a library of a kind is not installed.
    """
    rows = {name: next((row for row in DEVICES if row.prefix == name.partition(":")[0]), None) for name in names}
    for option in options:
        if not any(row and option in row.options for row in rows.values()):
            raise ConfigError(f"none of the devices has an option {option!r}", "See `edgedet bench --devices`.")
    known = {name: set(row.options) if row else set() for name, row in rows.items()}
    return [open_device(name, {o: v for o, v in options.items() if o in known[name]}) for name in rows]


def measure_each(device: Device, files: Iterable[Path], request: Request) -> list[Latency | NotRun]:
    """Time files one after the other. A file that cannot be timed gives a `NotRun` with the reason.

    Raises:
        DataError: an image cannot be read; that is no fault of any one file.
    """
    if isinstance(device, Batching):
        return device.measure_files(list(files), request)
    results: list[Latency | NotRun] = []
    for file in files:
        try:
            results.append(device.measure(file, request))
        except DataError:
            raise
        except EdgedetError as error:
            results.append(NotRun(str(file), str(error), device.name))
    return results
