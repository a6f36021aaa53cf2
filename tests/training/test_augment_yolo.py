"""YOLO's recipe: jitter, colours in HSV, mosaic. Objects are coloured rectangles, found again by their colour."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedet.boxes import box_area
from edgedet.config import AugmentConfig, load_config
from edgedet.errors import ConfigError
from edgedet.preprocess import to_network_pixels
from edgedet.spec import InputSpec
from edgedet.training.augment import Augment
from edgedet.training.augment_window import Picture
from edgedet.training.augment_yolo import YoloRecipe, shift_hsv
from tests.training.helpers import objects

INPUT = InputSpec(height=64, width=96, pad_value=0)
PLAIN = {"recipe": "yolo", "hsv_hue": 0, "hsv_saturation": 1, "hsv_exposure": 1, "flip_probability": 0}
COLOURS = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]], dtype=torch.uint8)


def config(**fields: object) -> AugmentConfig:
    return AugmentConfig.model_validate({**PLAIN, **fields})


def coloured(number: int, height: int, width: int, box: tuple[int, int, int, int]) -> Picture:
    """A black picture with one rectangle of a colour of its own; the class is the colour's number."""
    x0, y0, x1, y1 = box
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    image[:, y0:y1, x0:x1] = COLOURS[number][:, None, None]
    return image, objects([[x0, y0, x1, y1]], [number])


def seen(pixels: torch.Tensor, number: int) -> torch.Tensor:
    """(H, W) bool: pixels of a colour, up to the halves that the resize makes at edges."""
    return ((pixels.int() - COLOURS[number].int()[:, None, None]).abs() < 128).all(dim=0)


def extent(mask: torch.Tensor) -> list[int]:
    """x0, y0, x1, y1 of what is true."""
    rows, columns = mask.any(dim=1).nonzero().flatten(), mask.any(dim=0).nonzero().flatten()
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_without_strengths_it_is_what_every_runner_sees(resize: str) -> None:
    spec = replace(INPUT, resize=resize)  # type: ignore[arg-type]
    image = torch.randint(0, 256, (3, 50, 100), dtype=torch.uint8)
    pixels, found = Augment(config(jitter=0), spec)(image, objects([[0, 0, 100, 50]]))
    assert torch.equal(pixels, to_network_pixels(image.permute(1, 2, 0).numpy(), spec))
    top = 0 if resize == "stretch" else 8 / 64
    assert found.boxes_xyxy[0].tolist() == pytest.approx([0, top, 1, 1 - top])


def test_jitter_moves_each_edge_both_ways() -> None:
    torch.manual_seed(0)
    recipe = YoloRecipe(config(jitter=0.2))
    windows = [recipe._jittered(100, 50) for _ in range(300)]
    edges = torch.tensor([[w.x0, w.y0, w.x0 + w.width - 100, w.y0 + w.height - 50] for w in windows])
    assert edges.amin(dim=0).tolist() == pytest.approx([-20, -10, -20, -10], abs=2)
    assert edges.amax(dim=0).tolist() == pytest.approx([20, 10, 20, 10], abs=2)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.booleans())
def test_a_rectangle_is_found_where_its_box_says(seed: int, letterbox: bool, mosaic: bool) -> None:
    """Of one picture or of each of the four: the box is the extent of the colour, and no coloured part has no box."""
    spec = replace(INPUT, resize="letterbox" if letterbox else "stretch")
    generator = torch.Generator().manual_seed(seed)
    pictures = [any_picture(number, generator) for number in range(4)]
    rest: Iterator[Picture] = iter(pictures[1:])
    chosen = config(
        jitter=0.3, flip_probability=0.5, vertical_flip_probability=0.5, mosaic_probability=float(mosaic), visible_min=0
    )
    torch.manual_seed(seed)
    pixels, found = Augment(chosen, spec)(*pictures[0], another=lambda: next(rest))
    assert pixels.shape == (3, 64, 96)
    assert pixels.dtype == torch.uint8
    boxes_px = found.boxes_xyxy * torch.tensor([96, 64, 96, 64])
    for class_id, box in zip(found.class_ids.tolist(), boxes_px, strict=True):
        mask = seen(pixels, class_id)
        if (box[2:] - box[:2] >= 3).all():  # narrower ones may fall between the points that the resize looks at
            assert extent(mask) == pytest.approx(box.tolist(), abs=1.6)
    for number in range(4):
        mask = seen(pixels, number)
        x0, y0, x1, y1 = extent(mask) if mask.any() else (0, 0, 0, 0)
        if min(x1 - x0, y1 - y0) >= 3:
            assert number in found.class_ids.tolist()


