"""Phones, by the real `adb` program and the `benchmark_model` tool that the user names. See docs/benchmarking.md."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from edgedet.benchmarks.devices import benchmark_model
from edgedet.benchmarks.devices.adb import Adb, find_device
from edgedet.benchmarks.devices.android_folder import fresh_folder
from edgedet.benchmarks.devices.android_probe import (
    Reading,
    device_info,
    fast_cores,
    notes_of,
    read_cores,
    reading,
)
from edgedet.benchmarks.devices.android_tool import Tool, open_tool
from edgedet.benchmarks.devices.benchmark_model import Fed, Runs
from edgedet.benchmarks.devices.benchmark_model_output import ToolOutput
from edgedet.benchmarks.devices.benchmark_model_summary import operator_notes, pooled, single_runs
from edgedet.benchmarks.devices.raw_inputs import WHAT_IS_TIMED, RawInputs, raw_inputs
from edgedet.benchmarks.environment import DeviceInfo, Environment
from edgedet.benchmarks.latency import ImagesUsed, Latency
from edgedet.benchmarks.recording import Recording, file_facts, latency_from
from edgedet.benchmarks.request import Rate, Request, Steady, Sustained
from edgedet.benchmarks.warmup import WarmUp
from edgedet.errors import ConfigError, NotRunError
from edgedet.progress import progress_bar

TOOL_VARIABLE = "EDGEDET_BENCHMARK_MODEL"
PROCESSES = 5  # the least from which an interval between processes is worth something
_WARMUP_SECONDS = 0.5
_PROFILED_RUNS = 10
_FORMAT = "tflite"  # what benchmark_model reads


def open_device(argument: str, options: Mapping[str, str]) -> AndroidDevice:
    """The phone of that serial number, or the only one."""
    runs = options.get("runs", "summary")
    if runs not in ("summary", "single"):
        raise ConfigError(f"device option runs={runs!r} is neither summary nor single", "Choose one of them.")
    tool = options.get("benchmark_model", os.environ.get(TOOL_VARIABLE, ""))
    flags = benchmark_model.extra_flags(options.get("flags", ""))
    return AndroidDevice(argument, tool, tuple(flags), runs == "single")


@dataclass(frozen=True)
class AndroidDevice:
    """One phone.

    Attributes:
        serial: "" where there is only one.
        tool: as `android_tool.open_tool` takes it.
        flags: further flags of the tool's.
        single: whether single runs are wanted, three from each process, rather than aggregates of many.
    """

    serial: str
    tool: str
    flags: tuple[str, ...] = ()
    single: bool = False

    @property
    def name(self) -> str:
        return f"android:{self.serial}" if self.serial else "android"

    def describe(self) -> DeviceInfo:
        return device_info(find_device(self.serial), self.name)

    def measure(self, file: Path, request: Request) -> Latency:
        facts = file_facts(file)
        if facts.format != _FORMAT:
            raise NotRunError(f"{file}: benchmark_model runs .tflite files only", "Export the model to .tflite.")
        tool = open_tool(self.tool)
        single = self.single or isinstance(request.mode, Sustained)
        _check_mode(request, single)
        adb = find_device(self.serial)
        inputs = raw_inputs(file, request.images)
        size = sum(value.nbytes for value in inputs.values)
        with fresh_folder(adb, facts.file_bytes + size + tool.file_bytes) as folder:
            tool.put(adb, folder)
            try:
                session = _Session(adb, folder, tool, self.flags, request, _pinned(adb, tool, request))
                model = f"{folder}/model.tflite"
                adb.push(file, model)
                adb.shell(f"chmod 644 {model}")
                fed = _push_inputs(adb, folder, tool, inputs)
                recording = session.record(model, fed, single, device_info(adb, self.name), _shown(inputs, fed))
            finally:
                if adb.is_there():
                    tool.remove(adb)
        return latency_from(facts, recording, request)


@dataclass
class _Session:
    """Runs of the tool on one file, and what the phone was like meanwhile."""

    adb: Adb
    folder: str
    tool: Tool
    flags: tuple[str, ...]
    request: Request
    cores: tuple[int, ...] | None
    ended_s: list[float] = field(default_factory=list)

    def record(
        self, model: str, fed: Sequence[Fed], single: bool, device: DeviceInfo, pictures: ImagesUsed
    ) -> Recording:
        before = reading(self.adb)
        outputs = self._single(model, fed) if single else self._summaries(model, fed)
        after = reading(self.adb)
        profiled = self._profile(model, fed)
        starts, runs = self._in_time(outputs) if single else ((), ())
        return Recording(
            runtime=self.tool.dialect.runtime,
            provider=", ".join(outputs[0].delegates),
            images=pictures,
            environment=self._environment(device, before, after, outputs, profiled),
            runs_ms=runs,
            starts_s=starts,
            stages_ms={},
            load_ms=median(output.load_ms for output in outputs),
            first_ms=median(output.first_ms for output in outputs),
            peak_memory_bytes=profiled.peak_memory_bytes if profiled else None,
            summary=None if single else pooled(outputs),
            # Single runs come without the warm-up that each process had.
            warmup=WarmUp(0 if single else round(median(output.warmup_runs for output in outputs)), "by tool"),
        )

    def _summaries(self, model: str, fed: Sequence[Fed]) -> list[ToolOutput]:
        """Several processes share the budget's time; each is shown another picture."""
        budget, processes = self.request.budget, max(PROCESSES, len(fed))
        fps = self.request.mode.fps if isinstance(self.request.mode, Rate) else None
        count = max(budget.min_samples // processes, 2)
        runs = Runs(count, budget.seconds / processes, _WARMUP_SECONDS, fps)
        outputs = []
        with progress_bar() as bar:
            for k in bar.track(range(processes), description=f"Timing on {self.adb.label} (processes)"):
                outputs.append(self._run(model, runs, fed[k % len(fed)] if fed else None))
        return outputs

    def _single(self, model: str, fed: Sequence[Fed]) -> list[ToolOutput]:
        """Processes of three runs, until the budget's time or number is reached."""
        budget, mode = self.request.budget, self.request.mode
        seconds = mode.minutes * 60 if isinstance(mode, Sustained) else budget.seconds
        most = None if isinstance(mode, Sustained) else budget.max_samples
        runs = Runs(3, 0.0, _WARMUP_SECONDS)
        outputs: list[ToolOutput] = []
        start = time.monotonic()
        with progress_bar() as bar:
            task = bar.add_task(f"Timing on {self.adb.label} (s)", total=round(seconds))
            while True:
                outputs.append(self._run(model, runs, fed[len(outputs) % len(fed)] if fed else None))
                elapsed, count = time.monotonic() - start, 3 * len(outputs)
                self.ended_s.append(elapsed)
                bar.update(task, completed=min(round(elapsed), round(seconds)))
                if (elapsed >= seconds and count >= budget.min_samples) or (most is not None and count >= most):
                    return outputs

    def _in_time(self, outputs: Sequence[ToolOutput]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """When each run began, and how long it took. A process ends with its last run, to a tenth of a second."""
        starts: list[float] = []
        runs: list[float] = []
        for end_s, output in zip(self.ended_s, outputs, strict=True):
            times = single_runs(output.runs)
            left_ms = sum(times)
            for time_ms in times:
                starts.append(end_s - left_ms / 1e3)
                left_ms -= time_ms
            runs += times
        return tuple(round(start - starts[0], 4) for start in starts), tuple(runs)

    def _profile(self, model: str, fed: Sequence[Fed]) -> ToolOutput | None:
        """One more process, because measuring operators and memory slows the runs down."""
        if not self.tool.profiles:
            return None
        runs = Runs(_PROFILED_RUNS, 0.0, _WARMUP_SECONDS)
        return self._run(model, runs, fed[0] if fed else None, self.tool.dialect.profile)

    def _run(self, model: str, runs: Runs, fed: Fed | None, extra: Sequence[str] = ()) -> ToolOutput:
        threads = self.request.threads
        flags = benchmark_model.arguments(self.tool.dialect, model, runs, threads, fed, (*extra, *self.flags))
        return self.tool.run(self.adb, self.folder, flags, self.cores, self.request.budget.limit_seconds)

    def _environment(
        self,
        device: DeviceInfo,
        before: Reading,
        after: Reading,
        outputs: Sequence[ToolOutput],
        profiled: ToolOutput | None,
    ) -> Environment:
        first = self.cores[-1] if self.cores else 0
        governor = self.adb.read(f"cat /sys/devices/system/cpu/cpu{first}/cpufreq/scaling_governor").strip()
        notes = {
            **notes_of(before, after),
            "runs": f"{sum(output.runs.count for output in outputs)} in {len(outputs)} processes",
            "stages": WHAT_IS_TIMED,
        }
        if profiled:
            notes |= operator_notes(profiled)
        if self.flags:
            notes["flags"] = " ".join(self.flags)
        return Environment(
            device=device,
            usable_cores=len(self.cores) if self.cores else device.cores,
            threads=self.request.threads,
            pinned_cores=self.cores,
            governor=governor or None,
            clock_mhz=_pair(before.clock_mhz, after.clock_mhz),
            temperature_c=_pair(before.temperature_c, after.temperature_c),
            load_average_1m=_pair(before.load_average_1m, after.load_average_1m),
            versions={"benchmark_model": f"{self.tool.dialect.name} dialect"},
            notes=notes,
        )


def _check_mode(request: Request, single: bool) -> None:
    mode = request.mode
    if isinstance(mode, Steady) and mode.early_stopping and not single:
        raise NotRunError(
            "android: benchmark_model gives aggregates, and early stopping needs single runs",
            "Give --device-option runs=single.",
        )


def _pinned(adb: Adb, tool: Tool, request: Request) -> tuple[int, ...] | None:
    """The cores that were asked for, or the fast ones; None where nothing can be pinned."""
    can = tool.pins and adb.shell("command -v taskset >/dev/null").code == 0
    if request.cores is not None and not can:
        raise NotRunError(f"{adb.label}: nothing can be pinned to cores there", "Leave --cores out.")
    if not can:
        return None
    return request.cores if request.cores is not None else fast_cores(read_cores(adb), request.threads)


def _push_inputs(adb: Adb, folder: str, tool: Tool, inputs: RawInputs) -> list[Fed]:
    """Copy the pictures; none for a tool that makes its own input up."""
    if not tool.dialect.takes_pictures:
        return []
    fed = []
    with tempfile.TemporaryDirectory(prefix="edgedet-android-") as scratch:
        for k, value in enumerate(inputs.values):
            local = Path(scratch) / f"input{k}.bin"
            local.write_bytes(value.tobytes())
            adb.push(local, f"{folder}/{local.name}")
            fed.append(Fed(tuple(value.shape), f"{folder}/{local.name}"))
    adb.shell(f"chmod 644 {folder}/*.bin")
    return fed


def _shown(inputs: RawInputs, fed: Sequence[Fed]) -> ImagesUsed:
    """The pictures, or the random input of (1, H, W, 3) that a tool without them makes up."""
    _, height, width, _ = inputs.values[0].shape
    return inputs.used if fed else ImagesUsed("random", ((width, height),))


def _pair(before: float | None, after: float | None) -> tuple[float, float] | None:
    return None if before is None or after is None else (before, after)
