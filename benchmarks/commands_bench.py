"""`edgedet bench`: files timed on devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgedet.benchmarks.termination import cleaning_up_on_sigterm

if TYPE_CHECKING:
    from edgedet.benchmarks.latency import Latency, NotRun
    from edgedet.benchmarks.request import Mode, Request


def _print_devices(wanted: bool) -> None:
    from edgedet.benchmarks.devices import DEVICES

    if not wanted:
        return
    for row in DEVICES:
        typer.echo(f"{row.prefix:10} {row.help}")
        for name, text in row.options.items():
            typer.echo(f"{'':10} --device-option {name}=...: {text}")
    raise typer.Exit


@cleaning_up_on_sigterm()
def bench_command(
    models: list[Path] = typer.Argument(None, metavar="MODEL...", help=".pt, .onnx, .tflite or .mlpackage files."),
    device: list[str] = typer.Option(["host"], "--device", help="Where; may be given again."),
    fleet: Path | None = typer.Option(None, "--fleet", metavar="FILE", help="Devices, files and settings from a YAML."),
    device_option: list[str] = typer.Option([], "--device-option", metavar="NAME=VALUE", help="A setting of a device."),
    threads: int | None = typer.Option(None, "--threads", min=1, help="CPU threads; default: the runtime's choice."),
    cores: str | None = typer.Option(None, "--cores", metavar="0,1", help="Pin the process to these cores."),
    data: Path | None = typer.Option(None, "--data", help="Data set whose pictures are shown to the models."),
    split: str = typer.Option("test", "--split", help="Split of --data: train, val, trainval or test."),
    images: Path | None = typer.Option(None, "--images", metavar="FOLDER", help="Or a folder of pictures."),
    seconds: float = typer.Option(3.0, "--seconds", min=0.1, help="Length of the recorded phase of each file."),
    sustained: float | None = typer.Option(None, "--sustained", metavar="MIN", min=0.1, help="Run for minutes."),
    rate: float | None = typer.Option(None, "--rate", metavar="FPS", min=0.1, help="Run at a camera's rate."),
    early_stopping: bool = typer.Option(False, "--early-stopping", help="MLPerf's p90: 60 s and 1024 runs at least."),
    make_kit: str | None = typer.Option(
        None, "--make-kit", metavar="coreml", help="Write a folder that measures one file on a Mac, into --out."
    ),
    out: Path | None = typer.Option(None, "--out", metavar="DIR", help="Where the kit goes."),
    operators: bool = typer.Option(
        False, "--operators", help="Take .onnx and .tflite files apart here; --json times them as well."
    ),
    imported: list[Path] = typer.Option([], "--import", metavar="RESULT.json", help="Read what a kit measured."),
    json: Path | None = typer.Option(None, "--json", metavar="FILE", help="Also write all samples as JSON."),
    devices: bool = typer.Option(
        False, "--devices", callback=_print_devices, is_eager=True, help="List the kinds of devices and their options."
    ),
) -> None:
    """Time model files: load, first image, and steady state with p50, p90, p99 and their confidence intervals.

    Each file runs in a process of its own, batch 1. Warm-up is found in the runs themselves. Without --data or
    --images, generated pictures are shown. A file that could not be timed reads "not run" with the reason, and the exit
    code is 1. A measurement that other work disturbed is marked "?", and the lines below say by what. A fleet runs its
    devices at once, and takes all settings from its file; started again, it goes on where it stopped.

    \b
    Examples:
      edgedet bench --devices
      edgedet bench run/model.onnx run/model.tflite --threads 1 --data my_photos --json latency.json
      edgedet bench run/model.tflite --device android --device ssh:pi@raspberrypi
      edgedet bench --fleet fleet.yaml --json latency.json
      edgedet bench run/model.onnx run/model.tflite --operators --threads 1
      edgedet bench run/model.mlpackage --make-kit coreml --out kit
      edgedet bench run/model.mlpackage --import kit/result.json --json latency.json
    """
    from rich.console import Console

    from edgedet.benchmarks.bench_table import bench_table, mode_tables, remarks
    from edgedet.benchmarks.devices import measure_each, open_devices
    from edgedet.benchmarks.latency import NotRun, results_json
    from edgedet.benchmarks.request import Budget, Request
    from edgedet.files import write_json

    pictures = tuple(choose_pictures(data, split, images))
    mode = _mode(sustained, rate, early_stopping)
    request = Request(pictures, threads, parse_cores(cores), Budget(seconds=seconds), mode)
    options = device_options(device_option)
    results: list[Latency | NotRun] = []
    if make_kit is not None:
        return _make_kit(make_kit, _some(models), request, out)
    if operators:
        return _operators(_some(models), request, json)
    if imported:
        results = _import(imported, models or [])
    elif fleet is not None:
        results = _run_fleet(fleet, models or [], device, request, options)
    else:
        for opened in open_devices(device, options):
            results += measure_each(opened, _some(models), request)
    if json is not None:
        write_json(json, results_json(results))
    console = Console()
    for table in (bench_table(results), *mode_tables(results)):
        console.print(table)
    for line in remarks(results):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if any(isinstance(result, NotRun) for result in results):
        raise typer.Exit(1)


def _run_fleet(
    fleet: Path, models: Sequence[Path], device: Sequence[str], request: Request, options: Mapping[str, str]
) -> list[Latency | NotRun]:
    from edgedet.benchmarks.devices.fleet import run_fleet
    from edgedet.benchmarks.devices.fleet_file import read_fleet
    from edgedet.benchmarks.request import Request
    from edgedet.errors import ConfigError

    if list(device) != ["host"] or request != Request() or options:
        raise ConfigError("--fleet takes devices and settings from its file", "Leave the other options out.")
    return run_fleet(read_fleet(fleet, models))


def _make_kit(kind: str, models: Sequence[Path], request: Request, out: Path | None) -> None:
    from edgedet.benchmarks.devices.coreml_kit import README, make_kit
    from edgedet.errors import ConfigError

    if kind != "coreml":
        raise ConfigError(f"there is no kit called {kind!r}", "Choose coreml.")
    if out is None or len(models) != 1:
        raise ConfigError("a kit is for one file and needs a folder", "Give one file, and --out DIR.")
    folder = make_kit(models[0], request, out)
    typer.echo(f"Written: {folder}. Copy it to a Mac; {README} in it says what to do there.")


def _operators(models: Sequence[Path], request: Request, json: Path | None) -> None:
    from edgedet.benchmarks.harness import measure_each
    from edgedet.benchmarks.latency import results_json
    from edgedet.benchmarks.operators import attribute, with_inside
    from edgedet.benchmarks.operators_table import print_attributions
    from edgedet.files import write_json

    found = [attribute(model, request.images, request.threads) for model in models]
    if json is not None:
        timed = measure_each(models, list(request.images), request.threads, request.budget)
        results = [with_inside(*pair) for pair in zip(timed, found, strict=True)]
        write_json(json, {**results_json(results), "operators": [one.to_json() for one in found]})
    print_attributions(found)


def _import(paths: Sequence[Path], models: Sequence[Path]) -> list[Latency | NotRun]:
    from edgedet.benchmarks.devices.coreml_kit_result import read_kit_result

    return [result for path in paths for result in read_kit_result(path, models)]


def _some(models: Sequence[Path] | None) -> Sequence[Path]:
    from edgedet.errors import ConfigError

    if not models:
        raise ConfigError("no model file is given", "Name one, or give --fleet.")
    return models


def choose_pictures(data: Path | None, split: str, images: Path | None) -> list[Path]:
    """The pictures that --data or --images name; none where neither is given.

    Raises:
        ConfigError: both are given.
        DataError: they cannot be read.
    """
    from edgedet.benchmarks.harness import find_images
    from edgedet.data import read_dataset
    from edgedet.errors import ConfigError

    if data is not None and images is not None:
        raise ConfigError("--data and --images are both given", "Leave one of them out.")
    if images is not None:
        return find_images(images)
    return [sample.image_path for sample in read_dataset(data, split).samples] if data else []


def _mode(sustained: float | None, rate: float | None, early_stopping: bool) -> Mode:
    from edgedet.benchmarks.request import Rate, Steady, Sustained
    from edgedet.errors import ConfigError

    if sum((sustained is not None, rate is not None, early_stopping)) > 1:
        raise ConfigError("--sustained, --rate and --early-stopping exclude each other", "Choose one of them.")
    if sustained is not None:
        return Sustained(sustained)
    return Rate(rate) if rate is not None else Steady(early_stopping)


def parse_cores(text: str | None) -> tuple[int, ...] | None:
    """Numbers of cores from "0,1".

    Raises:
        ConfigError: it is no such list.
    """
    from edgedet.errors import ConfigError

    if text is None:
        return None
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise ConfigError(f"--cores {text!r} is no list of core numbers", "Give for instance --cores 0,1.")
    return tuple(sorted({int(part) for part in parts}))


def device_options(texts: Sequence[str]) -> dict[str, str]:
    """Settings by name from "NAME=VALUE".

    Raises:
        ConfigError: one has another form.
    """
    from edgedet.errors import ConfigError

    options = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"--device-option {text!r} is not NAME=VALUE", "Give for instance delegate=gpu.")
        options[name] = value
    return options
