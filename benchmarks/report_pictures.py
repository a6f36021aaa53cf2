"""Pictures of a report: what each file found in the same photographs, and the gravest mistakes."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from edgedet.benchmarks.report_entries import ReportEntry
from edgedet.data import Dataset, Sample, load_image
from edgedet.draw import draw_detections
from edgedet.evaluation import EvalResult, Example, Mistake
from edgedet.evaluation.confusion import DEPLOYMENT_SCORE_MIN
from edgedet.preprocess import UInt8Image

WIDTH_PX = 240  # of a picture: about what the page shows it at, so that the labels can be read
MAX_MISTAKES = 4  # drawn on one picture; more would hide it
_QUALITY = 80
_KIND_IDS = {"confusion": 4, "false_alarm": 0, "miss": 2}  # colours: edgedet.draw.class_colour of these


@dataclass(frozen=True)
class Picture:
    """A picture as a data: address, its shape for the page's layout, and a caption."""

    address: str
    width_px: int
    height_px: int
    caption: str


@dataclass(frozen=True)
class PictureRow:
    """One photograph: as it is labelled, then as each file sees it."""

    name: str
    pictures: tuple[Picture, ...]


def side_by_side(entries: Sequence[ReportEntry], count: int = 6) -> tuple[tuple[str, ...], tuple[PictureRow, ...]]:
    """The same photographs through every file that was evaluated.

    Returns:
        Heads of the columns, and a row a photograph; both empty where nothing was evaluated.
    """
    results = {entry.name: entry.evaluation for entry in entries if isinstance(entry.evaluation, EvalResult)}
    if not results:
        return (), ()
    dataset = next(iter(results.values())).dataset
    rows = []
    for index in choose(dataset, count):
        sample = dataset.samples[index]
        image = enlarged(load_image(sample.image_path))
        scale = image.shape[1] / sample.width_px
        pictures = [_labelled(image, sample, dataset, scale)]
        for result in results.values():
            drawn, shown = draw_found(image, result, index, scale)
            pictures.append(to_picture(drawn, _count(shown, "detection")))
        rows.append(PictureRow(sample.image_path.name, tuple(pictures)))
    return ("labelled", *results), tuple(rows)


def mistakes(result: EvalResult, count: int = 6) -> list[Picture]:
    """The photographs with the gravest mistakes, with only the wrong boxes drawn."""
    return [_mistaken(result, example) for example in result.examples[:count]]


def choose(dataset: Dataset, count: int) -> list[int]:
    """Indices spread evenly over the images with objects, the last one an image without any if there is one."""
    filled = [i for i, sample in enumerate(dataset.samples) if len(sample.objects)]
    empty = [i for i, sample in enumerate(dataset.samples) if not len(sample.objects)][:1]
    wanted = min(max(count - len(empty), 1), len(filled))
    spread = np.linspace(0, len(filled) - 1, wanted).round().astype(int) if filled else []
    return [filled[i] for i in spread] + empty


def draw_found(image: UInt8Image, result: EvalResult, index: int, scale: float = 1.0) -> tuple[UInt8Image, int]:
    """A photograph with the detections an app would show, and their number.

    Args:
        image: photograph `index` of the data set, `scale` times as large as its file.
    """
    found, names = result.detections[index], result.dataset.class_names
    own_names = result.source.class_names or names
    shown = found.scores >= max(DEPLOYMENT_SCORE_MIN, result.source.score_min or 0.0)
    labels = [own_names[k] for k in found.class_ids[shown]]
    ids = [names.index(label) for label in labels]  # a detector may have the classes in another order; colours agree
    return draw_detections(image, found.boxes_xyxy_px[shown] * scale, labels, found.scores[shown], ids), len(labels)


def enlarged(image: UInt8Image) -> UInt8Image:
    """The picture at the width the page shows it, so that lines and letters drawn on it are sharp."""
    height = max(1, round(image.shape[0] * WIDTH_PX / image.shape[1]))
    return np.asarray(Image.fromarray(image).resize((WIDTH_PX, height), Image.Resampling.BICUBIC))


def to_picture(image: UInt8Image, caption: str) -> Picture:
    """A JPEG inside the page."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    address = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Picture(address, image.shape[1], image.shape[0], caption)


def _labelled(image: UInt8Image, sample: Sample, dataset: Dataset, scale: float) -> Picture:
    objects = sample.objects
    labels = [dataset.class_names[k] for k in objects.class_ids]
    drawn = draw_detections(image, objects.boxes_xyxy_px * scale, labels, class_ids=objects.class_ids)
    return to_picture(drawn, _count(len(objects), "object"))


def _mistaken(result: EvalResult, example: Example) -> Picture:
    sample = result.dataset.samples[example.sample_index]
    image = enlarged(load_image(sample.image_path))
    shown = example.mistakes[:MAX_MISTAKES]
    boxes = np.array([m.box_xyxy_px for m in shown]) * (image.shape[1] / sample.width_px)
    labels = [_mistake_label(m) for m in shown]
    drawn = draw_detections(image, boxes, labels, class_ids=[_KIND_IDS[m.kind] for m in shown])
    left_out = len(example.mistakes) - len(shown)
    return to_picture(drawn, "; ".join(labels) + (f"; and {left_out} more" if left_out else ""))


def _mistake_label(mistake: Mistake) -> str:
    if mistake.kind == "miss":
        return f"missed {mistake.true_name}"
    if mistake.kind == "false_alarm":
        return f"false {mistake.predicted_name} {mistake.score:.2f}"
    return f"{mistake.true_name} as {mistake.predicted_name} {mistake.score:.2f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
