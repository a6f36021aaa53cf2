"""The folder a data set is written to."""

from __future__ import annotations

from pathlib import Path

from edgedet.errors import DataError


def require_unused(out: Path) -> None:
    """Raise DataError unless nothing would be overwritten: `out` does not exist or is an empty folder."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: exists and is not an empty folder", "Choose another folder, or empty this one.")
