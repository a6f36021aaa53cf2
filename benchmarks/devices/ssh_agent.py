"""What runs on a board: one file that needs Python 3.8, numpy and a runtime there, and nothing of edgedet.

python3 ssh_agent.py describe          one line: what the machine is
python3 ssh_agent.py run FOLDER        times FOLDER/request.json, FOLDER/inputs.npz and the model it names

It answers with lines of JSON on stdout, each {"event": ...}: "start", "loaded", "runs" (now and then, between two
runs), "end", or "error" with what is wrong and what to do.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable  # noqa: UP035 (Python 3.8 cannot subscript collections.abc's)

_TELL_EVERY_S = 1.0
_CPU_ZONE = re.compile(r"cpu|soc|tsens|x86_pkg", re.IGNORECASE)
_LIBRARIES = ("numpy", "ai-edge-litert", "tflite-runtime", "tensorflow", "onnxruntime", "onnxruntime-gpu")
Run = Callable[[Any], None]


class FaultError(Exception):
    """Something the user can mend: `kind` is "missing" or "file"."""

    def __init__(self, kind: str, what: str, remedy: str) -> None:
        super().__init__(what)
        self.kind, self.what, self.remedy = kind, what, remedy


def main(arguments: list[str]) -> None:
    try:
        if arguments[0] == "describe":
            tell("start", device=describe())
        else:
            measure(Path(arguments[1]))
    except FaultError as fault:
        tell("error", kind=fault.kind, what=fault.what, remedy=fault.remedy)


def tell(event: str, **values: Any) -> None:
    print(json.dumps({"event": event, **values}), flush=True)


def measure(folder: Path) -> None:
    request = json.loads((folder / "request.json").read_text())
    if request["cores"] is not None:
        try:
            os.sched_setaffinity(0, request["cores"])
        except OSError as error:
            cores = ", ".join(str(core) for core in request["cores"])
            raise FaultError("missing", f"it cannot be pinned to cores {cores} ({error})", "Choose others.") from error
    runtime = RUNTIMES[request["format"]]()
    tell("start", device=describe(), versions=versions(), before=reading())
    start = time.perf_counter()
    name, provider, run = runtime(str(folder / request["model"]), request["threads"])
    load_ms = (time.perf_counter() - start) * 1e3
    inputs = read_inputs(folder / "inputs.npz")
    start = time.perf_counter()
    run(inputs[0])
    first_ms = (time.perf_counter() - start) * 1e3
    tell("loaded", runtime=name, provider=provider, load_ms=load_ms, first_ms=first_ms)
    watch = Watch()
    gc.collect()
    gc.disable()
    begun = time.perf_counter()
    record(run, inputs, request, begun)
    wall = time.perf_counter() - begun
    tell("end", after=reading(), peak_memory_bytes=peak_memory_bytes(), **watch.ended(wall))


def read_inputs(path: Path) -> list[Any]:
    import numpy

    with numpy.load(str(path)) as held:
        return [held[name] for name in sorted(held.files, key=lambda name: int(name[1:]))]


def record(run: Run, inputs: list[Any], request: dict[str, Any], begun: float) -> None:
    """Run until the request is fulfilled, and tell the times between two runs once a second."""
    clock, fps = time.perf_counter, request["fps"]
    starts: list[float] = []
    times: list[float] = []
    count, frame, told = 0, 0, begun
    while True:
        elapsed = frame / fps if fps else clock() - begun
        most = request["max_samples"]
        if count >= request["min_samples"] and (elapsed >= request["seconds"] or (most and count >= most)):
            break
        if clock() - told >= _TELL_EVERY_S:
            tell("runs", starts_s=starts, ms=times)
            starts, times, told = [], [], clock()
        if fps:  # a picture arrives every 1 / fps seconds; the newest is taken, without a new one we wait
            time.sleep(max(begun + frame / fps - clock(), 0.0))
        start = clock()
        run(inputs[count % len(inputs)])
        times.append((clock() - start) * 1e3)
        starts.append(start - begun)
        count += 1
        if fps:
            frame = max(frame + 1, int((clock() - begun) * fps))
    tell("runs", starts_s=starts, ms=times)


# Runtimes: each looks its library up when called, and gives a loader of (path, threads).


def tflite_runtime() -> Callable[[str, int | None], tuple[str, str, Run]]:
    module, library = _first("tflite", ("ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow.lite"))

    def load(path: str, threads: int | None) -> tuple[str, str, Run]:
        try:
            interpreter = module.Interpreter(model_path=path, num_threads=threads)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise FaultError(
                "file", f"{library} refuses the file ({_line(error)})", "Update the runtime there."
            ) from error
        tensor = interpreter.get_input_details()[0]["index"]
        outputs = [detail["index"] for detail in interpreter.get_output_details()]

        def run(value: Any) -> None:
            interpreter.set_tensor(tensor, value)
            interpreter.invoke()
            for output in outputs:
                interpreter.get_tensor(output)

        return library, "", run

    return load


def onnx_runtime() -> Callable[[str, int | None], tuple[str, str, Run]]:
    module, library = _first("onnx", ("onnxruntime",))

    def load(path: str, threads: int | None) -> tuple[str, str, Run]:
        options = module.SessionOptions()
        options.log_severity_level = 4
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            session = module.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no common base
            raise FaultError(
                "file", f"{library} refuses the file ({_line(error)})", "Update the runtime there."
            ) from error
        name = session.get_inputs()[0].name
        return library, session.get_providers()[0], lambda value: session.run(None, {name: value})

    return load


RUNTIMES = {"tflite": tflite_runtime, "onnx": onnx_runtime}


def _first(format: str, names: tuple[str, ...]) -> tuple[Any, str]:
    """The first of several libraries that can be imported, and its name with its version."""
    _import("numpy", "pip install numpy")
    packages = {
        "ai_edge_litert.interpreter": "ai-edge-litert",
        "tflite_runtime.interpreter": "tflite-runtime",
        "tensorflow.lite": "tensorflow",
        "onnxruntime": "onnxruntime",
    }
    for name in names:
        try:
            return importlib.import_module(name), f"{packages[name]} {_version(packages[name]) or '?'}"
        except ImportError:
            continue
    wanted = " or ".join(packages[name] for name in names)
    raise FaultError(
        "missing",
        f"no runtime for .{format} files in {sys.executable} there ({wanted})",
        f"Run on the device: {sys.executable} -m pip install {packages[names[0]]}",
    )


def _import(name: str, remedy: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise FaultError(
            "missing", f"{name} is missing in {sys.executable} there", f"Run on the device: {remedy}"
        ) from error


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


# The machine


def describe() -> dict[str, Any]:
    """What `DeviceInfo` holds, but for the name it goes by here."""
    memory = re.search(r"MemTotal:\s*(\d+) kB", _read("/proc/meminfo") or "")
    details = {"hostname": platform.node()}
    power = _command("nvpmodel", "-q")
    if power:
        details["power mode"] = " ".join(power.split())[:120]
    cpu = _cpu()
    return {
        "model": _board() or cpu,
        "cpu": cpu,
        "cores": os.cpu_count() or 1,
        "memory_bytes": int(memory.group(1)) * 1024 if memory else None,
        "os": f"{_distribution()} {platform.release()} {platform.machine()}".strip(),
        "details": details,
    }


def _board() -> str:
    """A board's name: device tree (Raspberry Pi, Jetson), else a PC's."""
    tree = (_read("/proc/device-tree/model") or "").strip("\0 \n")
    return tree or (_read("/sys/class/dmi/id/product_name") or "").strip()


def _cpu() -> str:
    text = _read("/proc/cpuinfo") or ""
    found = re.search(r"^(?:model name|Hardware|Model)\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.machine()


def _distribution() -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]+)', _read("/etc/os-release") or "", re.MULTILINE)
    return found.group(1) if found else platform.system()


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        version = _version(name)
        if version:
            found[name] = version
    return found


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def reading() -> dict[str, Any]:
    """The state now; what cannot be read is None or left out."""
    clocks = [int(text) for path in _cpus("cpufreq/scaling_cur_freq") if (text := (_read(str(path)) or "").strip())]
    notes = {}
    throttled = _command("vcgencmd", "get_throttled")
    if throttled:
        notes["throttled"] = throttled.strip()
    statistics = _first_line("tegrastats")
    if statistics:
        notes["tegrastats"] = statistics[:200]
    return {
        "governor": (_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "").strip() or None,
        "clock_mhz": max(clocks) / 1e3 if clocks else None,
        "temperature_c": temperature_c(),
        "load_average_1m": os.getloadavg()[0],
        "notes": notes,
    }


def temperature_c() -> float | None:
    """Of the hottest zone of the CPU; a Raspberry Pi's own tool where the kernel shows none."""
    found = []
    for zone in Path("/sys/class/thermal").glob("thermal_zone*"):
        kind, value = _read(str(zone / "type")) or "", (_read(str(zone / "temp")) or "").strip()
        if _CPU_ZONE.search(kind) and value.lstrip("-").isdigit() and 0 < int(value) < 150000:
            found.append(int(value) / 1000)
    if found:
        return round(max(found), 1)
    told = re.search(r"temp=([\d.]+)", _command("vcgencmd", "measure_temp") or "")
    return float(told.group(1)) if told else None


