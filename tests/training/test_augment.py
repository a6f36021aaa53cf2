from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import tv_tensors
from torchvision.transforms import v2

from edgedet.boxes import box_area
from edgedet.config import AugmentConfig
from edgedet.preprocess import resize_bilinear, to_network_pixels
from edgedet.spec import InputSpec
from edgedet.training.augment import Augment
from edgedet.training.augment_ssd import IoUCrop
from edgedet.training.augment_window import Window, show_window
from edgedet.training.targets import Objects
from tests.training.helpers import objects

INPUT = InputSpec(height=64, width=96)
NOTHING = AugmentConfig(zoom_out_probability=0, iou_crop_probability=0, flip_probability=0, photometric_probability=0)


def picture(height: int = 60, width: int = 90, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def boxes_of(count: int, height: int, width: int, seed: int) -> Objects:
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([width, height])
    low = torch.rand(count, 2, generator=generator) * 0.7 * size
    high = torch.minimum(low + (0.1 + 0.3 * torch.rand(count, 2, generator=generator)) * size, size)
    found = objects(torch.cat((low, high), dim=1).tolist(), list(range(count)))
    return replace(found, ignored=torch.arange(count) % 3 == 2)


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_without_augmentation_it_is_what_every_runner_sees(resize: str) -> None:
    spec = replace(INPUT, resize=resize)  # type: ignore[arg-type]
    image = picture(50, 100)
    for augment in (Augment(None, spec), Augment(NOTHING, spec)):
        pixels, found = augment(image, objects([[0, 0, 100, 50], [10, 10, 20, 30]]))
        assert torch.equal(pixels, to_network_pixels(image.permute(1, 2, 0).numpy(), spec))
        if resize == "stretch":
            assert found.boxes_xyxy[0].tolist() == [0, 0, 1, 1]
            assert found.boxes_xyxy[1].tolist() == pytest.approx([0.1, 0.2, 0.2, 0.6])
        else:  # 96 x 48 pixels in the middle of 96 x 64
            assert found.boxes_xyxy[0].tolist() == pytest.approx([0, 8 / 64, 1, 56 / 64])


def test_a_crop_shows_the_crop() -> None:
    image = picture()
    pixels, found = show_window(image, objects([[30, 20, 60, 40]]), Window(30, 20, 30, 20), INPUT)
    assert torch.equal(pixels, resize_bilinear(image[:, 20:40, 30:60], 64, 96))
    assert found.boxes_xyxy.tolist() == [[0, 0, 1, 1]]


def test_zoom_out_puts_the_image_on_grey() -> None:
    image = torch.full((3, 32, 48), 200, dtype=torch.uint8)
    pixels, found = show_window(image, objects([[0, 0, 48, 32]]), Window(-24, -16, 96, 64), INPUT)
    assert (pixels[:, 16:48, 24:72] == 200).all()
    assert int((pixels == 200).sum()) == 3 * 32 * 48
    assert (pixels[:, :16] == INPUT.pad_value).all()
    assert found.boxes_xyxy.tolist() == [[0.25, 0.25, 0.75, 0.75]]


def test_mirrors_move_boxes_with_pixels() -> None:
    config = NOTHING.model_copy(update={"flip_probability": 1.0, "vertical_flip_probability": 1.0})
    image = torch.zeros(3, 64, 96, dtype=torch.uint8)
    image[:, 8:16, 24:48] = 255
    pixels, found = Augment(config, INPUT)(image, objects([[24, 8, 48, 16]]))
    assert found.boxes_xyxy[0].tolist() == pytest.approx([0.5, 0.75, 0.75, 0.875])
    assert (pixels[:, 48:56, 48:72] == 255).all()
    assert int((pixels == 255).sum()) == 3 * 8 * 24


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 7), st.booleans())
def test_boxes_stay_inside_and_keep_their_labels(seed: int, count: int, letterbox: bool) -> None:
    spec = replace(INPUT, resize="letterbox" if letterbox else "stretch")
    image, before = picture(50, 80, seed), boxes_of(count, 50, 80, seed)
    torch.manual_seed(seed)
    pixels, after = Augment(AugmentConfig(zoom_out_max=4, vertical_flip_probability=0.5), spec)(image, before)
    assert pixels.shape == (3, 64, 96)
    assert pixels.dtype == torch.uint8
    assert (after.boxes_xyxy >= 0).all()
    assert (after.boxes_xyxy <= 1).all()
    assert (box_area(after.boxes_xyxy) > 0).all()
    assert len(after.class_ids) == len(after.ignored) == len(after.boxes_xyxy)
    for class_id, ignored in zip(after.class_ids.tolist(), after.ignored.tolist(), strict=True):
        assert before.ignored[class_id] == ignored  # class ids were row numbers: label and flag stay together
    assert after.class_ids.unique().numel() == len(after.class_ids)


