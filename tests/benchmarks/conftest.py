"""A model file that is small and sees something, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedet.model_file import save_model
from tests.small_models import small_model, small_spec


@pytest.fixture(scope="session")
def model_pt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.pt of a small SSDLite."""
    spec = small_spec("ssdlite_mobilenet_v3_small")
    path = tmp_path_factory.mktemp("run") / "model.pt"
    save_model(path, small_model(spec), spec)
    return path
