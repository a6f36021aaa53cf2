"""Every client x file kind x network x precision: the file is accepted, and what comes out is what model.pt finds."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from edgedet.errors import NotRunError
from edgedet.export.options import ExportOptions, choices
from edgedet.formats import export_formats
from tests.clients.clients import CLIENTS
from tests.clients.environments import REQUIRE, required
from tests.clients.kinds import KINDS, Cell, cells, models_of
from tests.clients.measure import Laboratory, Result, Results
from tests.clients.pictures import shared_photographs
from tests.exported_files import Export
from tests.small_models import SPECS

CELLS = list(cells())
DETECTIONS_MIN = 10


@pytest.fixture(scope="session")
def laboratory(exported: Export, shared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    def keep(client: str, run: Callable[[], Results]) -> Results:
        """One of the processes that run the tests runs the client."""
        kept = shared_folder / f"{client}.results"
        with FileLock(f"{kept}.lock"):
            if not kept.exists():
                kept.write_bytes(pickle.dumps(run()))
        found: Results = pickle.loads(kept.read_bytes())
        return found

    return Laboratory(
        lambda cell: exported(cell.model, cell.kind.format, cell.precision, **cell.kind.options),
        shared_photographs(),
        tmp_path_factory.mktemp("pictures"),
        CELLS,
        keep,
    )


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.id)
def test_client_takes_the_file_and_finds_the_same(laboratory: Laboratory, cell: Cell) -> None:
    result = _result(laboratory, cell)

    assert result.answer.accepted, result.answer.error
    assert result.magnified
    assert result.as_taken
    assert result.magnified.counted >= DETECTIONS_MIN
    assert result.magnified.holds(cell.limits), result.magnified
    if not cell.client.own_resize:  # with another kernel the pixels differ: docs/compatibility.md has the figures
        assert result.as_taken.holds(cell.limits_as_taken), result.as_taken


def _result(laboratory: Laboratory, cell: Cell) -> Result:
    try:
        return laboratory.result(cell)
    except NotRunError as error:
        if required():
            pytest.fail(f"{REQUIRE} is set, and a client did not run: {error}")
        pytest.skip(f"not run: {error}")


def test_every_network_precision_and_client_of_each_format_is_in_the_matrix() -> None:
    plain = {(c.client.name, c.kind.format, c.model, c.precision) for c in CELLS if not c.kind.options}
    wanted = {
        (client.name, row.name, model, precision)
        for row in export_formats()
        for client in CLIENTS.values()
        if client.format == row.name
        for precision in row.precisions
        for model in models_of(precision)
    }

    assert plain == wanted
    assert {model for _, _, model, _ in wanted} == set(SPECS)
    assert {client.format for client in CLIENTS.values()} == {row.name for row in export_formats()}


def test_every_variant_of_a_file_is_in_the_matrix() -> None:
    tried = {pair for kind in KINDS for pair in kind.options.items()}
    named = {name: choices(name) for name in vars(ExportOptions()) if "_" in name and name.split("_")[0] in _formats()}

    assert tried == {(name, choice) for name, allowed in named.items() for choice in allowed[1:]}


def _formats() -> set[str]:
    return {row.name for row in export_formats()}
