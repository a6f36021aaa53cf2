"""What of a GPU's measurement runs on any device, with a clock of its own; the rest where there is a CUDA device."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedet import load
from edgedet.benchmarks.devices import open_device
from edgedet.benchmarks.devices.cuda_nms import suppress
from edgedet.benchmarks.devices.cuda_runners import TorchDeviceRunner
from edgedet.benchmarks.latency import Latency
from edgedet.benchmarks.request import Budget, Request
from edgedet.cli import main
from edgedet.errors import ConfigError, NotRunError
from edgedet.export.pictures import generated_pictures
from edgedet.model_file import load_model
from edgedet.nms import non_maximum_suppression
from edgedet.spec import LabelsPerBox, NmsSpec

_NO_GPU = not torch.cuda.is_available()


class _Clock:
    """Says 7 ms of everything."""

    def timed_ms(self, function: Callable[[], None]) -> float:
        function()
        return 7.0


def _random(seed: int, count: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two pictures of crowded boxes; scores on a grid, so that some are equal."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(2, count, 2, generator=generator)
    boxes = torch.cat([corners, corners + 0.05 + 0.6 * torch.rand(2, count, 2, generator=generator)], dim=2)
    return boxes, (torch.rand(2, count, classes, generator=generator) * 20).round() / 20


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), count=st.integers(1, 40), classes=st.integers(1, 4), agnostic=st.booleans(),
    labels=st.sampled_from(["best", "all"]), topk=st.integers(1, 60), most=st.integers(1, 30),
)  # fmt: skip
def test_suppression_keeps_what_the_reference_keeps(
    seed: int, count: int, classes: int, agnostic: bool, labels: LabelsPerBox, topk: int, most: int
) -> None:
    boxes, scores = _random(seed, count, classes)
    nms = NmsSpec(0.3, 0.45, topk, most, agnostic, labels)
    found = suppress(boxes, scores, nms, rounds=topk + 1)
    assert bool(found.settled.all())
    for picture in range(2):
        kept = non_maximum_suppression(boxes[picture], scores[picture], nms)
        rows = found.scores[picture] >= 0
        assert torch.equal(found.boxes_xyxy[picture][rows], boxes[picture][kept.prior_indices])
        assert torch.equal(found.class_ids[picture][rows], kept.class_ids)
        assert torch.equal(found.scores[picture][rows], kept.scores)


def test_too_few_rounds_are_said_to_be() -> None:
    """A chain of boxes, each overlapping the next: the third stays because the second goes, and so on."""
    left = torch.arange(6) * 0.3
    boxes = torch.stack([left, torch.zeros(6), left + 1.0, torch.ones(6)], dim=1)[None]
    scores = torch.linspace(0.9, 0.5, 6)[None, :, None]
    nms = NmsSpec(0.05, 0.45)
    assert suppress(boxes, scores, nms, rounds=2).settled.tolist() == [False]
    found = suppress(boxes, scores, nms, rounds=7)
    assert found.settled.tolist() == [True]
    assert found.scores[0, :3].tolist() == pytest.approx([0.9, 0.74, 0.58])
    assert (found.scores[0, 3:] == -1).all()


@pytest.mark.parametrize("batch", [1, 3])
def test_a_whole_detector_finds_what_the_file_finds(model_pt: Path, batch: int) -> None:
    network, spec = load_model(model_pt)
    runner = TorchDeviceRunner(network, spec, model_pt, torch.device("cpu"), "eager", batch, _Clock())
    reference = load(model_pt)
    for picture in generated_pictures()[:2]:
        found, times = runner.timed(picture)
        expected = reference(picture)
        assert times.inference_ms == 7.0
        assert times.preprocess_ms < times.total_ms - 7.0 + 1e-9
        np.testing.assert_array_equal(found.class_ids, expected.class_ids)
        np.testing.assert_allclose(found.boxes_xyxy_px, expected.boxes_xyxy_px, atol=1e-2)
    assert runner.provider == f"cpu eager, batch {batch}"


def test_boxes_in_long_chains_are_suppressed_in_more_rounds(model_pt: Path) -> None:
    network, spec = load_model(model_pt)
    runner = TorchDeviceRunner(network, spec, model_pt, torch.device("cpu"), "eager", 1, _Clock(), rounds=1)
    picture = generated_pictures()[0]
    np.testing.assert_array_equal(runner(picture).class_ids, load(model_pt)(picture).class_ids)
    assert runner.unsettled == 1


@pytest.mark.skipif(not _NO_GPU, reason="there is a CUDA device")
def test_without_a_gpu_nothing_runs(model_pt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "latency.json"
    assert main(["bench", str(model_pt), "--device", "cuda:1", "--json", str(out)]) == 1
    assert "no CUDA device" in capsys.readouterr().out
    (row,) = json.loads(out.read_text())["results"]
    assert (row["status"], row["device"]) == ("not run", "cuda:1")
    for call in (lambda: open_device("cuda").describe(), lambda: open_device("cuda").measure(model_pt, Request())):
        with pytest.raises(NotRunError, match="no CUDA device"):
            call()


def test_what_may_be_asked_of_a_gpu() -> None:
    assert open_device("cuda").name == "cuda:0"
    for name, options in (("cuda:x", {}), ("cuda", {"batches": "0"}), ("cuda", {"ways": "vulkan"})):
        with pytest.raises(ConfigError):
            open_device(name, options)


@pytest.mark.skipif(_NO_GPU, reason="no CUDA device")
def test_every_way_on_a_gpu(model_pt: Path) -> None:
    request = Request(budget=Budget(seconds=0.5))
    device = open_device("cuda", {"batches": "1,4"})
    results = device.measure_files([model_pt], request)  # type: ignore[attr-defined]
    assert [type(result) for result in results] == [Latency] * 6
    assert {result.provider for result in results} == {
        f"cuda {way}, batch {batch}" for way in ("eager", "compiled", "graphs") for batch in (1, 4)
    }


@pytest.mark.skipif(_NO_GPU, reason="no CUDA device")
@pytest.mark.parametrize("way", ["eager", "compiled", "graphs"])
def test_a_gpu_finds_what_the_file_finds(model_pt: Path, way: str) -> None:
    from edgedet.benchmarks.devices.cuda_runners import open_runner

    runner, reference = open_runner(model_pt, None, f"0/{way}/1"), load(model_pt)
    for picture in generated_pictures():
        found, expected = runner(picture), reference(picture)
        assert len(found) == pytest.approx(len(expected), abs=1)
        np.testing.assert_allclose(found.scores[:5], expected.scores[:5], atol=5e-3)
