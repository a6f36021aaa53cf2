#!/usr/bin/env python3
"""Times the Core ML model of this folder on this Mac, or on an iPhone or iPad attached to it. See README.md.

    python3 measure.py
    python3 measure.py --ios --team TEAM_ID

Writes result.json. Needs coremltools 8.3 or later and Pillow; sends nothing anywhere.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import hashlib
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SCHEMA = 1
UNITS = ("ALL", "CPU_AND_NE", "CPU_AND_GPU", "CPU_ONLY")
PICTURES_ON_A_PHONE = 30  # each run there is a message of its own that takes about a second


class RefusalError(Exception):
    """Why a measurement cannot be made here, in one line."""


def main() -> int:
    options = parsed()
    job = json.loads((HERE / "job.json").read_text(encoding="utf-8"))
    if options.one:
        row = measure_one(job, options.one, options)
        Path(options.answer).write_text(json.dumps(row), encoding="utf-8")
        return 0
    try:
        check(job)
    except RefusalError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rows = []
    for units in options.units.split(","):
        print(f"{units} ...", flush=True)
        rows.append(in_own_process(units, options))
        row = rows[-1]
        print(f"  not run: {row['not_run']}" if "not_run" in row else f"  {len(row['runs_ms'])} runs", flush=True)
    out = Path(options.out)
    out.write_text(json.dumps({"schema": SCHEMA, "kit": "coreml", "job": job, "results": rows}), encoding="utf-8")
    print(f"Written: {out}\nBring it back with: edgedet bench {job['facts']['artifact']} --import {out.name}")
    return 1 if any("not_run" in row for row in rows) else 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", default=",".join(UNITS), help="compute units, with commas; default: all four")
    parser.add_argument("--ios", nargs="?", const="", metavar="UDID", help="measure on an attached iPhone or iPad")
    parser.add_argument("--team", default="", help="with --ios: the Apple development team that signs the helper app")
    parser.add_argument("--out", default=str(HERE / "result.json"), help="where the result goes")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--answer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = [units for units in options.units.split(",") if units not in UNITS]
    if unknown:
        parser.error(f"--units {unknown[0]}: choose from {', '.join(UNITS)}")
    return options


def check(job: dict[str, Any]) -> None:
    if job.get("schema") != SCHEMA:
        raise RefusalError("job.json is of another version than measure.py; make the kit again")
    if platform.system() != "Darwin":
        raise RefusalError("Core ML is on Macs only; copy this folder to one")
    if digest(HERE / job["package"]) != job["facts"]["sha256"]:
        raise RefusalError(f"{job['package']} is not the file that the kit was made for; copy the whole folder again")
    try:
        import coremltools  # noqa: F401
        import PIL  # noqa: F401
    except ImportError as error:
        raise RefusalError(f"{error}; run: pip install coremltools pillow") from error


def digest(package: Path) -> str:
    """As edgedet computes it: over the sorted relative names and contents. What Finder adds does not count."""
    found = hashlib.sha256()
    parts = [path for path in package.rglob("*") if path.is_file() and path.name != ".DS_Store"]
    for path in sorted(parts):
        content = path.read_bytes()
        found.update(f"{path.relative_to(package).as_posix()}\0{len(content)}\0".encode() + content)
    return found.hexdigest()


def own_copy(job: dict[str, Any]) -> str:
    """A copy to open: coremltools writes the manifest of a package anew when it opens one, and the digest changes."""
    scratch = tempfile.mkdtemp(prefix="coreml-kit-")
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    return str(shutil.copytree(HERE / job["package"], Path(scratch) / job["package"]))


def in_own_process(units: str, options: argparse.Namespace) -> dict[str, Any]:
    """One choice of compute units, in a process that has loaded nothing before."""
    with tempfile.TemporaryDirectory() as scratch:
        answer = Path(scratch) / "answer.json"
        command = [sys.executable, str(Path(__file__).resolve()), "--one", units, "--answer", str(answer)]
        command += ["--team", options.team, *(["--ios", options.ios] if options.ios is not None else [])]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.exists():
            return dict(json.loads(answer.read_text(encoding="utf-8")))
        said = (ended.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return not_run(units, options, f"the measuring process ended with {ended.returncode}: {said[:300]}")


def not_run(units: str, options: argparse.Namespace, reason: str) -> dict[str, Any]:
    where = "mac" if options.ios is None else f"ios:{options.ios}".rstrip(":")
    return {"compute_units": units, "where": where, "not_run": reason}


def measure_one(job: dict[str, Any], units: str, options: argparse.Namespace) -> dict[str, Any]:
    try:
        if options.ios is not None:
            return asyncio.run(on_phone(job, units, options.ios, options.team))
        return on_mac(job, units)
    except RefusalError as error:
        return not_run(units, options, str(error))


def on_mac(job: dict[str, Any], units: str) -> dict[str, Any]:
    import coremltools as ct
    from PIL import Image

    pictures = []
    for name in job["pictures"]:
        with Image.open(HERE / name) as picture:
            pictures.append({job["input"]: picture.convert("RGB")})
    package = own_copy(job)
    begun = time.perf_counter()
    model = ct.models.MLModel(package, compute_units=ct.ComputeUnit[units])
    built_ms = (time.perf_counter() - begun) * 1e3
    if not hasattr(type(model), "last_predict_duration_in_nano_seconds"):
        raise RefusalError(
            f"coremltools {ct.__version__} does not tell how long a prediction took; install 8.3 or later"
        )

    def predict(inputs: dict[str, Any]) -> tuple[float, float]:
        """Milliseconds within Core ML, and with the passage from and to Python."""
        start = time.perf_counter()
        model.predict(inputs)
        return model.last_predict_duration_in_nano_seconds / 1e6, (time.perf_counter() - start) * 1e3

    load_before, thermal_before = os.getloadavg()[0], thermal_state()
    first_ms, _ = predict(pictures[0])
    runs_ms, wall_ms, starts_s = recorded(predict, pictures, job["request"])
    notes = {"compile and load, with coremltools": f"{built_ms:.0f} ms"}
    if thermal_before:
        notes["thermal state"] = f"{thermal_before} before, {thermal_state()} after"
    return {
        "compute_units": units,
        "device": mac_info(),
        "load_ms": model.load_duration_in_nano_seconds / 1e6,
        "first_ms": first_ms,
        "runs_ms": runs_ms,
        "wall_ms": wall_ms,
        "starts_s": starts_s,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,  # bytes on macOS
        "load_average_1m": [load_before, os.getloadavg()[0]],
        "versions": versions(ct),
        "plan": plan_of(mac_plan(ct, model, units)),
        "notes": notes,
    }


def recorded(
    predict: Callable[[dict[str, Any]], tuple[float, float]], pictures: list[dict[str, Any]], request: dict[str, Any]
) -> tuple[list[float], list[float], list[float]]:
    """Run as `edgedet bench` does: times within Core ML, times seen from here, and when each run began."""
    mode, budget = request["mode"], request["budget"]
    seconds, least, most = limits(mode, budget)
    gap_s = 1 / mode["fps"] if mode["kind"] == "rate" else 0.0
    runs_ms: list[float] = []
    wall_ms: list[float] = []
    starts_s: list[float] = []
    frame, origin = 0, time.perf_counter()
    for inputs in cycle(pictures):
        now = time.perf_counter() - origin
        elapsed = frame * gap_s if gap_s else now
        if len(runs_ms) >= least and (elapsed >= seconds or len(runs_ms) >= most):
            return runs_ms, wall_ms, starts_s
        if gap_s and frame * gap_s > now:
            time.sleep(frame * gap_s - now)
        starts_s.append(time.perf_counter() - origin)
        own, wall = predict(inputs)
        runs_ms.append(own)
        wall_ms.append(wall)
        frame = max(frame + 1, int((time.perf_counter() - origin) / gap_s)) if gap_s else 0
    raise ValueError("a kit without pictures")


def limits(mode: dict[str, Any], budget: dict[str, Any]) -> tuple[float, int, int]:
    """Seconds, least and most runs."""
    if mode["kind"] == "sustained":
        return mode["minutes"] * 60, budget["min_samples"], sys.maxsize
    if mode["kind"] == "rate":
        return budget["seconds"], budget["min_samples"], sys.maxsize
    if mode["early_stopping"]:
        return max(budget["seconds"], 60.0), max(budget["min_samples"], 1024), sys.maxsize
    return budget["seconds"], budget["min_samples"], budget["max_samples"]


async def on_phone(job: dict[str, Any], units: str, udid: str, team: str) -> dict[str, Any]:
    """By coremltools' helper app, which Xcode builds, signs and starts on the phone."""
    import coremltools as ct
    import numpy as np
    from coremltools.models.ml_program.experimental.perf_utils import MLModelBenchmarker
    from PIL import Image

    mode = job["request"]["mode"]
    if mode["kind"] != "steady" or mode["early_stopping"]:
        raise RefusalError("each run on a phone is a message of its own, so only the steady mode has a meaning there")
    model = with_arrays(ct, ct.models.MLModel(own_copy(job), skip_model_load=True), units)
    arrays = []
    for name in job["pictures"]:
        with Image.open(HERE / name) as picture:
            arrays.append(np.asarray(picture.convert("RGB"), dtype=np.float32).transpose(2, 0, 1)[None].copy())
    phone = await prepared(find_phone(udid), team)
    benchmarker = MLModelBenchmarker(model, device=phone)
    load_ms = (await benchmarker.benchmark_load(iterations=1)).samples[0]
    runs_ms: list[float] = []
    wall_ms: list[float] = []
    starts_s: list[float] = []
    first_ms = (await benchmarker.benchmark_predict({job["input"]: arrays[0]}, iterations=1)).samples[0]
    origin = time.perf_counter()
    for number in range(max(PICTURES_ON_A_PHONE, len(arrays))):
        starts_s.append(time.perf_counter() - origin)
        measured = await benchmarker.benchmark_predict({job["input"]: arrays[number % len(arrays)]}, iterations=1)
        runs_ms.append(measured.samples[0])
        wall_ms.append((time.perf_counter() - origin - starts_s[-1]) * 1e3)
    return {
        "compute_units": units,
        "device": phone_info(phone),
        "load_ms": load_ms,
        "first_ms": first_ms,
        "runs_ms": runs_ms,
        "wall_ms": wall_ms,
        "starts_s": starts_s,
        "peak_memory_bytes": None,
        "load_average_1m": None,
        "versions": versions(ct),
        "plan": plan_of(await phone_plan(benchmarker)),
        "notes": {
            "pace": "a run about every second: each is a message to the phone, whose clocks rest in between",
            "input": "declared as an array instead of an image, the only kind that coremltools sends to a phone",
        },
    }


