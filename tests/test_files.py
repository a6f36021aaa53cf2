"""Writing in one step: all or nothing, for files and folders."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from edgedet.errors import EdgedetError
from edgedet.files import atomic_path, write_json


def test_file_appears_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "new" / "x.bin"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        assert not target.exists()
    assert target.read_bytes() == b"half"
    assert [p.name for p in target.parent.iterdir()] == ["x.bin"]


def test_failure_keeps_the_old_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "x.bin"
    target.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.bin"]


def test_folder_replaces_folder(tmp_path: Path) -> None:
    target = tmp_path / "m.mlpackage"
    for content in ("one", "two"):
        with atomic_path(target) as temporary:
            temporary.mkdir()
            (temporary / f"{content}.txt").write_text(content)
    assert [p.name for p in target.iterdir()] == ["two.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["m.mlpackage"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_full_disk_and_no_permission_name_the_file(tmp_path: Path, code: int) -> None:
    with pytest.raises(EdgedetError, match=r"x\.bin: cannot be written"), atomic_path(tmp_path / "x.bin"):
        raise OSError(code, "the system's reason")
    assert list(tmp_path.iterdir()) == []


def test_really_full_disk(tmp_path: Path) -> None:
    """/dev/full answers every write as a full disk does."""
    if not Path("/dev/full").exists():
        pytest.skip("not run: this system has no /dev/full")
    with (
        pytest.raises(EdgedetError, match="cannot be written"),
        atomic_path(tmp_path / "x"),
        Path("/dev/full").open("w") as full,
    ):
        full.write("x" * 10)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgedetError, match="cannot be written"), atomic_path(tmp_path / "file" / "x"):
        pass


def test_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    write_json(tmp_path / "x.json", {"ä": [1.5]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"ä": [1.5]}
