"""Writing so that nothing half-written is ever left behind, and digests of what was written."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgedet.errors import EdgedetError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary place beside `path`; moved there in one step when the block ends well, removed when it does not.

    Works for files and for folders (an .mlpackage is a folder): write either to the path that is yielded.

    Raises:
        EdgedetError: the disk is full or the folder is not writable, naming the file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise _write_error(path, error) from error
    try:
        temporary = scratch / path.name
        yield temporary
        _replace(temporary, path, scratch)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
            raise _write_error(path, error) from error
        raise
    except RuntimeError as error:  # torch.save reports a full disk as a RuntimeError of its zip writer
        if "PytorchStreamWriter" in str(error) or "file write" in str(error):
            raise _write_error(path, error) from error
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text in one step."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def file_digest(path: Path) -> tuple[str, int]:
    """SHA-256 and size in bytes of a file, or of a folder: over the sorted relative names and contents."""
    if path.is_file():
        content = path.read_bytes()
        return hashlib.sha256(content).hexdigest(), len(content)
    digest, size = hashlib.sha256(), 0
    for part in sorted(p for p in path.rglob("*") if p.is_file()):
        content = part.read_bytes()
        digest.update(f"{part.relative_to(path).as_posix()}\0{len(content)}\0".encode() + content)
        size += len(content)
    return digest.hexdigest(), size


def write_json(path: Path, value: Any) -> None:
    """Write JSON in one step, indented, with NaN refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _replace(temporary: Path, path: Path, scratch: Path) -> None:
    """Move into place; an old folder cannot be overwritten in one step, so it steps aside first."""
    if path.is_dir():
        path.rename(scratch / "old")
    temporary.replace(path)


def _write_error(path: Path, error: Exception) -> EdgedetError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
    return EdgedetError(
        f"{path}: cannot be written ({reason})", "Free some space or choose another --out; nothing was left behind."
    )
