"""Loops of multiply-adds: compiled, not left out by the compiler, and refused where there is none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgedet.benchmarks import core_limits
from edgedet.benchmarks.core_limits import WIDTHS_BYTES, compile_loops
from edgedet.errors import NotRunError


@pytest.mark.skipif(shutil.which("cc") is None, reason="not run: there is no C compiler")
def test_the_loops_are_not_left_out(tmp_path: Path) -> None:
    loops = compile_loops(tmp_path)
    assert tuple(loops["float"]) == WIDTHS_BYTES
    for loop in (*loops["float"].values(), *loops["int8"].values()):
        assert 0.1 < max(loop(100_000) for _ in range(3)) < 5000  # of a core; without the loop far more


def test_without_a_compiler_nothing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_limits.shutil, "which", lambda name: None)
    with pytest.raises(NotRunError, match="no C compiler"):
        compile_loops(tmp_path)
