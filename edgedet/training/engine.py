"""Devices, precision and processes: what Lightning Fabric is told."""

from __future__ import annotations

import logging
import os

import torch
from lightning_fabric import Fabric

from edgedet.config import TrainingConfig
from edgedet.errors import ConfigError

DEVICES = ("auto", "cpu", "cuda", "mps")


def make_fabric(config: TrainingConfig, device: str) -> Fabric:
    """One process, or under torchrun one of several that average their gradients.

    Raises:
        ConfigError: the device is unknown or not there.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces each setting; we print our own lines
    kind = _device(device)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    precision = "bf16-mixed" if _use_bf16(config.precision, kind) else "32-true"
    if processes == 1:
        return Fabric(accelerator=kind, devices=1, precision=precision)  # type: ignore[arg-type]
    return Fabric(accelerator=kind, devices=local, num_nodes=processes // local, strategy="ddp", precision=precision)  # type: ignore[arg-type]


def _device(name: str) -> str:
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next(kind for kind in ("cuda", "mps", "cpu") if present[kind])
    if name not in present:
        raise ConfigError(f"--device {name}: there is no such kind of device", f"Choose from {', '.join(DEVICES)}.")
    if not present[name]:
        raise ConfigError(f"--device {name}: this machine has none that torch can use", "Use --device auto or cpu.")
    return name


def _use_bf16(wanted: str, kind: str) -> bool:
    if wanted != "auto":
        return wanted == "bf16"
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return kind == "cpu" and torch.cpu._is_avx512_bf16_supported()
