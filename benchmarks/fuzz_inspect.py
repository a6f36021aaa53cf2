"""Damaged model files for `edgedet inspect`: it must refuse or read each of them, in little time and within 1 GB.

    python -m edgedet.benchmarks.fuzz_inspect [--files 10000] [--seed 0] [--json FILE]

The files are mutations of eight small ones that edgedet exports first. They are read in a process of its own, whose
memory is limited, so that even a crash of a native library would show as a failure and not as silence. Linux only.
"""

from __future__ import annotations

import importlib
import multiprocessing
import resource
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from edgedet.benchmarks.mutations import mutate
from edgedet.errors import EdgedetError
from edgedet.files import write_json

MEMORY_LIMIT_BYTES = 2**30
TIME_LIMIT_S = 20.0
_CHUNK = 100


class TimeLimitError(BaseException):
    """A file took longer than TIME_LIMIT_S; no handler of ordinary errors may catch it."""


@dataclass
class Tally:
    """What became of some files.

    Attributes:
        read, refused: how many were reported on, and how many ended in a ModelFileError, by base file.
        escaped: other exceptions, with the file's name, which is its number, and the last line.
        slowest: longest processor time of one file in seconds, and its name.
        peak_bytes: largest resident memory of the process, its libraries included.
    """

    read: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    escaped: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    peak_bytes: int = 0

    def add(self, other: Tally) -> None:
        self.read += other.read
        self.refused += other.refused
        self.escaped += other.escaped
        self.slowest = max(self.slowest, other.slowest)
        self.peak_bytes = max(self.peak_bytes, other.peak_bytes)


@dataclass(frozen=True)
class Base:
    """A file to start from: an exporter's module, precision and options, or the specification inside another base."""

    name: str
    module: str = ""
    precision: str = "fp32"
    options: tuple[tuple[str, str], ...] = ()
    inside: str = ""


BASES = (
    Base("four_outputs.tflite", "to_tflite"),
    Base("two_outputs.tflite", "to_tflite", options=(("tflite_layout", "mediapipe-gpu"),)),
    Base("integers.tflite", "to_tflite", "int8"),
    Base("graph.onnx", "to_onnx"),
    Base("program.mlpackage", "to_coreml"),
    Base("program.mlmodel", inside="program.mlpackage"),
    Base("network.mlpackage", "to_coreml", options=(("coreml_target", "iOS14"),)),
    Base("network.mlmodel", inside="network.mlpackage"),
)


def base_files(folder: Path, bases: Sequence[Base] = BASES) -> list[Path]:
    """Small exported files to start from."""
    from edgedet.export.calibrate import calibration_of_arrays
    from edgedet.export.card import FileCard
    from edgedet.export.deployable import Deployable
    from edgedet.export.options import ExportOptions
    from edgedet.export.pictures import picture

    deployable = _tiny_network(Deployable)
    pictures = [picture(np.random.default_rng(seed), 64, 64) for seed in range(16)]
    calibration = calibration_of_arrays(pictures, deployable.spec.input)
    for base in bases:
        path = folder / base.name
        if base.inside:
            shutil.copyfile(next((folder / base.inside).rglob("*.mlmodel")), path)
        else:
            module = importlib.import_module(f"edgedet.export.{base.module}")
            card = FileCard(deployable.spec, base.precision, deployable.weights_sha256, "0")
            options = ExportOptions(base.precision, **dict(base.options))  # type: ignore[arg-type]
            module.export(deployable, options, card, path, calibration)
    return [folder / base.name for base in bases]


def _tiny_network(wrap: Any) -> Any:
    import torch

    from edgedet.levels import make_levels
    from edgedet.models import build, feature_grids_hw
    from edgedet.spec import CodingSpec, DetectorSpec, InputSpec, NetworkSpec, NmsSpec

    image, network = InputSpec(height=64, width=64), NetworkSpec("yolov3_tiny", width=0.03125)
    levels = make_levels(feature_grids_hw(network, image), [[(30.0, 30.0)], [(10.0, 10.0)]], image.height, image.width)
    coding = CodingSpec("yolo", (1.0, 1.0, 1.0, 1.0), score="obj_times_cls")
    spec = DetectorSpec("fuzz", network, image, levels, coding, NmsSpec(), ("disc", "square", "triangle"))
    torch.manual_seed(0)
    return wrap(build(spec), spec)


