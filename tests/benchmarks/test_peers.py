"""One network in every runtime, in turns: what is counted and compared, and what a runtime that fails becomes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgedet.benchmarks import peers, peers_files
from edgedet.benchmarks.peers import Ratio, Side, markdown, ratio, shared_detections, take_turns, verdicts
from edgedet.benchmarks.peers_files import PEERS, REFERENCE, Peer, environment_python
from edgedet.benchmarks.peers_side import OPENERS
from edgedet.errors import NotRunError


@dataclass
class _Clock:
    peer: Peer
    ms: float
    calls: list[str]

    def run(self, picture: int) -> float:
        self.calls.append(f"{self.peer.name}{picture}")
        return self.ms + picture


def test_each_runs_once_a_round_in_an_order_drawn_by_lot() -> None:
    calls: list[str] = []
    sides = [_Clock(Peer(name, "torch", ""), ms, calls) for name, ms in (("a", 1.0), ("b", 2.0), ("c", 3.0))]
    times = take_turns(sides, 12, seed=1)
    assert times["b"] == [2.0 + k for k in range(12)]
    rounds = [calls[k : k + 3] for k in range(0, 36, 3)]
    assert all(sorted(one) == [f"a{k}", f"b{k}", f"c{k}"] for k, one in enumerate(rounds))
    assert len({tuple(name[0] for name in one) for one in rounds}) > 3


def test_ratios_come_from_the_same_round() -> None:
    drift = np.linspace(1.0, 3.0, 40)
    noise = np.random.default_rng(0).normal(1.0, 0.01, 40)
    found = ratio(list(5.0 * drift * noise), list(10.0 * drift))
    assert found.low < 0.5 < found.high
    assert found.high - found.low < 0.01


def test_detections_are_compared_by_their_scores() -> None:
    assert shared_detections([[0.9, 0.5], [0.3]], [[0.5, 0.9], [0.3]]) == 1.0
    assert shared_detections([[0.9, 0.5], [0.3]], [[0.9, 0.9], [0.3]]) == pytest.approx(2 / 3)
    assert shared_detections([[0.9]], [[]]) == 0.0


def _run(best_high: float) -> dict[str, Any]:
    found = {"ratio": 0.5, "low": 0.4, "high": best_high}
    row = {"p50_ms": 10.0, "p90_ms": 12.0, "best_over_this": found, "this_over_reference": found}
    rows = [
        {**row, "name": REFERENCE, "ours": False, "shared_detections": None},
        {**row, "name": "eager", "ours": False, "shared_detections": 0.4},
        {**row, "name": "ours", "ours": True, "shared_detections": 1.0, "p50_ms": 5.0},
    ]
    return {"threads": 2, "rounds": 20, "best": "ours", "peers": rows, "not_run": {"openvino": "cannot be had"}}


@pytest.mark.parametrize(("high", "word"), [(0.55, "kept"), (0.56, "undecided")])
def test_an_aim_is_kept_only_by_the_whole_interval(high: float, word: str) -> None:
    said = verdicts(_run(high))
    assert said[0].endswith(f"at most 0.55: {word}")
    assert said[1].endswith("at most 1.05: kept")
    assert said[2] == "2 thread(s): eager finds other objects than torchvision"
    assert len(said) == 3


def test_the_table_names_what_did_not_run() -> None:
    lines = markdown(_run(0.5)).splitlines()
    assert lines[4].startswith("| ours | 5.00 |")
    assert lines[4].endswith("|  |")
    assert lines[-1] == "| openvino | not run: cannot be had | | | |"
    assert str(Ratio(0.5, 0.4, 0.6)) == "0.500 (0.400 to 0.600)"


def test_a_peer_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    """A file with torchvision's outputs, whose scores are two pixels of the picture."""
    nodes = [
        helper.make_node("Slice", ["pixels", "zero", "two", "last"], ["row"]),
        helper.make_node("ReduceMax", ["row", "both"], ["scores"], keepdims=0),
        helper.make_node("Identity", ["row"], ["boxes"]),
    ]
    constants = [
        helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
        for name, values in (("zero", [0]), ("two", [2]), ("last", [2]), ("both", [0, 1]))
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [3, 4, 4])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("boxes", "scores")]
    graph = helper.make_graph(nodes, "g", [pixels], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "m.onnx")
    pictures = np.zeros((1, 3, 4, 4), np.uint8)
    pictures[0, 0, 0, :2] = (255, 51)
    np.save(tmp_path / "pixels.npy", pictures)
    side = Side(Peer("p", "onnxruntime", "m.onnx"), tmp_path, tmp_path, 1, ())
    try:
        assert side.scores == [pytest.approx([1.0, 0.2])]
        assert "1 thread(s)" in side.runtime
        assert side.run(3) > 0
    finally:
        side.close()
    with pytest.raises(NotRunError, match=r"NO_SUCHFILE|does ?n.t exist"):
        Side(Peer("p", "onnxruntime", "other.onnx"), tmp_path, tmp_path, 1, ())


def test_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment_python("", tmp_path) == Path(sys.executable)
    commands: list[list[str]] = []
    run_or_say = peers_files._run_or_say

    def failing(command: list[str], name: str) -> None:
        commands.append(command)
        if "venv" in command:
            version = f"python{sys.version_info.major}.{sys.version_info.minor}"
            (tmp_path / name / "lib" / version / "site-packages").mkdir(parents=True)
        else:
            run_or_say([sys.executable, "-c", "raise SystemExit('no such package')"], name)

    monkeypatch.setattr(peers_files, "_run_or_say", failing)
    with pytest.raises(NotRunError, match="no such package"):
        environment_python("openvino", tmp_path)
    assert commands[1][-1] == "openvino"
    assert not (tmp_path / "openvino" / "complete").exists()


def test_each_peer_names_a_runtime_and_an_environment_that_exist() -> None:
    assert {peer.kind for peer in PEERS} == set(OPENERS)
    assert {peer.environment for peer in PEERS} - {""} == set(peers_files.ENVIRONMENTS)
    assert [peer.name for peer in PEERS if peer.ours]
    assert peers.REFERENCE in {peer.name for peer in PEERS}
