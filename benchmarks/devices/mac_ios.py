"""An iPhone or iPad attached to this Mac, by coremltools' remote-device utilities."""

from __future__ import annotations

from collections.abc import Mapping

from edgedet.benchmarks.devices.mac import CoreMLDevice, chosen_units


def open_device(argument: str, options: Mapping[str, str]) -> CoreMLDevice:
    """The phone with that UDID, or the only one that is attached.

    Raises:
        ConfigError: there are no such compute units.
    """
    name = f"ios:{argument}" if argument else "ios"
    arguments = ("--ios", argument, "--team", options.get("team", ""))
    return CoreMLDevice(name, chosen_units(options), arguments, needs_xcode=True)
