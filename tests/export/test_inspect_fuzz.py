"""Damaged files by the hundred: each is read or refused, and nothing else happens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgedet.benchmarks.fuzz_inspect import BASES, TIME_LIMIT_S, base_files, inspect_mutants, write_mutants
from edgedet.benchmarks.mutations import MUTATIONS, Mutation, mutate
from edgedet.export.inspect import KINDS, inspect_file


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One of each kind: the others cost seconds of conversion."""
    names = ("four_outputs.tflite", "integers.tflite", "graph.onnx", "program.mlpackage", "program.mlmodel")
    return base_files(tmp_path_factory.mktemp("bases"), [base for base in BASES if base.name in names])


def test_bases_are_sound(bases: list[Path]) -> None:
    assert {base.suffix for base in bases} == {suffix for kind in KINDS for suffix in kind.suffixes}
    for base in bases:
        assert inspect_file(base).report.spec is not None


def test_damaged_files_are_read_or_refused(bases: list[Path], tmp_path: Path) -> None:
    tally = inspect_mutants(write_mutants(bases, range(240), 1, tmp_path))
    assert tally.escaped == []
    assert sum(tally.read.values()) + sum(tally.refused.values()) == 240
    for base in bases:  # the damage is neither always fatal nor always harmless
        assert tally.read[base.name] > 0
        assert tally.refused[base.name] > 0
    assert tally.slowest[0] < TIME_LIMIT_S


def test_an_exception_would_be_told(bases: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise KeyError("left out")

    monkeypatch.setattr("edgedet.export.inspect.inspect_file", fail)
    tally = inspect_mutants(bases[:1])
    assert tally.escaped == ["four_outputs.tflite: KeyError: 'left out'"]


def test_equal_seeds_give_equal_damage() -> None:
    data = bytes(range(256)) * 20
    first, second, other = (mutate(data, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first == second != other


@pytest.mark.parametrize("mutation", [mutation for mutation, _ in MUTATIONS], ids=lambda mutation: mutation.__name__)
def test_each_mutation_takes_a_file_of_any_size(mutation: Mutation) -> None:
    for size in (1, 7, 5000):
        data = np.random.default_rng(0).bytes(size)
        found = {mutation(data, np.random.default_rng(seed)) for seed in range(2 if size > 1000 else 1)}
    assert found != {data}