def with_arrays(ct: Any, model: Any, units: str) -> Any:
    """The same model with its image input declared as the (1, 3, H, W) float32 array that its program takes."""
    spec = model.get_spec()
    parts = [spec, *spec.pipeline.models[:1]]
    if parts[-1].WhichOneof("Type") != "mlProgram":
        raise RefusalError("a neural network of iOS 14 takes no arrays, and coremltools sends nothing else to a phone")
    for part in parts:
        kind = part.description.input[0].type
        height, width = kind.imageType.height, kind.imageType.width
        kind.multiArrayType.shape.extend([1, 3, height, width])
        kind.multiArrayType.dataType = ct.proto.FeatureTypes_pb2.ArrayFeatureType.FLOAT32
    return ct.models.MLModel(
        spec, weights_dir=model.weights_dir, compute_units=ct.ComputeUnit[units], skip_model_load=True
    )


def find_phone(udid: str) -> Any:
    from coremltools.models.ml_program.experimental.remote_device import Device, DeviceType

    kinds = (DeviceType.IPHONE, DeviceType.IPAD)
    phones = [phone for kind in kinds for phone in Device.get_connected_devices(kind)]
    wanted = [phone for phone in phones if udid in ("", phone.udid)]
    if not wanted:
        raise RefusalError(
            "no such iPhone or iPad is connected; unlock it, trust this Mac, and switch Developer Mode on"
        )
    if len(wanted) > 1:
        raise RefusalError(
            f"several are connected; choose with --ios UDID: {', '.join(phone.udid for phone in wanted)}"
        )
    return wanted[0]


