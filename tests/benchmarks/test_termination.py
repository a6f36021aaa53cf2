"""SIGTERM becomes an exception while devices are in use, and nothing else afterwards."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from edgedet.benchmarks.commands_bench import bench_command
from edgedet.benchmarks.termination import cleaning_up_on_sigterm


def test_sigterm_raises_where_something_must_be_cleaned_up() -> None:
    before = signal.getsignal(signal.SIGTERM)
    cleaned = []
    with pytest.raises(SystemExit) as ended, cleaning_up_on_sigterm():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            cleaned.append(True)
    assert (ended.value.code, cleaned) == (143, [True])
    assert signal.getsignal(signal.SIGTERM) == before


def test_other_threads_leave_signals_alone() -> None:
    seen: list[object] = []

    def work() -> None:
        with cleaning_up_on_sigterm():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


def test_the_command_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[object] = []
    listing = "edgedet.benchmarks.commands_bench.choose_pictures"
    monkeypatch.setattr(listing, lambda *_: heard.append(signal.getsignal(signal.SIGTERM)) or os.kill(os.getpid(), 15))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit):
        bench_command([], device=[], device_option=[], imported=[], data=None, images=None)
    assert heard != [before]
