"""The side-by-side training benchmark: its arithmetic, and that both sides get the same images and objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

from edgedet.benchmarks import training_vs_torchvision_side as side
from edgedet.benchmarks.training_vs_torchvision import Side, ratio, summary
from edgedet.config import load_config
from edgedet.data import Dataset, read_dataset
from edgedet.data.synth import write_synthetic
from edgedet.errors import EdgedetError


def _rounds(*pairs: tuple[float, float]) -> list[dict[str, Any]]:
    def one(seconds: float) -> dict[str, float]:
        return {"seconds": seconds, "cpu_seconds": 2 * seconds}

    return [{"edgedet": one(ours), "torchvision": one(theirs)} for ours, theirs in pairs]


def test_ratio_is_the_median_of_rounds_not_of_sums() -> None:
    """A round that other work slowed threefold counts like every other."""
    middle, low, high = ratio(_rounds((1, 3), (3, 9), (2, 4), (1, 2.5), (1, 3.5)), "seconds")
    assert middle == 3
    assert 2 <= low < middle < high <= 3.5


def test_equal_rounds_have_no_interval() -> None:
    assert ratio(_rounds((1, 2), (2, 4), (3, 6)), "cpu_seconds") == (2, 2, 2)


def test_summary_by_hand() -> None:
    found = summary(_rounds((1, 3), (2, 5), (4, 8)), batch=16)
    assert found["edgedet"] == {"step_s": 2, "cpu_s": 4, "images_per_s": 8}
    assert found["torchvision"]["step_s"] == 5
    assert found["ratio_seconds"]["median"] == 2.5


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = write_synthetic(tmp_path_factory.mktemp("side") / "set", 6, 1, 1, size_px=96)
    return read_dataset(root, "train")


def test_both_sides_see_the_same_objects(dataset: Dataset) -> None:
    config = load_config(side.CONFIG, ["training.batch_size=3"])
    batches = side.same_batches(config, dataset)
    for (pixels, targets), (again, _) in zip(batches, side.same_batches(config, dataset), strict=True):
        assert torch.equal(pixels, again)
        images, objects = side._torchvision_batch(config, pixels, targets)
        assert len(images) == len(objects) == 3
        for k, image in enumerate(images):
            assert torch.equal((image * 255).round().to(torch.uint8), pixels[k])
            used = targets.trained_on[k]
            assert torch.allclose(objects[k]["boxes"] / 320, targets.boxes_xyxy_unit[k][used])
            assert (objects[k]["labels"] == targets.class_ids[k][used] + 1).all()


def test_torchvisions_model_learns_from_its_loaders_images(dataset: Dataset) -> None:
    model = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4).train()
    assert side._priors_of(model) == 3234
    assert model.training
    images, targets = side._columns([side.ReferenceImages(dataset)[k] for k in (0, 1)])
    assert all(image.dtype == torch.float32 and float(image.max()) <= 1 for image in images)
    losses = model(images, targets)
    assert set(losses) == {"bbox_regression", "classification"}
    assert all(torch.isfinite(value) for value in losses.values())


def test_a_side_that_cannot_start_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EdgedetError, match="the process that trains with edgedet ended"):
        Side("edgedet", tmp_path / "none", "train", 2, 1, 0)
    assert "there is no such data set" in capfd.readouterr().err
