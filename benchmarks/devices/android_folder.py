"""A folder on a phone for the time of one measurement. Whatever happens, nothing stays there and nothing runs on."""

from __future__ import annotations

import shlex
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from edgedet.benchmarks.devices.adb import Adb, DeviceGoneError
from edgedet.errors import EdgedetError, NotRunError

PLACE = "/data/local/tmp"  # the one folder from which the shell's user may execute, on every Android
RETURN_SECONDS = 10.0  # a phone whose cable was touched is back within this time
_SPARE_BYTES = 8 * 2**20


@contextmanager
def fresh_folder(adb: Adb, needed_bytes: int) -> Iterator[str]:
    """A new folder that apps may read too; its path.

    Args:
        needed_bytes: of what will be copied there.

    Raises:
        NotRunError: there is too little space.
        EdgedetError: it cannot be made.
    """
    _check_space(adb, needed_bytes)
    folder = f"{PLACE}/edgedet-{uuid.uuid4().hex[:12]}"
    said = adb.shell(f"mkdir {folder} && chmod 755 {folder}")
    if said.code != 0:
        raise EdgedetError(f"{adb.label}: {folder} cannot be made ({said.output.strip()[:200]})", "Look at the phone.")
    try:
        yield folder
    except DeviceGoneError as error:
        if _clean(adb, folder):
            raise
        raise DeviceGoneError(f"{error.what}; {folder} stays there", error.remedy) from error
    except BaseException:
        _clean(adb, folder)
        raise
    if not _clean(adb, folder):
        raise DeviceGoneError(f"{adb.label}: the connection broke off; {folder} stays there", "Remove it by hand.")


def in_folder(folder: str, command: str) -> str:
    """A command line that runs in the folder and leaves its process number there, so that it can be ended."""
    inner = f"echo $$ > {folder}/pid && cd {folder} && exec {command} 2>&1"
    return f"sh -c {shlex.quote(inner)}; code=$?; rm -f {folder}/pid; (exit $code)"


def _check_space(adb: Adb, needed_bytes: int) -> None:
    lines = adb.read(f"df -k {PLACE}").splitlines()
    cells = lines[-1].split() if lines else []
    if len(cells) < 4 or not cells[-3].isdigit():
        return  # an unknown df: copying will tell
    free = int(cells[-3]) * 1024
    if free < needed_bytes + _SPARE_BYTES:
        raise NotRunError(
            f"{adb.label}: no space: {free / 1e6:.0f} MB free, {(needed_bytes + _SPARE_BYTES) / 1e6:.0f} MB needed",
            "Free space on the phone.",
        )


def _clean(adb: Adb, folder: str) -> bool:
    """End what runs there and remove the folder; waits for a phone that is gone for a moment."""
    command = f"[ -f {folder}/pid ] && kill -9 $(cat {folder}/pid); rm -rf {folder}"
    deadline = time.monotonic() + RETURN_SECONDS
    while True:
        try:
            return adb.shell(command, timeout_s=30.0).code == 0
        except EdgedetError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)
