"""The arithmetic limit of one core, and how much of it a file reaches."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from torch import nn

from edgedet.benchmarks.arithmetic_limit import Achieved, achieved, gflop_by, part_of
from tests.exported_files import Export

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="not run: there is no C compiler")


def test_flop_are_two_for_each_multiply_add() -> None:
    """A 3 x 3 convolution 3 -> 4 on 8 x 8, then a depthwise one in the head: 64 (27 * 4 + 9 * 4) multiply-adds."""
    network = nn.Sequential()
    network.add_module("backbone", nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)))
    network.add_module("class_heads", nn.Conv2d(4, 4, 3, padding=1, groups=4))
    found = gflop_by(network, 8, 8, part_of)
    assert found == pytest.approx({"backbone": 2 * 64 * 27 * 4 / 1e9, "head": 2 * 64 * 9 * 4 / 1e9})


def test_shares() -> None:
    row = Achieved("m.onnx", "onnxruntime", "network", gflop=1.5, ms=10.0, limit_gflops=200.0)
    assert row.gflops == pytest.approx(150)
    assert row.share == pytest.approx(0.75)


@needs_compiler
def test_a_file_and_its_parts(exported: Export, model_pt: Path) -> None:
    path = exported("ssdlite_mobilenet_v3_small", "tflite", "fp32")
    rows = achieved(path.model, [path.artifact.path], rounds=10)
    assert [row.part for row in rows] == ["network", "backbone", "head"]
    whole, backbone, head = rows
    assert whole.gflop == pytest.approx(backbone.gflop + head.gflop)
    assert whole.ms == pytest.approx(backbone.ms + head.ms)
    assert all(row.limit_gflops == whole.limit_gflops for row in rows)


@needs_compiler
def test_kinds_of_convolutions_of_an_onnx_file(exported: Export) -> None:
    """They add up to the network; a MobileNet's FLOP are mostly those of 1 x 1 convolutions."""
    path = exported("ssdlite_mobilenet_v3_small", "onnx", "fp32")
    rows = achieved(path.model, [path.artifact.path], rounds=10)
    kinds = [row for row in rows if row.part.endswith(" convolutions")]
    assert {row.part.split()[0] for row in kinds} == {"1x1", "depthwise", "other"}
    assert sum(row.gflop for row in kinds) == pytest.approx(rows[0].gflop)
    assert kinds[0].part == "1x1 convolutions"
    assert all(row.ms > 0 for row in kinds)
