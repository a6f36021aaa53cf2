"""A model as its int8 file would compute it, in torch: accuracy with any of its layers in float, without an export."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from edgedet.data import Dataset, load_image
from edgedet.decode import Decoder, RawHeads
from edgedet.evaluation import EvalResult, Source, evaluate_detections
from edgedet.export.calibrate import CalibrationSet
from edgedet.model_file import load_model
from edgedet.nms import non_maximum_suppression
from edgedet.preprocess import normalise, to_network_pixels
from edgedet.progress import track
from edgedet.quantization import LayerError, Simulation, layer_errors, simulate
from edgedet.runner import Detections, UnitDetections, to_detections

BATCH = 8
SCREEN_IMAGES = 16
_OBSERVERS = {"minmax": "minmax", "entropy": "percentile", "percentile": "percentile"}  # the nearest one there is


@dataclass(frozen=True)
class LayerCost:
    """What a layer weighs: numbers in its weights, and multiply-adds for one image."""

    weights: int
    macs: int


class Simulated:
    """One model, its ranges observed on calibration images, and the images that it is judged on.

    The stem stays in float, as it does in int8 files.

    Args:
        model: a model.pt.
        calibration: as the export would have it.
        dataset: held in memory at the network's size.
    """

    def __init__(self, model: Path, calibration: CalibrationSet, dataset: Dataset) -> None:
        network, self.spec = load_model(model)
        self.model, self.dataset = model, dataset
        pixels = [torch.from_numpy(image).permute(2, 0, 1) for image in calibration.pixels()]
        self._seen = [normalise(batch, self.spec.input) for batch in _batches(pixels)]
        self.simulation: Simulation = simulate(network, self.spec, _OBSERVERS[calibration.record.method])
        self.simulation.observe(track(self._seen, "observe ranges"))
        self._decoder = Decoder(self.spec)
        self._sizes_wh: list[tuple[int, int]] = []
        loaded = []
        for sample in track(dataset.samples, "read images"):
            image = load_image(sample.image_path)
            self._sizes_wh.append((image.shape[1], image.shape[0]))
            loaded.append(to_network_pixels(image, self.spec.input))
        self._batches = _batches(loaded)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Those that int8 files may quantize, in order of execution."""
        return self.simulation.integer_names

    def screen(self, advance: Callable[[], None] = lambda: None) -> tuple[LayerError, ...]:
        """The error that each layer makes when it alone is quantized, on a few calibration images."""
        return layer_errors(self.simulation, self.layer_names, self._seen[: max(1, SCREEN_IMAGES // BATCH)], advance)

    @torch.no_grad()
    def costs(self) -> dict[str, LayerCost]:
        """By layer; one that runs at several places counts each time."""
        found: dict[str, LayerCost] = {}
        modules = dict(self.simulation.network.named_modules())

        def count(name: str, conv: nn.Conv2d, output: Tensor) -> None:
            weights = conv.weight.numel()
            before = found[name].macs if name in found else 0
            found[name] = LayerCost(weights, before + weights * output.shape[2] * output.shape[3])

        hooks = []
        for name in self.layer_names:
            conv = modules[name]
            assert isinstance(conv, nn.Conv2d)
            hooks.append(conv.register_forward_hook(lambda conv, _, output, name=name: count(name, conv, output)))
        image = self.spec.input
        self.simulation.network(torch.zeros(1, 3, image.height, image.width))
        for hook in hooks:
            hook.remove()
        return found

    @torch.inference_mode()
    def ap(self, quantized: Collection[str] | None) -> float:
        """COCO AP with these layers in int8; None for all."""
        self.simulation.choose(quantized)
        found: list[Detections] = []
        for batch in self._batches:
            boxes, scores = self._decoder(self._heads(batch))
            for one_boxes, one_scores in zip(boxes, scores, strict=True):
                kept = non_maximum_suppression(one_boxes, one_scores, self.spec.nms)
                unit = UnitDetections(
                    one_boxes[kept.prior_indices].numpy(), kept.scores.numpy(), kept.class_ids.numpy()
                )
                found.append(to_detections(unit, *self._sizes_wh[len(found)], self.spec))
        return self._evaluated(found).metrics["coco_ap"]

    def _heads(self, pixels: Tensor) -> RawHeads:
        raw: RawHeads = self.simulation.network(normalise(pixels, self.spec.input))
        return raw

    def _evaluated(self, found: Sequence[Detections]) -> EvalResult:
        tree = bool(self.spec.class_parents)
        source = Source(str(self.model), "torch", "int8", self.spec.nms.score_min, self.spec.class_names, tree)
        return evaluate_detections(self.dataset, found, source)


def _batches(images: Sequence[Tensor]) -> list[Tensor]:
    """(3, H, W) images to (B, 3, H, W) of up to BATCH."""
    return [torch.stack(list(images[first : first + BATCH])) for first in range(0, len(images), BATCH)]
