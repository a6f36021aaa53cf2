"""SIGTERM ends a measurement as Ctrl-C does: files on phones and boards are removed, processes there are ended."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_ENDED = 128 + signal.SIGTERM  # a shell's code for it


@contextmanager
def cleaning_up_on_sigterm() -> Iterator[None]:
    """Meanwhile SIGTERM raises SystemExit in the main thread, so that whatever cleans up after an exception does.

    A batch system, `timeout` and a closing session send it, and by default it ends a process on the spot. Outside the
    main thread, where no handler can be set, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(_ENDED)
