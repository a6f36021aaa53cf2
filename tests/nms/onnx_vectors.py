"""ONNX's own backend tests of NonMaxSuppression."""

from __future__ import annotations

from typing import Any

import pytest
from onnx.backend.test.case.node import nonmaxsuppression

Vector = tuple[Any, list[Any], Any]  # node, inputs, selected indices


def _vectors() -> dict[str, Vector]:
    found: dict[str, Vector] = {}

    def record(node: Any, inputs: list[Any], outputs: list[Any], name: str) -> None:
        found[name.removeprefix("test_nonmaxsuppression_")] = (node, inputs, outputs[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nonmaxsuppression, "expect", record)
        for name, make in vars(nonmaxsuppression.NonMaxSuppression).items():
            if name.startswith("export_"):
                make.__func__()
    return found


VECTORS = _vectors()