def any_picture(number: int, generator: torch.Generator) -> Picture:
    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    height, width = draw(40, 120), draw(40, 120)
    x0, y0 = draw(0, width - 20), draw(0, height - 20)
    return coloured(number, height, width, (x0, y0, draw(x0 + 12, width), draw(y0 + 12, height)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 6), st.sampled_from([0.0, 1.0]))
def test_boxes_stay_inside_and_keep_their_labels(seed: int, count: int, mosaic: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator) * 60
    boxes = torch.cat((low, low + 5 + 15 * torch.rand(count, 2, generator=generator)), dim=1)
    before = objects(boxes.tolist(), list(range(count)), [k % 3 == 2 for k in range(count)])
    image = torch.randint(0, 256, (3, 80, 80), generator=generator, dtype=torch.uint8)
    augment = Augment(AugmentConfig(recipe="yolo", mosaic_probability=mosaic), INPUT)
    torch.manual_seed(seed)
    pixels, after = augment(image, before, another=lambda: (image, before))
    assert pixels.dtype == torch.uint8
    assert (after.boxes_xyxy >= 0).all()
    assert (after.boxes_xyxy <= 1).all()
    assert (box_area(after.boxes_xyxy) > 0).all()
    assert len(after.class_ids) <= count * (4 if mosaic else 1)
    for class_id, ignored in zip(after.class_ids.tolist(), after.ignored.tolist(), strict=True):
        assert before.ignored[class_id] == ignored


def test_the_mosaic_keeps_the_scale_and_fills_the_picture() -> None:
    """White pictures with objects of a tenth of the side: whole ones are as large as alone, and no pixel is grey."""
    image = torch.full((3, 100, 100), 255, dtype=torch.uint8)
    grid = [[x, y, x + 10, y + 10] for x in range(0, 100, 10) for y in range(0, 100, 10)]
    spec = InputSpec(height=200, width=200, pad_value=0)
    torch.manual_seed(0)
    pixels, found = Augment(config(jitter=0, mosaic_probability=1), spec)(
        image, objects(grid), another=lambda: (image, objects(grid))
    )
    assert pixels.min() == 255
    sides = found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2]
    assert sides.max() == pytest.approx(0.1, abs=0.006)
    assert 0.9 < float(box_area(found.boxes_xyxy).sum()) <= 1.001, "the objects tile all four parts but for slivers"


def test_what_a_cut_leaves_too_little_of_is_dropped() -> None:
    image = torch.zeros(3, 100, 100, dtype=torch.uint8)
    wide = objects([[0, 40, 100, 60]])
    counts = {}
    for visible_min in (0.0, 0.6):
        torch.manual_seed(1)
        chosen = config(jitter=0, mosaic_probability=1, visible_min=visible_min)
        _, found = Augment(chosen, INPUT)(image, wide, another=lambda: (image, wide))
        sides = found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2]
        counts[visible_min] = len(sides)
        assert (sides.prod(dim=1) >= visible_min * 0.2 - 1e-3).all()
    assert counts[0.6] < counts[0.0]


def test_there_is_no_mosaic_of_one_picture() -> None:
    image, found = coloured(0, 60, 60, (10, 10, 50, 50))
    pixels, after = Augment(config(jitter=0, mosaic_probability=1), INPUT)(image, found)
    assert torch.equal(pixels, to_network_pixels(image.permute(1, 2, 0).numpy(), INPUT))
    assert len(after.class_ids) == 1


def test_a_batch_may_have_another_size() -> None:
    image, found = coloured(0, 60, 60, (15, 15, 30, 30))
    for fields in ({}, {"recipe": "yolo"}, {"recipe": "yolo", "mosaic_probability": 1}):
        pixels, _ = Augment(AugmentConfig.model_validate(fields), INPUT)(
            image, found, (128, 160), lambda: (image, found)
        )
        assert pixels.shape == (3, 128, 160)
    pixels, after = Augment(None, INPUT)(image, found, (128, 160))
    assert torch.equal(pixels, to_network_pixels(image.permute(1, 2, 0).numpy(), replace(INPUT, height=128, width=160)))
    assert after.boxes_xyxy[0].tolist() == pytest.approx([0.25, 0.25, 0.5, 0.5])


