"""How long the metrics of a large evaluation take, and what memory: synthetic objects and detections, no images.

    python -m edgedet.benchmarks.evaluation_speed [--images 5000] [--detections 100] [--classes 80] [--json FILE]

Times `edgedet.evaluation.evaluate_detections`, which every evaluation ends with: COCO, VOC 2007 and VOC 2010 metrics,
the confusion matrix and the worst images. Peak memory is the whole process's, libraries included.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from edgedet.benchmarks.environment import LoadWatch, peak_memory_bytes, read_environment
from edgedet.data.types import Dataset, GroundTruth, Sample
from edgedet.errors import EdgedetError
from edgedet.evaluation import evaluate_detections
from edgedet.files import write_json
from edgedet.runner import Detections

AIM_S, AIM_BYTES = 15.0, 2e9
_WIDTH_PX, _HEIGHT_PX = 640, 480
_MEAN_OBJECTS = 7.3  # an image of COCO's val2017


def synthetic(images: int, detections: int, classes: int, seed: int = 0) -> tuple[Dataset, list[Detections]]:
    """Objects, and detections of which half lie near an object of mostly the same class.

    Args:
        images: number of samples; their picture files do not exist.
        detections: of each image.
        classes: number of classes.
        seed: of all random numbers.
    """
    random = np.random.default_rng(seed)
    names = tuple(f"class {k}" for k in range(classes))
    samples, found = [], []
    for index in range(images):
        count = int(random.poisson(_MEAN_OBJECTS))
        boxes, class_ids = _boxes(random, count), random.integers(classes, size=count)
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        flags = random.random((2, count)) < 0.01
        truth = GroundTruth(boxes, class_ids, flags[0], flags[1], area)
        samples.append(Sample(Path(f"{index}.jpg"), _WIDTH_PX, _HEIGHT_PX, truth))
        found.append(_detections(random, truth, detections, classes))
    return Dataset(Path("synthetic"), "synthetic", "test", names, tuple(samples)), found


def _boxes(random: np.random.Generator, count: int) -> npt.NDArray[np.float32]:
    size = np.exp(random.uniform(np.log(8), np.log(300), (count, 2)))
    centre = random.uniform(0, 1, (count, 2)) * (_WIDTH_PX, _HEIGHT_PX)
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    return boxes.clip(0, [_WIDTH_PX, _HEIGHT_PX] * 2).astype(np.float32)


def _detections(random: np.random.Generator, truth: GroundTruth, count: int, classes: int) -> Detections:
    boxes, class_ids = _boxes(random, count), random.integers(classes, size=count)
    if len(truth):
        near = np.arange(count // 2)
        chosen = random.integers(len(truth), size=len(near))
        boxes[near] = truth.boxes_xyxy_px[chosen] + random.normal(0, 4, (len(near), 4))
        same = random.random(len(near)) < 0.9
        class_ids[near[same]] = truth.class_ids[chosen[same]]
    scores = np.sort(random.random(count).astype(np.float32))[::-1].copy()
    return Detections(boxes, scores, class_ids)


def measure(images: int, detections: int, classes: int) -> dict[str, Any]:
    """Seconds, CPU seconds and peak memory of one evaluation."""
    dataset, found = synthetic(images, detections, classes)
    before = peak_memory_bytes()
    begun, cpu_begun = time.perf_counter(), time.process_time()
    result = evaluate_detections(dataset, found, progress=True)
    return {
        "images": images,
        "detections_per_image": detections,
        "classes": classes,
        "seconds": time.perf_counter() - begun,
        "cpu_seconds": time.process_time() - cpu_begun,
        "peak_memory_bytes": peak_memory_bytes(),
        "peak_memory_before_bytes": before,
        "coco_ap": result.metrics["coco_ap"],
    }


def main(
    images: Annotated[int, typer.Option(min=1, help="Number of images.")] = 5000,
    detections: Annotated[int, typer.Option(min=1, help="Detections of each image.")] = 100,
    classes: Annotated[int, typer.Option(min=1, help="Number of classes.")] = 80,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the numbers as JSON.")] = None,
) -> None:
    """Time the metrics of synthetic detections."""
    watch = LoadWatch()
    result = measure(images, detections, classes)
    typer.echo(
        f"{images} images x {detections} detections, {classes} classes: {result['seconds']:.1f} s "
        f"({result['cpu_seconds']:.1f} s of CPU, aim {AIM_S:.0f}), peak memory "
        f"{result['peak_memory_bytes'] / 1e9:.2f} GB (aim {AIM_BYTES / 1e9:.0f}; "
        f"{result['peak_memory_before_bytes'] / 1e9:.2f} before); COCO AP {result['coco_ap']:.4f}"
    )
    if json is not None:
        from dataclasses import asdict

        write_json(json, {"schema": 1, **result, "environment": asdict(read_environment(None, watch))})


if __name__ == "__main__":
    try:
        typer.run(main)
    except EdgedetError as error:
        raise SystemExit(f"error: {error}") from error
