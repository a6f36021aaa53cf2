"""Multi-scale training: which sizes, that everybody agrees on them, and that priors follow the formulas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from edgedet.config import Config, load_config, make_spec, resized_spec
from edgedet.config.sizes import training_inputs
from edgedet.data import read_dataset
from edgedet.errors import ConfigError
from edgedet.model_file import load_model
from edgedet.models import build
from edgedet.training import train
from edgedet.training.augment import Augment
from edgedet.training.images import TrainingImages, collate
from edgedet.training.multi_scale import MultiScaleLoss, SizedBatches, input_of_batch
from edgedet.training.sampler import BatchOrder
from edgedet.training.step import TrainStep
from tests.training.helpers import objects, targets, tiny_config, tiny_data

NO_BOXES = np.zeros((0, 2), np.float32)


def sizes(config: Config) -> list[tuple[int, int]]:
    return [(image.height, image.width) for image in training_inputs(config.augment, config.input)]


def test_the_papers_sizes() -> None:
    """320 to 608 px in steps of 32 around 416 (YOLOv2 paper, section 2)."""
    config = load_config("yolov2", ["input.height=416", "input.width=416", "augment.multi_scale=[0.77, 1.47]"])
    assert sizes(config) == [(side, side) for side in range(320, 609, 32)]
    assert sizes(load_config("yolov2", ["input.height=416", "input.width=416"])) == [(416, 416)]


def test_inputs_that_are_not_square_keep_their_shape() -> None:
    changes = ["input.height=320", "input.width=640", "augment.multi_scale=[0.8, 1.2]"]
    assert sizes(load_config("ssdlite_mobilenet_v2", changes)) == [
        (256, 512),
        (288, 576),
        (320, 640),
        (352, 704),
        (384, 768),
    ]


def test_one_size_for_ten_batches_and_all_sizes_in_the_long_run() -> None:
    inputs = training_inputs(tiny_config("augment.multi_scale=[0.5, 2]").augment, tiny_config().input)
    drawn = [input_of_batch(inputs, 10, 3, batch).height for batch in range(600)]
    assert all(len(set(drawn[start : start + 10])) == 1 for start in range(0, 600, 10))
    assert set(drawn) == {image.height for image in inputs}
    assert drawn != [input_of_batch(inputs, 10, 4, batch).height for batch in range(600)]


def test_processes_epochs_and_resumed_runs_agree() -> None:
    """The size depends on the batch's number in the run alone: whoever asks, and wherever the run began again."""
    config = tiny_config("augment.multi_scale=[0.6, 2]", "augment.multi_scale_every=2")
    whole: list[list[tuple[int, int] | None]] = []
    for rank in range(2):
        order = BatchOrder(24, 4, 0, rank, 2)
        batches = SizedBatches(order, config)
        found: list[tuple[int, int] | None] = []
        for epoch in range(6):
            order.epoch = epoch
            keys = list(batches)
            assert len(keys) == len(batches) == 3
            assert all(len({key.size_hw for key in batch}) == 1 for batch in keys)
            found += [batch[0].size_hw for batch in keys]
        whole.append(found)
    assert whole[0] == whole[1]
    assert len(set(whole[0])) > 2
    order = BatchOrder(24, 4, 0, 0, 2)
    order.epoch = 4
    assert [batch[0].size_hw for batch in SizedBatches(order, config)] == whole[0][12:15]


def test_workers_give_the_sizes_and_pixels_of_the_main_process(tmp_path: Path) -> None:
    config = tiny_config("augment.multi_scale=[0.6, 2]", "augment.multi_scale_every=1")
    dataset = read_dataset(tiny_data(tmp_path), "train")
    images = TrainingImages(dataset, Augment(config.augment, config.input), 0, 10)
    results = []
    for workers in (0, 2):
        order = SizedBatches(BatchOrder(len(dataset), 4, 0), config)
        loader = DataLoader(images, batch_sampler=order, num_workers=workers, collate_fn=collate)
        results.append([pixels.clone() for pixels, _ in loader])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert len({pixels.shape for pixels in results[0]}) > 2


