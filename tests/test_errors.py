"""Errors cross processes (data loaders, the tests' own) with their remedy."""

import pickle

import pytest

from edgedet.errors import DataError, EdgedetError, NotRunError


@pytest.mark.parametrize("kind", [EdgedetError, DataError, NotRunError])
def test_errors_survive_pickling(kind: type[EdgedetError]) -> None:
    again = pickle.loads(pickle.dumps(kind("photo.jpg: is empty", "Copy it again.")))
    assert type(again) is kind
    assert (str(again), again.what, again.remedy) == (
        "photo.jpg: is empty. Copy it again.",
        "photo.jpg: is empty",
        "Copy it again.",
    )
