"""Files that several tests need, exported once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgedet.benchmarks.lab.store import Store
from edgedet.data import Dataset
from edgedet.export.options import ExportOptions


@pytest.fixture(scope="session")
def made_once(lowered: None, model_pt: Path, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store that holds the fp32 and the fp16 ONNX file, and no measurement."""
    pytest.importorskip("onnxruntime")
    root = tmp_path_factory.mktemp("store")
    store = Store(root, model_pt, dataset, None)
    for precision in ("fp32", "fp16"):
        store.artifact("onnx", ExportOptions(precision=precision))
    return root


@pytest.fixture
def folder(made_once: Path, tmp_path: Path) -> Path:
    """A copy of that folder."""
    copy = tmp_path / "store"
    shutil.copytree(made_once, copy)
    return copy
