"""What the tests here share; the fixtures `exported` and `saved_model` are those of tests/exported_files.py."""

import pytest

from tests.exported_files import Exported

__all__ = ["Exported"]


@pytest.fixture(scope="session", autouse=True)
def _lowered(lowered: None) -> None:
    """Also where a test calls export_model or the command itself."""
