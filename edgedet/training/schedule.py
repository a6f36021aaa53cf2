"""Learning rate, optimiser and how long a run lasts."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from edgedet.config import TrainingConfig
from edgedet.training.parts import PARTS, Part, parameters_of


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
    """SGD with Nesterov momentum, or AdamW, over the parameters that are not frozen."""
    groups = parameter_groups(model, config, PARTS)
    if config.optimiser == "sgd":
        return torch.optim.SGD(
            groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0, foreach=True
        )
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.momentum, 0.999), foreach=True)


def parameter_groups(model: nn.Module, config: TrainingConfig, parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Groups of an optimiser with their "weight_decay" and "lr_factor".

    There is no weight decay on norms and biases, which have one dimension.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for decayed in (True, False):
        for part in parts:
            found = [p for p in parameters_of(model, part) if p.requires_grad and (p.dim() >= 2) == decayed]
            if found:
                groups.setdefault((getattr(config.lr_factor, part), decayed), []).extend(found)
    return [
        {"params": params, "weight_decay": config.weight_decay if decayed else 0.0, "lr_factor": factor}
        for (factor, decayed), params in groups.items()
    ]


def set_learning_rate(optimiser: torch.optim.Optimizer, value: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = value * group["lr_factor"]