def peak_memory_bytes() -> int | None:
    found = re.search(r"VmHWM:\s*(\d+) kB", _read("/proc/self/status") or "")
    return int(found.group(1)) * 1024 if found else None


class Watch:
    """Counts from its making on."""

    def __init__(self) -> None:
        self.busy, self.steal = _busy_seconds()
        self.own, self.switches = time.process_time(), _switches()

    def ended(self, wall_seconds: float) -> dict[str, Any]:
        busy, steal = _busy_seconds()
        others = (busy - self.busy) - (time.process_time() - self.own)
        involuntary, voluntary = (now - then for now, then in zip(_switches(), self.switches))  # noqa: B905
        return {
            "wall_seconds": wall_seconds,
            "other_cores_busy": round(max(others / max(wall_seconds, 1e-9), 0.0), 2),
            "involuntary_switches": involuntary,
            "voluntary_switches": voluntary,
            "steal_seconds": steal - self.steal,
        }


def _busy_seconds() -> tuple[float, float]:
    """Core seconds the machine has worked, and those that a hypervisor took away."""
    cells = [int(cell) for cell in (_read("/proc/stat") or "cpu").splitlines()[0].split()[1:]]
    if len(cells) < 8:
        return 0.0, 0.0
    ticks = os.sysconf("SC_CLK_TCK")
    user, nice, system, _idle, _iowait, irq, softirq, steal = cells[:8]
    return (user + nice + system + irq + softirq + steal) / ticks, steal / ticks


def _switches() -> tuple[int, int]:
    """Involuntary and voluntary context switches of all threads of this process."""
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_nivcsw, usage.ru_nvcsw


def _cpus(name: str) -> list[Path]:
    return sorted(Path("/sys/devices/system/cpu").glob(f"cpu[0-9]*/{name}"))


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return None


def _command(*command: str) -> str | None:
    """Output of a program that this machine may lack."""
    if shutil.which(command[0]) is None:
        return None
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=5).stdout.decode()
    except (OSError, subprocess.TimeoutExpired):
        return None


def _first_line(program: str) -> str | None:
    """Of a program that prints without end."""
    if shutil.which(program) is None:
        return None
    with subprocess.Popen([program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode(errors="replace").strip()
        process.kill()
    return line


if __name__ == "__main__":
    main(sys.argv[1:])
