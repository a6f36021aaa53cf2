"""Work in stages that survive a kill: what is finished and still wanted is not done again."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgedet.errors import EdgedetError
from edgedet.files import write_json
from edgedet.progress import console

SCHEMA = 1
STATE = "stages.json"


class Stages:
    """The finished stages of one folder, in its stages.json.

    Args:
        folder: made if missing. One that holds files but no stages.json is somebody else's and refused.
        total: how many stages there will be, for the titles.

    Raises:
        EdgedetError: the folder is not ours, or its stages.json is damaged.
    """

    def __init__(self, folder: Path, total: int) -> None:
        self.folder, self.total, self.number = folder, total, 0
        self._state = folder / STATE
        if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not self._state.exists())):
            raise EdgedetError(f"{folder}: exists and was not made by this command", "Choose another --out.")
        self._stages: dict[str, dict[str, Any]] = self._read() if self._state.exists() else {}
        self._write()

    def run(self, title: str, wanted: dict[str, Any], outputs: Sequence[Path], work: Callable[[], None]) -> str:
        """Do a stage unless it is done.

        What an unfinished try with the same `wanted` left is kept, so that `work` can go on from there; what other
        settings left is removed first.

        Args:
            title: says what it is; also its name in the folder.
            wanted: everything that its result depends on, the keys of earlier stages among it.
            outputs: files and folders it writes, inside the folder.
            work: does it.

        Returns:
            The stage's key: the same again only when the same was wanted.
        """
        self.number += 1
        heading = f"[bold]{self.number}/{self.total}[/] {title}"
        key = hashlib.sha256(json.dumps([title, wanted], sort_keys=True).encode()).hexdigest()[:16]
        before = self._stages.get(title, {})
        if before.get("key") == key and before.get("done") and all(path.exists() for path in outputs):
            console.print(f"{heading} [dim]is done[/]")
            return key
        if before.get("key") != key:
            for path in outputs:
                _remove(path)
        console.print(heading)
        self._note(title, {"key": key, "done": False})
        start = time.monotonic()
        work()
        self._note(title, {"key": key, "done": True, "seconds": round(time.monotonic() - start, 1)})
        return key

    def seconds(self) -> float:
        """Time that all finished stages took, in this run or an earlier one."""
        return float(sum(stage.get("seconds", 0.0) for stage in self._stages.values()))

    def _note(self, title: str, stage: dict[str, Any]) -> None:
        self._stages[title] = stage
        self._write()

    def _write(self) -> None:
        write_json(self._state, {"schema": SCHEMA, "stages": self._stages})

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            value = json.loads(self._state.read_text(encoding="utf-8"))
            return dict(value["stages"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EdgedetError(
                f"{self._state}: cannot be read ({error})", "Remove the folder and run again."
            ) from error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