def test_a_coloured_square_is_found_where_its_box_says() -> None:
    """The pixels under the box stay the object's through every geometric change."""
    image = torch.zeros(3, 80, 120, dtype=torch.uint8)
    image[:, 20:60, 30:80] = 255
    augment = Augment(
        AugmentConfig(photometric_probability=0, vertical_flip_probability=0.5), replace(INPUT, pad_value=0)
    )
    for seed in range(40):
        torch.manual_seed(seed)
        pixels, found = augment(image, objects([[30, 20, 80, 60]]))
        if not len(found.class_ids):
            continue
        x0, y0, x1, y1 = (found.boxes_xyxy[0] * torch.tensor([96, 64, 96, 64])).round().int().tolist()
        assert pixels[:, y0 + 1 : y1 - 1, x0 + 1 : x1 - 1].float().mean() > 250
        outside = pixels.clone()
        outside[:, max(0, y0 - 1) : y1 + 1, max(0, x0 - 1) : x1 + 1] = 0
        assert outside.max() < 128


def test_the_same_seed_gives_the_same_picture() -> None:
    augment, image, found = Augment(AugmentConfig(), INPUT), picture(), boxes_of(4, 60, 90, 0)
    results = []
    for _ in range(2):
        torch.manual_seed(7)
        results.append(augment(image, found))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1].boxes_xyxy, results[1][1].boxes_xyxy)


def test_colours_change_and_stay_8_bit() -> None:
    augment = Augment(NOTHING.model_copy(update={"photometric_probability": 1.0}), INPUT)
    image = picture(64, 96)
    torch.manual_seed(0)
    pixels, _ = augment(image, objects([]))
    assert pixels.dtype == torch.uint8
    assert not torch.equal(pixels, image)


def test_crops_are_torchvisions_crops() -> None:
    """Same statistics as the parent class, which tries its windows one by one."""
    boxes = tv_tensors.BoundingBoxes(boxes_of(5, 100, 150, 3).boxes_xyxy.numpy(), format="XYXY", canvas_size=(100, 150))
    means = []
    for crop in (v2.RandomIoUCrop(), IoUCrop()):
        torch.manual_seed(1)
        drawn = [crop.make_params([tv_tensors.Image(torch.zeros(3, 100, 150)), boxes]) for _ in range(250)]
        crops = [d for d in drawn if d]
        whole = 1 - len(crops) / len(drawn)
        columns = ("top", "left", "height", "width")
        kept = sum(float(d["is_within_crop_area"].float().mean()) for d in crops) / len(crops)
        means.append([whole * 100, kept * 100, *(sum(d[c] for d in crops) / len(crops) for c in columns)])
        assert all(d["is_within_crop_area"].any() for d in crops)
        assert all(d["left"] + d["width"] <= 150 and d["top"] + d["height"] <= 100 for d in crops)
    assert means[0] == pytest.approx(means[1], abs=7)
