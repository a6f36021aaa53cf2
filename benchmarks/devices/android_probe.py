"""What a phone tells about itself: maker, cores and their clocks, heat, battery. Parsers take text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgedet.benchmarks.devices.adb import Adb
from edgedet.benchmarks.environment import DeviceInfo

# Android's PowerManager.THERMAL_STATUS_*; dumpsys prints the number.
_THERMAL_STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
_MOST_CAPACITY = 1024  # Linux's scale of cpu_capacity; clocks are in kHz
_CPU_TEMPERATURE = 0  # android.hardware.thermal TemperatureType::CPU
_PROPERTIES = {
    "maker": ("ro.product.manufacturer",),
    "model": ("ro.product.model",),
    "release": ("ro.build.version.release",),
    "sdk": ("ro.build.version.sdk",),
    "soc": ("ro.soc.model", "ro.board.platform", "ro.hardware"),
    "abi": ("ro.product.cpu.abi",),
}
_TOPOLOGY = (
    "for c in /sys/devices/system/cpu/cpu[0-9]*; do "
    'echo "${c##*cpu} $(cat $c/online 2>/dev/null || echo 1) '
    '$(cat $c/cpufreq/cpuinfo_max_freq 2>/dev/null || echo 0) $(cat $c/cpu_capacity 2>/dev/null || echo 0)"; done'
)
_ZONES = (
    'for z in /sys/class/thermal/thermal_zone*; do echo "$(cat $z/type 2>/dev/null) $(cat $z/temp 2>/dev/null)"; done'
)
_CLOCKS = "cat /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"
_TEMPERATURE = re.compile(r"Temperature\{mValue=([-\d.]+), mType=(-?\d+), mName=([^,]*), mStatus=(\d+)\}")
_CPU_ZONE = re.compile(r"cpu|tsens_tz_sensor|soc|cluster|BIG|LITTLE|MID", re.IGNORECASE)


@dataclass(frozen=True)
class Core:
    """One core: its number, and what its speed is ordered by (kHz, or the kernel's capacity; 0 where not readable)."""

    number: int
    speed: int


@dataclass(frozen=True)
class Reading:
    """The state of a phone at one moment; None where it does not tell.

    Attributes:
        clock_mhz: the fastest core's clock.
        temperature_c: of the hottest sensor of the CPU.
        thermal_status: in Android's words ("none" ... "shutdown").
        battery: level, temperature and charging, in words.
    """

    clock_mhz: float | None
    temperature_c: float | None
    load_average_1m: float | None
    thermal_status: str | None
    battery: str | None


def device_info(adb: Adb, name: str) -> DeviceInfo:
    """What the phone is.

    Args:
        name: as on the command line.
    """
    script = "; ".join(f"echo {key}:{prop}=$(getprop {prop})" for key, props in _PROPERTIES.items() for prop in props)
    found: dict[str, str] = {}
    for line in adb.read(script).splitlines():
        head, _, value = line.partition("=")
        if value.strip():
            found.setdefault(head.split(":")[0], value.strip())
    memory = re.search(r"MemTotal:\s*(\d+) kB", adb.read("cat /proc/meminfo"))
    kernel, found_cores = adb.read("uname -r").strip(), read_cores(adb)
    model = f"{found.get('maker', '')} {found.get('model', '')}".strip() or adb.serial
    soc = found.get("soc", "")
    return DeviceInfo(
        kind="android",
        name=name,
        model=model,
        cpu=soc or "unknown",
        cores=max(len(found_cores), 1),
        memory_bytes=int(memory.group(1)) * 1024 if memory else None,
        os=f"Android {found.get('release', '?')} (API {found.get('sdk', '?')}) {found.get('abi', '')}".strip(),
        details={"serial": adb.serial, "kernel": kernel, "clusters": clusters(found_cores)},
    )


def read_cores(adb: Adb) -> tuple[Core, ...]:
    """The cores that are on line."""
    return cores(adb.read(_TOPOLOGY))


def cores(text: str) -> tuple[Core, ...]:
    """Parse lines "number online kHz capacity"; where no clock can be read, the kernel's capacity orders the cores."""
    rows = [[int(cell) for cell in line.split()] for line in text.splitlines() if re.fullmatch(r"\d+( \d+){3}", line)]
    by_clock = any(row[2] for row in rows)
    return tuple(Core(row[0], row[2] if by_clock else row[3]) for row in sorted(rows) if row[1])


def fast_cores(found: Sequence[Core], threads: int | None) -> tuple[int, ...] | None:
    """The cores to run on: whole clusters, the fastest first, until there is one core a thread.

    Without a number of threads: all but the slowest cluster. None where nothing can be told apart, so that the phone
    decides by itself.
    """
    speeds = sorted({core.speed for core in found}, reverse=True)
    if len(speeds) < 2:
        return None
    chosen: list[int] = []
    for speed in speeds[:-1] if threads is None else speeds:
        chosen += [core.number for core in found if core.speed == speed]
        if threads is not None and len(chosen) >= threads:
            break
    return tuple(sorted(chosen))


def clusters(found: Sequence[Core]) -> str:
    """In words, the fastest first: "1 x 3000 MHz, 3 x 2400 MHz"; by capacity where clocks are not readable."""
    counts: dict[int, int] = {}
    for core in found:
        counts[core.speed] = counts.get(core.speed, 0) + 1
    return ", ".join(
        f"{count} x {speed // 1000} MHz" if speed > _MOST_CAPACITY else f"{count} x capacity {speed}"
        for speed, count in sorted(counts.items(), reverse=True)
    )


def mask(numbers: Sequence[int]) -> str:
    """The cores as `taskset` takes them: hexadecimal, without a prefix (toybox knows no list)."""
    return f"{sum(1 << number for number in numbers):x}"


def reading(adb: Adb) -> Reading:
    """The state now. What a phone lacks costs nothing but a None."""
    clocks = [int(line) for line in adb.shell(f"{_CLOCKS} 2>/dev/null").output.split() if line.isdigit()]
    status, temperature = thermal(adb.read("dumpsys thermalservice"))
    if temperature is None:
        temperature = hottest_zone(adb.read(_ZONES))
    load = adb.read("cat /proc/loadavg").split()
    return Reading(
        clock_mhz=round(max(clocks) / 1e3, 1) if clocks else None,
        temperature_c=temperature,
        load_average_1m=float(load[0]) if load else None,
        thermal_status=status,
        battery=battery(adb.read("dumpsys battery")),
    )


def thermal(text: str) -> tuple[str | None, float | None]:
    """Status and hottest CPU sensor of `dumpsys thermalservice`; current temperatures win over cached ones."""
    status = re.search(r"Thermal Status: (\d+)", text)
    name = _THERMAL_STATUS[min(int(status.group(1)), len(_THERMAL_STATUS) - 1)] if status else None
    current = text.partition("Current temperatures from HAL:")[2].partition("Current cooling devices")[0]
    for part in (current, text):
        values = [float(value) for value, kind, *_ in _TEMPERATURE.findall(part) if int(kind) == _CPU_TEMPERATURE]
        if values:
            return name, round(max(values), 1)
    return name, None


def hottest_zone(text: str) -> float | None:
    """From lines "type temperature" of /sys/class/thermal: kernels give thousandths of a degree, some whole degrees."""
    found = []
    for line in text.splitlines():
        kind, _, value = line.rpartition(" ")
        if kind and re.fullmatch(r"-?\d+", value) and _CPU_ZONE.search(kind):
            celsius = int(value) / 1000 if abs(int(value)) >= 1000 else float(value)
            found.append(celsius)
    plausible = [celsius for celsius in found if 0 < celsius < 150]  # a sensor that is off reads 0 or nonsense
    return round(max(plausible), 1) if plausible else None


def battery(text: str) -> str | None:
    """`dumpsys battery` in words: "83 %, 31.2 C, charging over USB"."""
    fields = dict(re.findall(r"^\s*([\w ]+): (\S+)$", text, re.MULTILINE))
    if "level" not in fields:
        return None
    parts = [f"{fields['level']} %"]
    if re.fullmatch(r"-?\d+", fields.get("temperature", "")):
        parts.append(f"{int(fields['temperature']) / 10:.1f} C")
    power = [name for name in ("AC", "USB", "Wireless", "Dock") if fields.get(f"{name} powered") == "true"]
    parts.append(f"charging over {power[0]}" if power else "on battery")
    return ", ".join(parts)


def notes_of(before: Reading, after: Reading) -> Mapping[str, str]:
    """What changed, in words, for `Environment.notes`."""
    pairs = {
        "thermal status": (before.thermal_status, after.thermal_status),
        "battery": (before.battery, after.battery),
    }
    return {name: f"{a} before, {b} after" for name, (a, b) in pairs.items() if a is not None and b is not None}
