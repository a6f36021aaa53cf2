"""The command group `edgedet quantize`: the laboratory around smaller precisions."""

from __future__ import annotations

import typer

from edgedet.benchmarks.lab.command_explain import explain_command
from edgedet.benchmarks.lab.command_search import search_command
from edgedet.benchmarks.lab.command_sensitivity import sensitivity_command
from edgedet.benchmarks.lab.command_sweep import sweep_command

_HELP = "What smaller precisions save and cost: sweeps, layers, mixed precision, damage reports."


def register(app: typer.Typer) -> None:
    group = typer.Typer(name="quantize", help=_HELP, no_args_is_help=True)
    group.command("explain")(explain_command)
    group.command("sweep")(sweep_command)
    group.command("sensitivity")(sensitivity_command)
    group.command("search")(search_command)
    app.add_typer(group)