@pytest.mark.parametrize("name", ["ssdlite_mobilenet_v2", "ssd_mobilenet_v1", "retinanet_lite_mobilenet_v2", "yolov3"])
def test_priors_are_those_of_a_configuration_of_that_size(name: str) -> None:
    config = load_config(name, ["augment.multi_scale=[0.7, 1.3]"])
    spec = make_spec(config, ["a"], NO_BOXES)
    for image in training_inputs(config.augment, config.input):
        alone = make_spec(config.model_copy(update={"input": image}), ["a"], NO_BOXES)
        assert resized_spec(config, spec, image) == alone


def test_fitted_anchors_keep_their_pixels() -> None:
    config = load_config("bccd_ssdlite", ["augment.multi_scale=[0.8, 1.2]"])
    boxes = np.random.default_rng(0).uniform(20, 100, (50, 2)).astype(np.float32)
    spec = make_spec(config, ["a"], boxes)
    larger = resized_spec(config, spec, replace(config.input, height=384, width=384))
    assert [level.anchors_wh_px for level in larger.levels] == [level.anchors_wh_px for level in spec.levels]
    assert [level.grid_h for level in larger.levels] == [24, 12]


def test_network_and_loss_work_at_every_size() -> None:
    config = tiny_config("augment.multi_scale=[0.7, 1.7]")
    spec = make_spec(config, ["a"], np.random.default_rng(0).uniform(10, 60, (50, 2)).astype(np.float32))
    loss, model = MultiScaleLoss(spec, config), build(spec)
    for image in training_inputs(config.augment, config.input):
        raw = model(torch.zeros(2, 3, image.height, image.width))
        parts = loss(raw, targets(objects([[0.1, 0.1, 0.6, 0.6]]), objects([])))
        assert torch.isfinite(parts.total)
        assert parts.positives > 0


@pytest.mark.parametrize(
    ("base", "changes", "told"),
    [
        ("yolov1", ["augment.multi_scale=[0.8, 1.2]"], "one input size"),
        ("tiny_yolov3", ["augment.multi_scale=[0.8, 1.2]", "augment.multi_scale_step_px=16"], "multiples of 32"),
        ("ssdlite_mobilenet_v2", ["augment.multi_scale=[1.1, 1.5]"], "at most 1"),
        ("ssdlite_mobilenet_v2", ["augment.multi_scale=[0.9, 1.1]", "augment.multi_scale_step_px=8"], "one grid twice"),
        ("mb2_ssd_lite", ["augment.multi_scale=[0.8, 1.2]"], "strides_px"),
        ("ssdlite_mobilenet_v2", ["augment.multi_scale=[0.05, 1.2]", "augment.multi_scale_step_px=20"], "at least 32"),
    ],
)
def test_what_cannot_be_trained_at_several_sizes_is_refused(base: str, changes: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config(base, changes)


def test_a_run_at_several_sizes_resumes_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiny_data(tmp_path)
    config = tiny_config("augment.multi_scale=[0.6, 1.4]", "augment.multi_scale_every=2", "augment.recipe=yolo")
    whole = train(config, data, tmp_path / "whole", device="cpu")
    steps = 0

    def stop(self: TrainStep, *arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 5:
            raise KeyboardInterrupt
        return original(self, *arguments)

    original = TrainStep.__call__
    monkeypatch.setattr(TrainStep, "__call__", stop)
    with pytest.raises(KeyboardInterrupt):
        train(config, data, tmp_path / "parts", device="cpu")
    monkeypatch.undo()
    parts = train(config, data, tmp_path / "parts", device="cpu", resume=True)
    (one, spec), (other, _) = load_model(whole), load_model(parts)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    assert (spec.input.height, spec.input.width) == (96, 96), "the detector that is saved has the input's own size"
