"""The order of images: a function of seed and epoch, so that a resumed run sees what an uninterrupted one would."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch.utils.data import Sampler


class SampleKey(NamedTuple):
    """One image of one epoch; image is its index in the split, size_hw the network input where it is not the usual."""

    epoch: int
    image: int
    size_hw: tuple[int, int] | None = None


class BatchOrder(Sampler[list[SampleKey]]):
    """Batches of SampleKeys for one process of a run.

    Every process draws the same permutation and takes its own share of each global batch. The images that do not fill
    the batches of a last step wait for another epoch; a split smaller than one step is repeated to fill it.

    Args:
        num_images: in the split.
        batch_size: per process.
        seed: of the permutations.
        rank, world_size: this process and the number of processes.
        accumulate: batches of a step; together they hold the images of one batch so many times as large.
    """

    def __init__(
        self, num_images: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1, accumulate: int = 1
    ) -> None:
        self.num_images = num_images
        shares = world_size * accumulate
        self.batch_size = batch_size if num_images >= batch_size * shares else -(-num_images // shares)
        self.accumulate = accumulate
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    @property
    def steps(self) -> int:
        """Steps of an epoch, of `accumulate` batches each."""
        return max(1, self.num_images // (self.batch_size * self.world_size * self.accumulate))

    def __len__(self) -> int:
        """Batches of an epoch."""
        return self.steps * self.accumulate

    def __iter__(self) -> Iterator[list[SampleKey]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.num_images, generator=generator).tolist()
        share, total = self.batch_size, self.batch_size * self.world_size
        order += order[: max(0, total * self.accumulate - len(order))]
        for batch in range(len(self)):
            start = batch * total + self.rank * share
            yield [SampleKey(self.epoch, index) for index in order[start : start + share]]
