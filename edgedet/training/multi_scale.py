"""Multi-scale training (YOLOv2 paper, section 2): every few batches the network input gets another size.

The size is a function of the seed and the batch's number, so all loader processes, all processes of a distributed run
and a resumed run agree on it without a word.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.utils.data import Sampler

from edgedet.config import Config, resized_spec
from edgedet.config.sizes import training_inputs
from edgedet.decode import RawHeads
from edgedet.spec import DetectorSpec, InputSpec
from edgedet.training.loss_parts import LossParts
from edgedet.training.loss_prior import PriorLoss
from edgedet.training.losses import make_loss
from edgedet.training.sampler import BatchOrder, SampleKey
from edgedet.training.targets import Targets

_GOLDEN = 0x9E3779B97F4A7C15  # odd constant that spreads seeds (splitmix64)


def input_of_batch(inputs: tuple[InputSpec, ...], every: int, seed: int, batch: int) -> InputSpec:
    """What a batch shows the network.

    Args:
        every: batches of one size.
        batch: its number since the beginning of the run.
    """
    generator = torch.Generator().manual_seed(((seed * _GOLDEN) ^ (batch // every)) % 2**63)
    return inputs[int(torch.randint(len(inputs), (), generator=generator))]


class SizedBatches(Sampler[list[SampleKey]]):
    """The batches of an order, each with the size of its network input in its keys."""

    def __init__(self, order: BatchOrder, config: Config) -> None:
        self.order = order
        self.inputs = training_inputs(config.augment, config.input)
        self.every = config.augment.multi_scale_every
        self.seed = config.training.seed

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        first = self.order.epoch * len(self.order)
        for batch, keys in enumerate(self.order, first):
            image = input_of_batch(self.inputs, self.every, self.seed, batch)
            yield [key._replace(size_hw=(image.height, image.width)) for key in keys]


class MultiScaleLoss(nn.Module):
    """The loss of a detector at every size that its run trains at; the number of priors tells the size.

    Args:
        spec: of the detector at the configuration's own size.
    """

    def __init__(self, spec: DetectorSpec, config: Config) -> None:
        super().__init__()
        specs = [resized_spec(config, spec, image) for image in training_inputs(config.augment, config.input)]
        self.by_priors = nn.ModuleDict({str(one.num_priors): make_loss(one, config.loss) for one in specs})

    def of(self, raw: RawHeads) -> PriorLoss:
        """The loss of the size at which the network gave this."""
        loss = self.by_priors[str(raw.box_codes.shape[1])]
        assert isinstance(loss, PriorLoss)
        return loss

    def forward(self, raw: RawHeads, targets: Targets) -> LossParts:
        parts: LossParts = self.of(raw)(raw, targets)
        return parts
