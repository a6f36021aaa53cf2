"""Learning rate, optimiser and how long a run lasts."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import torch
from torch import nn

from edgedet.config import TrainingConfig


def learning_rate(config: TrainingConfig, step: int, progress: float) -> float:
    """Linear warm-up over `warmup_steps`, times a cosine from 1 to `lr_end` over the run (SGDR paper, section 3).

    Args:
        step: steps done, from 0.
        progress: share of the run that is done, 0..1.
    """
    warm = min(1.0, (step + 1) / (config.warmup_steps + 1))
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.lr * warm * (config.lr_end + (1 - config.lr_end) * cosine)


@dataclass
class Progress:
    """How far a run is: by steps under `epochs`, by the clock under `minutes`.

    Attributes:
        total_steps: of the whole run; 0 under `minutes`.
        budget_s: wall-clock budget; 0 under `epochs`.
        step: steps done.
        earlier_s: time used before the last resume.
    """

    total_steps: int
    budget_s: float
    step: int = 0
    earlier_s: float = 0.0
    _start: float = field(default_factory=time.monotonic)

    @property
    def elapsed_s(self) -> float:
        return self.earlier_s + time.monotonic() - self._start

    @property
    def share(self) -> float:
        """0..1; at 1 the run is over."""
        done = self.elapsed_s / self.budget_s if self.budget_s else self.step / self.total_steps
        return min(1.0, done)


def make_optimiser(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW; no weight decay on norms and biases, which have one dimension."""
    weights = [p for p in model.parameters() if p.requires_grad and p.dim() >= 2]
    others = [p for p in model.parameters() if p.requires_grad and p.dim() < 2]
    groups = [{"params": weights, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if config.optimiser == "sgd":
        return torch.optim.SGD(
            groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0, foreach=True
        )
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.momentum, 0.999), foreach=True)


def set_learning_rate(optimiser: torch.optim.Optimizer, value: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = value
