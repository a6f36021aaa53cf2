"""Layer sensitivities on a small network in which one layer was made bad on purpose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgedet.benchmarks.lab import sensitivity as module
from edgedet.benchmarks.lab.sensitivity import sensitivity, sensitivity_json
from edgedet.benchmarks.lab.sensitivity_figure import sensitivity_figure
from edgedet.benchmarks.lab.simulated import Simulated
from edgedet.data import Dataset, load_image
from edgedet.evaluation import evaluate
from edgedet.evaluation.plots import to_png
from edgedet.export.calibrate import calibration_of_arrays
from edgedet.torch_runner import open_runner


@pytest.fixture(scope="module")
def simulated(model_pt: Path, dataset: Dataset) -> Iterator[Simulated]:
    """Judged by what the float network itself finds, so that its AP is 1 and every change shows."""
    runner = open_runner(model_pt)
    samples = []
    for sample in dataset.samples:
        found = runner(load_image(sample.image_path))
        rows = np.flatnonzero(found.scores > 0.3)[:10]
        boxes = found.boxes_xyxy_px[rows]
        none = np.zeros(len(rows), np.bool_)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        truth = replace(sample.objects, boxes_xyxy_px=boxes, class_ids=found.class_ids[rows], difficult=none,
                        crowd=none, area_px2=areas)  # fmt: skip
        samples.append(replace(sample, objects=truth))
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (96, 128, 3), dtype=np.uint8) for _ in range(8)]
    calibration = calibration_of_arrays([*noise[:2], *(load_image(s.image_path) for s in samples)], runner.spec.input)
    threads = torch.get_num_threads()
    yield Simulated(model_pt, calibration, replace(dataset, samples=tuple(samples)))
    torch.set_num_threads(threads)


def test_float_is_what_the_runner_finds(simulated: Simulated, model_pt: Path) -> None:
    """The simulation evaluates in batches: the same numbers as image by image."""
    expected = evaluate(open_runner(model_pt), simulated.dataset).metrics["coco_ap"]
    assert simulated.ap([]) == pytest.approx(expected, abs=1e-3)
    assert simulated.ap(None) != simulated.ap([])


def test_the_first_layers_stay_in_float_as_in_int8_files(simulated: Simulated) -> None:
    every = simulated.simulation.layer_names
    assert every[:2] == ("backbone.features.0.0", "backbone.features.1.block.0.0")
    assert simulated.layer_names == every[2:]
    simulated.ap(None)
    convs = dict(simulated.simulation.network.named_modules())
    assert [name for name in every if not convs[name].rounding] == list(every[:2])


def test_costs_are_counted(simulated: Simulated) -> None:
    costs = simulated.costs()
    assert tuple(costs) == simulated.layer_names
    first = "backbone.features.2.block.0.0"
    conv = dict(simulated.simulation.network.named_modules())[first]
    assert costs[first].weights == conv.weight.numel()
    assert costs[first].macs == conv.weight.numel() * (96 // 4) * (128 // 4)  # the stem halves the picture twice


def test_the_screen_decides_which_layers_get_runs(simulated: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two layers measured; a layer whose loss is made up comes first, whatever the screen says."""
    asked: list[tuple[str, ...] | None] = []
    errors = simulated.screen()
    worst = sorted(errors, key=lambda error: error.heads_sqnr_db)[:2]
    bad = worst[1].layer

    def ap(quantized: list[str] | None) -> float:
        asked.append(None if quantized is None else tuple(quantized))
        return 0.6 if not quantized and quantized is not None else 0.6 - 0.1 * (quantized is None or bad in quantized)

    monkeypatch.setattr(simulated, "ap", ap)
    monkeypatch.setattr(simulated, "screen", lambda advance: errors)
    found = sensitivity(simulated, map_runs=5)
    assert len(asked) == 2 + 2 * 2
    assert (found.float_ap, found.int8_ap) == pytest.approx((0.6, 0.5))
    first, second = found.layers[:2]
    assert first.error.layer == bad
    assert found.lost_alone(first) == pytest.approx(0.1)
    assert found.won_spared(first) == pytest.approx(0.1)
    assert found.lost_alone(second) == pytest.approx(0)
    assert all(layer.ap_alone is None for layer in found.layers[2:])
    ratios = [layer.error.heads_sqnr_db for layer in found.layers[2:]]
    assert ratios == sorted(ratios)
    assert to_png(sensitivity_figure(found))[:4] == b"\x89PNG"
    value = json.loads(json.dumps(sensitivity_json(found, simulated), allow_nan=False))
    assert value["schema"] == module.SCHEMA
    assert value["layers"][0]["ap_lost_alone_quantized"] == pytest.approx(0.1)
    assert {layer["layer"] for layer in value["layers"]} == set(simulated.layer_names)