def write_mutant(base: Path, number: int, seed: int, folder: Path) -> Path:
    """The mutant of that number, always the same."""
    rng = np.random.default_rng([seed, number])
    path = folder / f"{number}.{base.name}"
    if base.is_file():
        path.write_bytes(mutate(base.read_bytes(), rng))
        return path
    shutil.copytree(base, path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    victim = files[int(rng.integers(len(files)))]
    if rng.integers(20):
        victim.write_bytes(mutate(victim.read_bytes(), rng))
    else:
        victim.unlink()
    return path


def write_mutants(bases: Sequence[Path], numbers: Iterable[int], seed: int, folder: Path) -> list[Path]:
    """Mutants of the bases in turn."""
    return [write_mutant(bases[number % len(bases)], number, seed, folder) for number in numbers]


def inspect_mutants(paths: Iterable[Path]) -> Tally:
    """Inspect one after the other."""
    from edgedet.export.inspect import inspect_file

    tally = Tally()
    for path in paths:
        start = time.process_time()  # not the clock: other work on the machine is no fault of a file
        try:
            with _time_limit():
                inspect_file(path).to_json()
            tally.read[_base(path)] += 1
        except EdgedetError:
            tally.refused[_base(path)] += 1
        except (Exception, TimeLimitError) as error:
            tally.escaped.append(f"{path.name}: {type(error).__name__}: {str(error)[:200]}")
        tally.slowest = max(tally.slowest, (time.process_time() - start, path.name))
    tally.peak_bytes = _peak_bytes()
    return tally


def _peak_bytes() -> int:
    """Largest resident memory of this process; getrusage's would include that of the process which started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def _base(mutant: Path) -> str:
    return mutant.name.partition(".")[2]


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TimeLimitError(f"more than {TIME_LIMIT_S:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, TIME_LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _start_worker(bases: Sequence[Path]) -> None:
    """Load every library by reading the bases, then allow no more than the limit beyond what is mapped by now."""
    from edgedet.export.inspect import inspect_file

    for base in bases:
        inspect_file(base)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY_LIMIT_BYTES, resource.RLIM_INFINITY))


def fuzz(bases: Sequence[Path], files: int, seed: int) -> Tally:
    """Inspect mutants in another process.

    Raises:
        EdgedetError: the process died.
    """
    from edgedet.progress import track

    tally = Tally()
    chunks = [range(start, min(start + _CHUNK, files)) for start in range(0, files, _CHUNK)]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _start_worker, (bases,)) as pool:
        for chunk in track(chunks, f"files, {_CHUNK} a step"):
            with tempfile.TemporaryDirectory(prefix="edgedet-fuzz-") as folder:
                paths = write_mutants(bases, chunk, seed, Path(folder))
                try:
                    tally.add(pool.submit(inspect_mutants, paths).result())
                except BrokenProcessPool as error:
                    raise EdgedetError(
                        f"the process died at files {chunk.start} to {chunk.stop} of seed {seed}", "Please report this."
                    ) from error
    return tally


def main(
    files: Annotated[int, typer.Option(min=1, help="How many damaged files.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal files.")] = 0,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the figures as JSON.")] = None,
) -> None:
    """Read damaged files; the exit code is 1 when one of them did more than be read or refused."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="edgedet-fuzz-") as folder:
        bases = base_files(Path(folder))
        sizes = {base.name: sum(f.stat().st_size for f in [base, *base.rglob("*")] if f.is_file()) for base in bases}
        tally = fuzz(bases, files, seed)
    figures = {
        "files": files,
        "seed": seed,
        "base_bytes": sizes,
        "read": dict(tally.read),
        "refused": dict(tally.refused),
        "escaped": tally.escaped,
        "slowest_cpu_s": round(tally.slowest[0], 3),
        "slowest_file": tally.slowest[1],
        "peak_bytes": tally.peak_bytes,
        "wall_s": round(time.perf_counter() - start, 1),
    }
    _print(figures)
    if json is not None:
        write_json(json, {"schema": 1, **figures})
    if tally.escaped or tally.peak_bytes > MEMORY_LIMIT_BYTES:
        raise typer.Exit(1)


def _print(figures: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("base", "bytes", "read", "refused", title=f"{figures['files']} damaged files", title_justify="left")
    for name, size in figures["base_bytes"].items():
        counts = (figures["read"].get(name, 0), figures["refused"].get(name, 0))
        table.add_row(name, f"{size:,}", *map(str, counts))
    console = Console()
    console.print(table)
    console.print(
        f"escaped {len(figures['escaped'])}, slowest {figures['slowest_cpu_s']:.2f} s of CPU "
        f"({figures['slowest_file']}), peak memory {figures['peak_bytes'] / 2**20:.0f} MiB, "
        f"{figures['wall_s']:.0f} s in all",
        highlight=False,
    )
    for line in figures["escaped"][:20]:
        console.print(line, markup=False, highlight=False)


if __name__ == "__main__":
    try:
        typer.run(main)
    except EdgedetError as error:
        raise SystemExit(f"error: {error}") from error