async def prepared(phone: Any, team: str) -> Any:
    from coremltools.models.ml_program.experimental.remote_device import AppSigningCredentials

    try:
        return await phone.prepare_for_model_debugging(AppSigningCredentials(development_team=team))
    except Exception as error:  # Xcode, signing and the cable each fail in their own way
        raise RefusalError(f"the helper app cannot be built or started: {str(error).splitlines()[0][:200]}") from error


def mac_plan(ct: Any, model: Any, units: str) -> Any:
    """The compute plan, or why there is none."""
    try:
        path = model.get_compiled_model_path()
        return ct.models.compute_plan.MLComputePlan.load_from_path(path, compute_units=ct.ComputeUnit[units])
    except Exception as error:  # needs macOS 14.4; what older ones raise differs
        return f"none: {error}"


async def phone_plan(benchmarker: Any) -> Any:
    try:
        return await benchmarker._loaded_model.retrieve_compute_plan()
    except Exception as error:  # needs iOS 17.4
        return f"none: {error}"


def plan_of(plan: Any) -> dict[str, Any]:
    """Operators by the device that Core ML prefers for them, with their share of the estimated cost."""
    if isinstance(plan, str):
        return {"missing": plan[:300], "operators": []}
    operators = []
    for operation in programs(plan.model_structure):
        usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
        if usage is None:
            continue
        cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
        supported = [short(device) for device in usage.supported_compute_devices]
        operators.append(
            {
                "operator": operation.operator_name,
                "output": operation.outputs[0].name if operation.outputs else "",
                "device": short(usage.preferred_compute_device),
                "supported": supported,
                "share": cost.weight if cost is not None else None,
            }
        )
    return {"missing": "" if operators else "Core ML tells nothing of this kind of model", "operators": operators}


