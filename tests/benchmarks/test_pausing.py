"""Processes that sleep while it is not their turn."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from edgedet.benchmarks.pausing import pause, wake

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="not run: Windows has no such signals")

_BUSY = "import sys; print('up', flush=True)\nwhile True: pass"


def test_it_stands_still_as_soon_as_pause_returns() -> None:
    with subprocess.Popen([sys.executable, "-c", _BUSY], stdout=subprocess.PIPE, text=True) as busy:
        assert busy.stdout is not None
        busy.stdout.readline()
        process, seen = psutil.Process(busy.pid), []
        for _ in range(50):
            pause(busy.pid)
            seen.append(process.status())
            wake(busy.pid)
        awake = process.status()
        busy.kill()
    assert seen == [psutil.STATUS_STOPPED] * 50
    assert awake != psutil.STATUS_STOPPED


def test_a_process_that_ended_is_no_fault() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as ended:
        ended.kill()
        pause(ended.pid)
        assert not psutil.pid_exists(ended.pid)
        wake(ended.pid)
        pause(ended.pid)
        assert ended.poll() is not None
