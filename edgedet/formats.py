"""The table of file formats. A format is one row here (declared by the package that owns it) and one module.

The core never imports the exporters: rows are found through the entry point group `edgedet.formats`, so installing a
package that declares one is all it takes to teach `edgedet.load` a new file kind.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import cast

from edgedet.errors import ModelFileError, NotRunError
from edgedet.runner import Runner


@dataclass(frozen=True)
class Format:
    """One row.

    Attributes:
        name: what `--format` takes and tables print.
        suffix: file name ending, with the dot.
        module: import path of the module that implements it: `open_runner(path, threads)`, and for formats that can be
            exported also `problems(spec, options)`, `notes(spec, options)`, `export(deployable, options, card, path,
            calibration)` and, where the app's library suppresses in its own way, `file_spec(spec, options)`.
        precisions: what `--precision` may be, the default first; empty where nothing is exported.
        extra: the optional dependency group of edgedet that brings its libraries; "" where none is needed.
    """

    name: str
    suffix: str
    module: str
    precisions: tuple[str, ...] = ()
    extra: str = ""

    def load_module(self) -> ModuleType:
        """Import the module, or raise NotRunError naming what to install."""
        try:
            return importlib.import_module(self.module)
        except ImportError as error:
            remedy = f"Install it with: pip install 'edgedet[{self.extra}]'" if self.extra else "Reinstall edgedet."
            raise NotRunError(f"{self.name}: a library is missing ({error})", remedy) from error


@cache
def all_formats() -> tuple[Format, ...]:
    """Every declared row, sorted by name."""
    found: list[Format] = []
    for entry in entry_points(group="edgedet.formats"):
        found += cast(Iterable[Format], entry.load())
    return tuple(sorted(set(found), key=lambda row: row.name))


def export_formats() -> tuple[Format, ...]:
    """The rows something can be exported to."""
    return tuple(row for row in all_formats() if row.precisions)


def format_by_name(name: str) -> Format:
    for row in all_formats():
        if row.name == name:
            return row
    raise ModelFileError(
        f"there is no format called {name!r}", f"Choose from {', '.join(r.name for r in all_formats())}."
    )


def format_of(path: Path) -> Format:
    """The row whose suffix the path has."""
    for row in all_formats():
        if path.name.endswith(row.suffix):
            return row
    known = ", ".join(row.suffix for row in all_formats())
    raise ModelFileError(f"{path}: the file name ends in none of {known}", "Give a model file of one of these kinds.")


def load(path: str | Path, threads: int | None = None) -> Runner:
    """Load a model file of any known kind.

    Args:
        path: a .pt, .onnx, .tflite or .mlpackage written by edgedet.
        threads: CPU threads the runtime may use; None leaves the runtime's default.

    Returns:
        A Runner: call it with a (H, W, 3) uint8 RGB array and get Detections.

    Raises:
        ModelFileError: missing, damaged, foreign.
        NotRunError: the runtime is not installed.
    """
    path = Path(path)
    row = format_of(path)
    if not path.exists():
        raise ModelFileError(
            f"{path}: there is no such file", "Check the path, or run `edgedet train` or `edgedet export`."
        )
    return cast(Runner, row.load_module().open_runner(path, threads))
