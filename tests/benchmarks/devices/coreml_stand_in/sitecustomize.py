"""Lets a child process of the tests take this machine for a Mac. On its path as PYTHONPATH."""

import platform

platform.system = lambda: "Darwin"
platform.machine = lambda: "arm64"
platform.mac_ver = lambda *_: ("15.1", ("", "", ""), "arm64")
