"""What one core can compute: loops of multiply-adds in C, compiled on this machine for this machine."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from edgedet.errors import NotRunError

Loop = Callable[[int], float]  # rounds to 1e9 operations a second of one call; a multiply-add counts two
WIDTHS_BYTES = (16, 32, 64)
_TEMPLATES = Path(__file__).parent / "templates"
_FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC")
_ACCUMULATORS, _FLOAT_BYTES = 12, 4


def compile_loops(folder: Path) -> dict[str, dict[int, Loop]]:
    """Loops by type, "float" and "int8", and by the width of their vectors in bytes.

    Floats in three widths, because wide vectors may lower the clock (templates/fma_loop.c); 8-bit integers in the
    widest that dot products have (templates/dot_loop.c: AVX-512 VNNI, AVX-VNNI or Arm's dot product), none on a core
    without them.

    Args:
        folder: for the compiled libraries.

    Raises:
        NotRunError: there is no C compiler, or it fails.
    """
    floats, integers = _compile("fma_loop.c", folder), _compile("dot_loop.c", folder)
    width = integers.dot_bytes()
    found = {"float": {width: _fma(floats, width) for width in WIDTHS_BYTES}}
    return found | {"int8": {width: _dot(integers, width)} if width else {}}


def _compile(source: str, folder: Path) -> ctypes.CDLL:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise NotRunError("there is no C compiler, so the limit cannot be measured", "Install gcc or clang.")
    library = (folder / source).with_suffix(".so")
    command = [compiler, *_FLAGS, str(_TEMPLATES / source), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotRunError(f"{compiler} cannot compile the loop ({done.stderr.strip()[:200]})", "Try another compiler.")
    return ctypes.CDLL(str(library))


def _fma(library: ctypes.CDLL, width: int) -> Loop:
    function = getattr(library, f"fma_{width}")
    function.restype, function.argtypes = ctypes.c_float, [ctypes.c_long, ctypes.c_float, ctypes.c_float]
    return _timed(lambda rounds: function(rounds, 0.5, 0.5), width // _FLOAT_BYTES)


def _dot(library: ctypes.CDLL, width: int) -> Loop:
    library.dot.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_int]
    return _timed(lambda rounds: library.dot(rounds, 1, 1), width)


def _timed(run: Callable[[int], object], lanes: int) -> Loop:
    operations = _ACCUMULATORS * lanes * 2

    def speed(rounds: int) -> float:
        start = time.perf_counter()
        run(rounds)
        return rounds * operations / (time.perf_counter() - start) / 1e9

    return speed
