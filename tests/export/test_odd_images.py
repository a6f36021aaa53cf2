"""Pictures unlike those of a training set, from image files: every format answers as model.pt does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgedet.data import load_image
from edgedet.export.parity import compare
from edgedet.export.pictures import generated_pictures
from edgedet.export.pipeline import export_model
from edgedet.formats import export_formats, load
from edgedet.torch_runner import open_runner
from tests.export.conftest import Exported

MODEL = "yolov3_tiny"
FORMATS = [(row.name, row.precisions[0]) for row in export_formats()]
_EXIF_ORIENTATION, _ROTATED_90_CLOCKWISE = 0x0112, 6


def _write(folder: Path, kind: str) -> Path:
    """A picture of that kind, in the file format where it occurs."""
    rgb = Image.fromarray(generated_pictures()[0])
    sizes = {"tiny": (21, 14), "one pixel high": (40, 1), "wide": (1300, 200), "tall": (120, 800)}
    if kind in sizes:
        rgb = rgb.resize(sizes[kind])
    if kind == "grey":
        rgb = rgb.convert("L")
    if kind == "16 bit":
        grey = np.asarray(rgb.convert("L")).astype(np.uint16) * 257
        Image.fromarray(grey).save(folder / "image.png")
        return folder / "image.png"
    if kind == "alpha":
        alpha = Image.fromarray(np.tile(np.arange(rgb.width) % 256, (rgb.height, 1)).astype(np.uint8))
        rgb.putalpha(alpha)
        rgb.save(folder / "image.png")
        return folder / "image.png"
    if kind == "palette":
        rgb.quantize(32).save(folder / "image.png")
        return folder / "image.png"
    exif = Image.Exif()
    if kind == "cmyk":
        rgb = rgb.convert("CMYK")
    if kind == "exif rotated":
        exif[_EXIF_ORIENTATION] = _ROTATED_90_CLOCKWISE
    rgb.save(folder / "image.jpg", quality=95, exif=exif)
    return folder / "image.jpg"


KINDS = ("tiny", "one pixel high", "wide", "tall", "grey", "16 bit", "alpha", "palette", "cmyk", "exif rotated")


@pytest.mark.parametrize(("format", "precision"), FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_same_answer_as_the_model(
    exported: Callable[[str, str, str], Exported], tmp_path: Path, format: str, precision: str, kind: str
) -> None:
    made = exported(MODEL, format, precision)
    image = load_image(_write(tmp_path, kind))

    report = compare(made.reference(), made.runner(), [image])

    assert report.passed, report.reasons()
    assert report.depth("detections").counts["matched"] >= 3
    found = made.runner()(image)
    assert len(found) > 0
    assert (found.boxes_xyxy_px >= 0).all()
    assert (found.boxes_xyxy_px[:, 2:] <= (image.shape[1], image.shape[0])).all()


def test_rotation_and_channels_reach_the_network(tmp_path: Path) -> None:
    """The kinds are what they claim, so that the test above does not compare ten equal pictures."""
    images = {kind: load_image(_write(tmp_path, kind)) for kind in KINDS}
    assert images["exif rotated"].shape == (320, 240, 3)
    assert images["wide"].shape[1] > 6 * images["wide"].shape[0]
    assert max(images["tiny"].shape[:2]) < 32
    assert (images["grey"][..., 0] == images["grey"][..., 2]).all()
    assert all(image.ndim == 3 and image.dtype == np.uint8 for image in images.values())


@pytest.mark.parametrize(("format", "precision"), FORMATS)
def test_nothing_to_find_is_found_nowhere(
    saved_model: Callable[[str], Path], tmp_path: Path, format: str, precision: str
) -> None:
    """Flat pictures and a threshold that no score reaches: all rows are padding."""
    changes = {"score_min": 0.9999}
    (artifact,) = export_model(saved_model(MODEL), [format], tmp_path, precision=precision, nms_changes=changes)
    runner, reference = load(artifact.path), open_runner(saved_model(MODEL))
    reference = reference.with_nms(replace(reference.spec.nms, **changes))  # type: ignore[arg-type]
    for value in (0, 127, 255):
        flat = np.full((90, 140, 3), value, np.uint8)
        assert len(reference(flat)) == 0
        assert len(runner(flat)) == 0
    assert artifact.parity.status == "not run"  # nothing to compare is never "passed"
