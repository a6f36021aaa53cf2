"""Results that `edgedet bench` wrote before other devices came: schema 1, this host only, a fixed warm-up."""

from __future__ import annotations

from typing import Any

_DEVICE_KEYS = ("cpu", "cores", "memory_bytes", "os")


def from_schema1(old: dict[str, Any]) -> dict[str, Any]:
    """The same measurement in the form of schema 2."""
    environment = dict(old["environment"])
    device = {key: environment.pop(key) for key in _DEVICE_KEYS}
    mhz = environment.pop("cpu_mhz")
    environment["versions"] = {"python": environment.pop("python"), **environment["versions"]}
    new = {key: value for key, value in old.items() if key != "warmup_runs"}
    return {
        **new,
        "provider": "",
        "mode": {"kind": "steady"},
        "warmup": {"runs": old["warmup_runs"], "found": "by count"},
        "environment": {
            **environment,
            "device": {"kind": "host", "name": "host", "model": device["cpu"], **device},
            "clock_mhz": None if mhz is None else (mhz, mhz),
        },
    }
