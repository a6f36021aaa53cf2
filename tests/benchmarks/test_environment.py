from __future__ import annotations

import sys
from collections import namedtuple

import pytest

from edgedet.benchmarks import environment
from edgedet.benchmarks.environment import LoadWatch, installed_versions, peak_memory_bytes, read_environment


def test_the_machine_is_described() -> None:
    found = read_environment(3, LoadWatch())
    assert found.threads == 3
    assert 1 <= found.usable_cores <= found.device.cores
    assert found.device.cpu
    assert (found.device.memory_bytes or 0) > 1e9
    assert found.versions["python"] == ".".join(str(n) for n in sys.version_info[:3])
    assert set(found.versions) >= {"edgedet", "numpy", "torch"}


def test_versions_of_what_is_not_installed_are_left_out() -> None:
    assert set(installed_versions(["numpy", "no-such-library"])) == {"numpy"}


def test_peak_memory_never_falls() -> None:
    before = peak_memory_bytes()
    block = bytearray(64 * 2**20)
    block[::4096] = b"x" * len(block[::4096])
    after = peak_memory_bytes()
    assert after >= before > 10e6
    del block
    assert peak_memory_bytes() >= after - 2**20  # the kernel counts pages in batches for each core


def test_other_work_is_what_this_process_did_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """In 10 s the machine worked 14 core seconds, 9 of them ours: half a core went to others. Guests count once."""
    times = namedtuple("times", "user nice system idle iowait guest")
    moments = iter([times(100, 0, 20, 500, 7, 30), times(110, 0, 24, 506, 9, 30)])
    clock, own = iter([1000.0, 1010.0]), iter([50.0, 59.0])
    monkeypatch.setattr(environment.psutil, "cpu_times", lambda: next(moments))
    monkeypatch.setattr(environment.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(environment.time, "process_time", lambda: next(own))
    assert LoadWatch().other_cores_busy() == pytest.approx(0.5)
