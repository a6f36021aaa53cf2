"""Child processes that sleep while it is not their turn.

A process that has ended is no fault here: whoever asks it next sees that there is no answer.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress


def pause(pid: int) -> None:
    """Stop a child process by a signal, and return when all its threads stand still.

    The signal alone is delivered later: until then, spinning threads would take the core of whoever runs next.
    """
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)


def wake(pid: int) -> None:
    """Let a paused child process run on."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
