"""Training images: decoded once, kept in memory, augmented anew in every epoch."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from edgedet.data import load_image
from edgedet.data.types import Dataset, GroundTruth
from edgedet.progress import track
from edgedet.training.augment import Augment
from edgedet.training.sampler import SampleKey
from edgedet.training.targets import Objects, Targets, pad_objects

_GOLDEN = 0x9E3779B97F4A7C15  # odd constant that spreads seeds (splitmix64)


class TrainingImages(TorchDataset[tuple[Tensor, Objects]]):
    """Maps a SampleKey to network pixels (3, H, W) uint8 and Objects in 0..1.

    The random numbers of an image depend on seed, epoch and index only, so the same images come out whatever the
    number of workers and after every resume.

    Args:
        dataset: a split.
        augment: what to do with each image.
        seed: of the augmentation.
        cache_mb: decoded images are kept up to this much; the rest is decoded each time. The cache is filled here,
            before loader processes are forked, so that they share it.
    """

    def __init__(self, dataset: Dataset, augment: Augment, seed: int, cache_mb: int) -> None:
        self.samples = dataset.samples
        self.augment = augment
        self.seed = seed
        self.objects = [_objects(sample.objects) for sample in dataset.samples]
        self.cache: dict[int, Tensor] = {}
        room = cache_mb * 2**20
        for index, sample in enumerate(track(self.samples, "Reading images")):
            room -= sample.width_px * sample.height_px * 3
            if room < 0:
                break
            self.cache[index] = self._decode(index)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: SampleKey) -> tuple[Tensor, Objects]:
        epoch, index, size_hw = key
        with torch.random.fork_rng(devices=[]), one_thread():
            torch.manual_seed(((self.seed * _GOLDEN) ^ (epoch * 0x100000001B3) ^ index) % 2**63)
            return self.augment(*self._picture(index), size_hw, self._another)

    def _another(self) -> tuple[Tensor, Objects]:
        return self._picture(int(torch.randint(len(self.samples), ())))

    def _picture(self, index: int) -> tuple[Tensor, Objects]:
        return self.cache[index] if index in self.cache else self._decode(index), self.objects[index]

    def _decode(self, index: int) -> Tensor:
        return torch.from_numpy(load_image(self.samples[index].image_path)).permute(2, 0, 1)


def collate(images: Sequence[tuple[Tensor, Objects]]) -> tuple[Tensor, Targets]:
    """(B, 3, H, W) uint8 pixels and the padded objects."""
    return torch.stack([pixels for pixels, _ in images]), pad_objects([objects for _, objects in images])


def end_quietly(_worker: int) -> None:
    """What a loader process does first: see that it ends without a word when the run is stopped.

    A run that is stopped while it takes a batch leaves its loader talking to nobody. That is no fault to print; faults
    in the loading itself travel to the run by another way.
    """
    printed = sys.excepthook

    def unless_alone(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, (ConnectionError, EOFError)):
            printed(kind, value, trace)

    sys.excepthook = unless_alone


@contextmanager
def one_thread() -> Iterator[None]:
    """As loader processes compute: where several threads share a picture, some pixels are rounded otherwise."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _objects(truth: GroundTruth) -> Objects:

    return Objects(
        torch.from_numpy(truth.boxes_xyxy_px.reshape(-1, 4)),
        torch.from_numpy(truth.class_ids),
        torch.from_numpy(truth.difficult | truth.crowd),
    )
