"""One training step: forward, loss, backward, update. Apart from the loop, so that a benchmark can time its parts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from edgedet.config import Config
from edgedet.decode import RawHeads
from edgedet.errors import EdgedetError
from edgedet.preprocess import normalise
from edgedet.spec import DetectorSpec
from edgedet.training.ema import WeightAverage
from edgedet.training.fast_cpu import accelerate
from edgedet.training.finite import FiniteCheck
from edgedet.training.loss_parts import LossParts
from edgedet.training.multi_scale import MultiScaleLoss
from edgedet.training.parts import layers_of, norms_of, parameters_of
from edgedet.training.schedule import make_optimiser, parameter_groups, set_learning_rate
from edgedet.training.targets import Targets

Batch = tuple[Tensor, Targets]  # (B, 3, H, W) uint8 pixels, and the objects


class TrainStep:
    """Network, loss, optimiser and weight average on one device.

    Args:
        fabric: device, precision and processes.
        model: randomly initialised or pretrained; it is changed in place.
        spec: of the model.
        config: of the run.
    """

    def __init__(self, fabric: Fabric, model: nn.Module, spec: DetectorSpec, config: Config) -> None:
        self.fabric = fabric
        self.spec = spec
        self.config = config.training
        model = model.to(fabric.device)
        if fabric.device.type != "cpu":  # where the average has the network's layout, one kernel updates all of it
            model = model.to(memory_format=torch.channels_last)
        self.average = WeightAverage(model, self.config.ema_decay)
        self.network = self._prepared(model.to(memory_format=torch.channels_last))
        self.frozen = self.config.freeze == "backbone"
        for parameter in parameters_of(self.network, "backbone") if self.frozen else ():
            parameter.requires_grad_(False)
        self._wrap(make_optimiser(self.network, self.config))
        self.loss = MultiScaleLoss(spec, config).to(fabric.device)
        self.finite = FiniteCheck(fabric.device)
        self.positives = 0  # of the batches since the last update

    def __call__(self, batches: Sequence[Batch], lr: float) -> dict[str, Tensor]:
        """Learn from one batch or several. Returns the detached parts of the loss, averaged over them."""
        sums: dict[str, Tensor] = {}
        for left, (pixels, targets) in zip(range(len(batches) - 1, -1, -1), batches, strict=True):
            with self.fabric.no_backward_sync(self.wrapped, enabled=left > 0):  # gradients meet in the last backward
                parts = self.losses(self.forward(pixels), targets.to(self.fabric.device))
                self.backward(parts)
            for name, value in parts.items():
                sums[name] = sums[name] + value.detach() if name in sums else value.detach()
        self.update(lr)
        return {name: value / len(batches) for name, value in sums.items()}

    def forward(self, pixels: Tensor) -> RawHeads:
        image = normalise(pixels.to(self.fabric.device, non_blocking=True), self.spec.input)
        return self.heads(image.contiguous(memory_format=torch.channels_last))

    def heads(self, image: Tensor) -> RawHeads:
        """What the network says of (B, 3, H, W) normalised images.

        Raises:
            EdgedetError: a single image is too small a batch for the network's batch norms.
        """
        try:
            raw: RawHeads = self.wrapped(image)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise EdgedetError(
                "one image is too small a batch: a batch norm behind a map of 1x1 has a single number to look at",
                "Set training.batch_size to 2 or more; training.accumulate keeps the memory of small batches.",
            ) from error
        return raw

    def losses(self, raw: RawHeads, targets: Targets) -> LossParts:
        parts: LossParts = self.loss(raw, targets)
        return parts

    def backward(self, parts: LossParts) -> None:
        self.finite.add("loss", parts.total)
        self.positives += parts.positives
        self.fabric.backward(parts.total_sum if self._joins_batches else parts.total)

    def update(self, lr: float) -> None:
        if self._joins_batches:
            self._divide_gradients()
        if self.config.clip_grad_norm:
            norm = self.fabric.clip_gradients(
                self.wrapped, self.optimiser, max_norm=self.config.clip_grad_norm, error_if_nonfinite=False
            )
            if norm is not None and self.config.precision != "fp16":  # there the scaler skips steps that overflow
                self.finite.add("gradient", norm)
        set_learning_rate(self.optimiser, lr)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.average.update(self.network)

    def thaw(self) -> None:
        """Let a frozen backbone learn from here on."""
        self.frozen = False
        optimiser = self.optimiser.optimizer
        del self.wrapped  # the next DDP must not meet the hooks of this one
        for parameter in parameters_of(self.network, "backbone"):
            parameter.requires_grad_(True)
        for group in parameter_groups(self.network, self.config, ("backbone",)):
            optimiser.add_param_group(group)
        self._wrap(optimiser)

    @property
    def _joins_batches(self) -> bool:
        """Whether gradients come from more than one batch: then sums are added up and divided by all positives."""
        return self.config.accumulate > 1 or self.fabric.world_size > 1

    def _divide_gradients(self) -> None:
        """From the mean over processes of gradients of sums to the gradient per positive prior of all batches."""
        processes = self.fabric.world_size
        positives = torch.full((), float(self.positives), device=self.fabric.device)
        if processes > 1:
            positives = self.fabric.all_reduce(positives, reduce_op="sum")  # type: ignore[assignment]
        factor = processes / positives.clamp(min=1)
        torch._foreach_mul_([p.grad for p in self.network.parameters() if p.grad is not None], factor)
        self.positives = 0

    def _prepared(self, network: nn.Module) -> nn.Module:
        if self.config.fast_kernels and self.fabric.device.type == "cpu":
            accelerate(network)
        if self.config.batch_norm == "sync" and self.fabric.world_size > 1:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return network

    def _wrap(self, optimiser: torch.optim.Optimizer) -> None:
        """Tell Fabric, and with several processes DDP, which parameters learn; then set the layers' modes."""
        self.wrapped, self.optimiser = self.fabric.setup(self.network, optimiser)
        self.wrapped.train()
        if self.frozen:
            still = list(layers_of(self.network, "backbone"))
        else:
            still = norms_of(self.network, "backbone") if self.config.batch_norm == "frozen" else []
        for layer in still:
            layer.eval()
