"""The folder that a stand-in phone shows, and the private adb server that tests talk through."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.clients.environments import required

_PROPERTIES = {
    "ro.product.manufacturer": "Example",
    "ro.product.model": "Phone 9",
    "ro.build.version.release": "14",
    "ro.build.version.sdk": "34",
    "ro.soc.model": "SOC123",
    "ro.product.cpu.abi": "arm64-v8a",
}
_KHZ = {0: 1800000, 1: 1800000, 2: 2400000, 3: 3000000}  # two small cores, one big, one bigger
_BATTERY = "Current Battery Service state:\n  AC powered: false\n  USB powered: true\n  level: 83\n  temperature: 312\n"
_THERMAL = (
    "IsStatusOverride: false\nThermal Status: 1\nCached temperatures:\n"
    "\tTemperature{mValue=35.0, mType=0, mName=CPU0, mStatus=0}\nHAL Ready: true\nCurrent temperatures from HAL:\n"
    "\tTemperature{mValue=41.25, mType=0, mName=CPU0, mStatus=1}\n"
    "\tTemperature{mValue=36.5, mType=3, mName=skin, mStatus=0}\nCurrent cooling devices from HAL:\n"
)


def make_phone(root: Path) -> Path:
    """A small phone: cores of three speeds, sensors, a battery, programs. `$STAND_IN` is the folder for them."""
    (root / "data/local/tmp").mkdir(parents=True)
    for number, khz in _KHZ.items():
        folder = root / f"sys/devices/system/cpu/cpu{number}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "cpuinfo_max_freq").write_text(f"{khz}\n")
        (folder / "scaling_cur_freq").write_text(f"{khz - 100000}\n")
        (folder / "scaling_governor").write_text("schedutil\n")
    (root / "bin").mkdir()
    (root / "battery.txt").write_text(_BATTERY)
    (root / "thermal.txt").write_text(_THERMAL)
    cases = "".join(f'{name}) echo "{value}";; ' for name, value in _PROPERTIES.items())
    programs = {
        "getprop": f'case "$1" in {cases}esac',
        "dumpsys": 'case "$1" in battery) cat "$STAND_IN/battery.txt";; '
        'thermalservice) cat "$STAND_IN/thermal.txt";; *) exit 1;; esac',
        "taskset": 'echo "$1" >> "$STAND_IN/masks.txt"; shift; exec "$@"',
        "df": 'echo "Filesystem 1K-blocks Used Available Use% Mounted on"; '
        'echo "/dev/block/dm-9 9999999 1 $(cat "$STAND_IN/free_kb.txt" 2>/dev/null || echo 999999) 1% /data"',
        "pm": 'case "$1" in path) cat "$STAND_IN/app.txt" 2>/dev/null;; install) echo package:/a.apk > '
        '"$STAND_IN/app.txt"; echo Success;; uninstall) rm "$STAND_IN/app.txt"; echo Success;; esac',
        "am": 'echo "$*" >> "$STAND_IN/am.txt"; [ "$1" = start ] || exit 0; '
        'eval "flags=\\"\\$$#\\""; flags=$(echo "$flags" | tr -d \'"\'); '
        '("$STAND_IN/app" $flags 2>&1 | sed -u -e "s|^INFO: |I/tflite  ( 77): |" -e "s|^ERROR: |E/tflite  ( 77): |" '
        '>> "$STAND_IN/log.txt") >/dev/null 2>&1 & echo Starting: Intent',
        "logcat": 'echo "--------- beginning of main"; cat "$STAND_IN/log.txt" 2>/dev/null; exit 0',
        "pidof": "exit 1",
    }
    for name, body in programs.items():
        path = root / "bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    return root


def leftovers(root: Path) -> list[str]:
    """What lies in the phone's folder for programs."""
    return sorted(path.name for path in (root / "data/local/tmp").iterdir())


@contextmanager
def adb_server(home: Path) -> Iterator[None]:
    """A server of our own on a free port, with keys of its own, ended afterwards. "Not run" where adb is missing."""
    if shutil.which("adb") is None:
        reason = "not run: the program adb is not installed"
        pytest.fail(reason) if required() else pytest.skip(reason)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        patch.setenv("HOME", str(home))
        patch.delenv("ANDROID_SERIAL", raising=False)
        try:
            yield
        finally:
            adb("kill-server")


def adb(*arguments: str) -> str:
    """Output of the real adb."""
    command = ["adb", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
    return done.stdout + done.stderr
