"""Command lines of `benchmark_model`, in both of its dialects. What it prints is read by benchmark_model_output.

Custom operators such as TFLite_Detection_PostProcess are among those that both tools register by themselves.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgedet.errors import ModelFileError

# Any name does for the only input: the tools warn of another one. The tensor's own may hold a colon, which old tools
# cannot take.
_INPUT = "image"


@dataclass(frozen=True)
class Dialect:
    """One of the two tools.

    Attributes:
        name: as `benchmark_model_output.ToolOutput.dialect`.
        runtime: how tables call what it runs.
        mark: text that this tool's binary alone contains: the name of a flag.
        profile: flags that make it tell the time of every operator, and its peak of memory.
        takes_pictures: whether it can be given input; the other one makes random input up.
    """

    name: str
    runtime: str
    mark: bytes
    profile: tuple[str, ...]
    takes_pictures: bool


DIALECTS = (
    Dialect(
        "tflite", "TensorFlow Lite benchmark_model", b"enable_op_profiling",
        ("--enable_op_profiling=true", "--report_peak_memory_footprint=true"), True,
    ),
    Dialect(
        "litert", "LiteRT benchmark_model", b"compiler_plugin_library_path",
        ("--use_profiler=true", "--report_peak_memory_footprint=true"), False,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Runs:
    """How long one process of the tool runs; `seconds` may be less and more than `count` runs take.

    Attributes:
        count: at least so many runs.
        seconds: at least so long.
        warmup_seconds: before them; at least one run.
        fps: at this rate rather than as fast as they go.
    """

    count: int
    seconds: float
    warmup_seconds: float
    fps: float | None = None


@dataclass(frozen=True)
class Fed:
    """The shape of the one input, and the file on the device that holds its bytes."""

    shape: tuple[int, ...]
    path: str


def dialect_of(binary: Path) -> Dialect:
    """Which tool a binary (or an .apk's content) is, from the names of its flags.

    Raises:
        ModelFileError: missing, or neither of them.
    """
    if not binary.is_file():
        raise ModelFileError(f"{binary}: there is no such file", "Name the benchmark_model binary for the phone.")
    content = binary.read_bytes()
    for dialect in DIALECTS:
        if dialect.mark in content:
            return dialect
    raise ModelFileError(f"{binary}: is not a benchmark_model binary", "Build or download the tool for the phone.")


def arguments(
    dialect: Dialect, model: str, runs: Runs, threads: int | None, fed: Fed | None = None, extra: Sequence[str] = ()
) -> list[str]:
    """Flags for one process, each "--name=value" without spaces.

    Args:
        model: path on the device.
        fed: given to a dialect that takes pictures only.
        extra: further flags of the user's, last, so that they win.
    """
    flags = [
        f"--graph={model}",
        f"--num_runs={runs.count}",
        f"--min_secs={runs.seconds:g}",
        f"--max_secs={max(10 * runs.seconds, 60):g}",
        "--warmup_runs=1",
        f"--warmup_min_secs={runs.warmup_seconds:g}",
    ]
    if threads is not None:
        flags.append(f"--num_threads={threads}")
    if runs.fps is not None:
        flags.append(f"--run_frequency={runs.fps:g}")
    if fed is not None and dialect.takes_pictures:
        flags += [
            f"--input_layer={_INPUT}",
            f"--input_layer_shape={','.join(str(side) for side in fed.shape)}",
            f"--input_layer_value_files={_INPUT}:{fed.path}",
        ]
    return [*flags, *extra]


def extra_flags(text: str) -> list[str]:
    """The user's own flags, split as a shell does."""
    return shlex.split(text)