def programs(structure: Any) -> list[Any]:
    """Operations of a program, or of those within a pipeline."""
    if structure.pipeline is not None:
        return [one for _, part in as_pairs(structure.pipeline.sub_models) for one in programs(part)]
    if structure.program is None:
        return []
    return list(structure.program.functions["main"].block.operations)


def as_pairs(parts: Any) -> list[Any]:
    return list(parts.items()) if isinstance(parts, dict) else list(parts)


def short(device: Any) -> str:
    """ "CPU", "GPU" or "NeuralEngine" from "MLCPUComputeDevice"."""
    return type(device).__name__.replace("ML", "", 1).replace("ComputeDevice", "")


def mac_info() -> dict[str, Any]:
    cpu = sysctl("machdep.cpu.brand_string")
    return {
        "kind": "mac",
        "name": "mac",
        "model": f"{sysctl('hw.model')}, {cpu}",
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_bytes": int(sysctl("hw.memsize") or 0) or None,
        "os": f"macOS {platform.mac_ver()[0]} {platform.machine()}",
    }


def phone_info(phone: Any) -> dict[str, Any]:
    return {
        "kind": "ios",
        "name": f"ios:{phone.udid}",
        "model": f"{phone.name} ({phone.type.value})",
        "cpu": "",
        "cores": None,
        "memory_bytes": None,
        "os": f"iOS {phone.os_version} ({phone.os_build_number})",
    }


def sysctl(name: str) -> str:
    return subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=False).stdout.strip()


def thermal_state() -> str:
    """The limit that heat puts on the CPU, in words; empty where the Mac says nothing."""
    said = subprocess.run(["pmset", "-g", "therm"], capture_output=True, text=True, check=False).stdout
    lines = [" ".join(line.split()) for line in said.splitlines() if "=" in line]
    return "; ".join(lines)[:200]


def versions(ct: Any) -> dict[str, str]:
    return {"python": platform.python_version(), "coremltools": ct.__version__, "macOS": platform.mac_ver()[0]}


if __name__ == "__main__":
    sys.exit(main())
