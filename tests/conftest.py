"""Fixtures every test may use. Shared real data comes from EDGEDET_DATA only; without it such tests read "not run"."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from edgedet.preprocess import UInt8Image
from tests.exported_files import exported, lowered, saved_model, shared_folder

# Fixtures of every folder: one export serves all tests of a run.
__all__ = ["exported", "lowered", "saved_model", "shared_folder"]

# One process uses both cores of a small machine; of several, each has one.
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)

_SLOW_FOLDERS = ("export", "clients", "training", "benchmarks")


def pytest_configure() -> None:
    """A shell without job control starts programs with SIGINT ignored; tests of Ctrl-C must not inherit that."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first, so that a plain mistake shows within seconds."""
    items.sort(key=lambda item: any(folder in item.path.parts for folder in _SLOW_FOLDERS))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared real data sets, or skip with the reason."""
    value = os.environ.get("EDGEDET_DATA", "")
    if not value or not Path(value).is_dir():
        pytest.skip("not run: EDGEDET_DATA names no folder of shared data")
    return Path(value)


@pytest.fixture(scope="session")
def photos() -> list[UInt8Image]:
    """Three structured RGB pictures of different sizes, made here: gradients, discs and noise."""
    return [_picture(seed, height, width) for seed, (height, width) in enumerate([(120, 160), (300, 200), (97, 131)])]


def _picture(seed: int, height: int, width: int) -> UInt8Image:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (width + height)], axis=-1)
    for _ in range(6):
        cy, cx, radius = rng.integers(0, height), rng.integers(0, width), rng.integers(8, 40)
        image[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = rng.integers(0, 256, 3)
    return np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