def test_hsv_by_hand() -> None:
    red = torch.tensor([[[200]], [[0]], [[0]]], dtype=torch.uint8).expand(3, 4, 5)
    third = shift_hsv(red, 1 / 3, 1, 1)[:, 0, 0]
    assert third[1] == 200
    assert third[[0, 2]].max() <= 4  # 8 bits of hue
    assert shift_hsv(red, 0, 1, 1.5)[:, 0, 0].tolist() == [255, 0, 0]
    assert shift_hsv(red, 0, 1, 0.5)[:, 0, 0].tolist() == [100, 0, 0]
    pale = torch.tensor([[[200]], [[100]], [[100]]], dtype=torch.uint8)
    # Saturation 1/2 becomes 3/4: the smallest channel is 200 * (1 - 3/4).
    assert shift_hsv(pale, 0, 1.5, 1)[:, 0, 0].tolist() == pytest.approx([200, 50, 50], abs=2)
    assert shift_hsv(pale, 0, 1.5, 1).shape == pale.shape


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.integers(0, 255)] * 3), st.floats(-0.1, 0.1), st.floats(0.67, 1.5), st.floats(0.67, 1.5)
)  # fmt: skip
def test_hsv_is_the_formula(rgb: tuple[int, int, int], hue: float, saturation: float, exposure: float) -> None:
    """Against the standard library's conversion. Pillow cuts hue and saturation to 8 bits, and the turn is rounded: 1.5
    levels of hue are 1.5 * 6 of a channel, one of saturation 1.5, each times the exposure, and one to round.
    """
    h, s, v = colorsys.rgb_to_hsv(*(c / 255 for c in rgb))
    expected = [min(255.0, 255 * c * exposure) for c in colorsys.hsv_to_rgb((h + hue) % 1, min(1, s * saturation), v)]
    pixels = torch.tensor(rgb, dtype=torch.uint8)[:, None, None].expand(3, 2, 2)
    assert shift_hsv(pixels, hue, saturation, exposure)[:, 1, 1].tolist() == pytest.approx(expected, abs=17)


def test_hsv_is_the_formula_on_average() -> None:
    """The same over a whole picture of noise: 1.7 levels at these strengths."""
    pixels = torch.randint(0, 256, (3, 30, 30), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    errors = []
    shifted = shift_hsv(pixels, -0.07, 1.4, 0.8).permute(1, 2, 0).reshape(-1, 3).tolist()
    for rgb, found in zip(pixels.permute(1, 2, 0).reshape(-1, 3).tolist(), shifted, strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(c / 255 for c in rgb))
        expected = colorsys.hsv_to_rgb((h - 0.07) % 1, min(1, s * 1.4), v)
        errors += [abs(255 * 0.8 * e - f) for e, f in zip(expected, found, strict=True)]
    assert sum(errors) / len(errors) < 2


def test_strengths_are_drawn_both_ways() -> None:
    """Grey pixels show the exposure alone: a factor from 2/3 to 3/2, as often below 1 as above (Darknet)."""
    grey = torch.full((3, 64, 96), 100, dtype=torch.uint8)
    augment = Augment(AugmentConfig(recipe="yolo", jitter=0), INPUT)
    torch.manual_seed(0)
    values = torch.tensor([float(augment(grey, objects([]))[0][0, 0, 0]) for _ in range(200)])
    assert 66 <= values.min() < 72
    assert 143 < values.max() <= 150
    assert 0.35 < (values < 100).float().mean() < 0.65


def test_the_same_seed_gives_the_same_picture() -> None:
    image, found = coloured(0, 60, 60, (10, 10, 50, 50))
    augment = Augment(AugmentConfig(recipe="yolo", mosaic_probability=0.5), INPUT)
    results = []
    for _ in range(2):
        torch.manual_seed(7)
        results.append(torch.stack([augment(image, found, another=lambda: (image, found))[0] for _ in range(4)]))
    assert torch.equal(results[0], results[1])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["augment.jitter=0.3"], "jitter, which belongs to recipe yolo"),
        (["augment.recipe=yolo", "augment.hue=0.2"], "hue, which belongs to recipe ssd"),
        (["augment.recipe=darknet"], "augment.recipe"),
        (["augment.recipe=yolo", "augment.jitter=0.5"], "augment.jitter"),
        (["augment.recipe=yolo", "augment.hsv_saturation=0.5"], "augment.hsv_saturation"),
    ],
)
def test_fields_of_the_other_recipe_are_refused(changes: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config("ssdlite_mobilenet_v2", changes)


def test_another_recipe_starts_without_the_old_ones_fields() -> None:
    assert "zoom_out_max" in load_config("demo").augment.model_fields_set
    changed = load_config("demo", ["augment.recipe=yolo", "augment.mosaic_probability=0.5"]).augment
    assert (changed.recipe, changed.mosaic_probability) == ("yolo", 0.5)
