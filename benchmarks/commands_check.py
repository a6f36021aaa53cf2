"""`edgedet check`: do files keep to their budget? For continuous integration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgedet.benchmarks.termination import cleaning_up_on_sigterm

if TYPE_CHECKING:
    from rich.table import Table

    from edgedet.benchmarks.budget import Check

SCHEMA = 1
UNDECIDED = 3  # exit code; 1 is a broken budget, 2 is misuse
_STYLES = {"pass": "green", "fail": "bold red", "undecided": "yellow", "not run": "yellow"}


@cleaning_up_on_sigterm()
def check_command(
    models: list[Path] = typer.Argument(..., metavar="MODEL...", help="Model files."),
    budget: Path = typer.Option(..., "--budget", metavar="FILE", help="budget.yaml."),
    against: Path | None = typer.Option(None, "--against", metavar="MODEL.pt", help="For map_loss: the network."),
    data: Path | None = typer.Option(None, "--data", help="Data set for map_loss; its pictures are also timed on."),
    split: str = typer.Option("test", "--split", help="Split of --data: train, val, trainval or test."),
    device: str = typer.Option("host", "--device", help="Where p90_ms is measured."),
    device_option: list[str] = typer.Option([], "--device-option", metavar="NAME=VALUE", help="A setting of a device."),
    threads: int | None = typer.Option(None, "--threads", min=1, help="CPU threads; default: the runtime's choice."),
    seconds: float = typer.Option(10.0, "--seconds", min=0.1, help="Length of the recorded phase of each file."),
    junit: Path | None = typer.Option(None, "--junit", metavar="FILE", help="Also write JUnit XML."),
    json: Path | None = typer.Option(None, "--json", metavar="FILE", help="Also write the checks as JSON."),
) -> None:
    """Check files against limits of bytes, p90_ms, map_loss and operators_outside (the delegate).

    A measured number passes or fails when all of its 95 % interval does, and is undecided otherwise. The exit code is
    0 when all pass, 1 when one fails, 3 when none fails but one is undecided or could not be run.

    \b
    budget.yaml:
      schema: 1
      budgets:
        - files: "*.tflite"
          bytes: 5000000
          p90_ms: 40
          map_loss: 0.01
          operators_outside: 20

    \b
    Example:
      edgedet check phone/model.tflite --budget budget.yaml --junit budget.xml
      edgedet check phone/model.tflite --budget budget.yaml \\
        --against run/model.pt --data my_photos
    """
    from dataclasses import asdict

    from rich.console import Console

    from edgedet.benchmarks.budget import read_budget
    from edgedet.benchmarks.budget_check import Bench, check_files
    from edgedet.benchmarks.commands_bench import device_options
    from edgedet.benchmarks.devices import open_device
    from edgedet.benchmarks.junit import junit_xml, message
    from edgedet.benchmarks.request import Budget, Request
    from edgedet.data import read_dataset
    from edgedet.files import write_json, write_text

    budgets = read_budget(budget)
    dataset = read_dataset(data, split) if data else None
    pictures = tuple(sample.image_path for sample in dataset.samples) if dataset else ()
    request = Request(pictures, threads, budget=Budget(seconds=seconds, max_samples=10_000))
    bench = Bench(open_device(device, device_options(device_option)), request, against, dataset)
    checks = check_files(models, budgets, bench)
    if junit is not None:
        write_text(junit, junit_xml(checks))
    if json is not None:
        write_json(json, {"schema": SCHEMA, "checks": [asdict(check) for check in checks]})
    console = Console()
    console.print(_table(checks))
    for check in checks:
        if check.status != "pass":
            console.print(f"{check.file}: {message(check)}", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(exit_code(checks))


def exit_code(checks: Sequence[Check]) -> int:
    """0 when all pass, 1 when one fails, else 3."""
    statuses = {check.status for check in checks}
    return 1 if "fail" in statuses else UNDECIDED if statuses - {"pass"} else 0


def _table(checks: Sequence[Check]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from edgedet.benchmarks.budget import number_text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for k, name in enumerate(("file", "limit", "at most", "value", "from", "to", "status")):
        table.add_column(name, justify="right" if 1 < k < 6 else "left", overflow="fold")
    for check in checks:
        numbers = (check.limit, check.value, *(check.interval or (None, None)))
        cells = ("-" if number is None else number_text(number) for number in numbers)
        status = Text(check.status, style=_STYLES[check.status])
        table.add_row(Path(check.file).name, check.limit_name, *cells, status)
    return table
