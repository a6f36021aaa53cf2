"""Devices, precision and processes: what Lightning Fabric is told."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric

from edgedet.config import TrainingConfig
from edgedet.errors import ConfigError, EdgedetError
from edgedet.training.fast_cpu import keep_freed_memory

DEVICES = ("auto", "cpu", "cuda", "mps")


def launch(config: TrainingConfig, device: str) -> Fabric:
    """Devices and processes, ready to compute (see `make_fabric`)."""
    fabric = make_fabric(config, device)
    fabric.launch()
    if config.fast_kernels and fabric.device.type == "cpu":
        keep_freed_memory()
    return fabric


def make_fabric(config: TrainingConfig, device: str) -> Fabric:
    """One process, or under torchrun one of several that average their gradients.

    Raises:
        ConfigError: the device is unknown or not there, or cannot do what the configuration asks.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces each setting; we print our own lines
    kind = _device(device)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    precision = _precision(config.precision, kind)
    if config.batch_norm == "sync" and processes > 1 and kind != "cuda":
        raise ConfigError(
            f"training.batch_norm is sync on {kind}: torch joins batch norms on CUDA devices only",
            "Set training.batch_norm to train, or to frozen with --init.",
        )
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


def _precision(wanted: str, kind: str) -> str:
    """Fabric's name of it."""
    if wanted == "fp16" and kind != "cuda":
        raise ConfigError(
            f"training.precision is fp16 on {kind}: its loss scaling is for CUDA devices", "Set it to bf16 or auto."
        )
    if wanted == "auto":
        wanted = "bf16" if _has_bf16(kind) else "32"
    return {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[wanted]


def _has_bf16(kind: str) -> bool:
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return kind == "cpu" and torch.cpu._is_avx512_bf16_supported()


@contextmanager
def arithmetic(config: TrainingConfig) -> Iterator[None]:
    """torch's process-wide choice of algorithms during a run: repeatable ones, or on GPUs the fastest by trial.

    Raises:
        EdgedetError: an operation of the network has no deterministic algorithm on this device.
    """
    cudnn = torch.backends.cudnn
    before = (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(),
              cudnn.benchmark, cudnn.deterministic)  # fmt: skip
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it is first used
        torch.use_deterministic_algorithms(True)
        cudnn.deterministic = True
    cudnn.benchmark = not config.deterministic
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        reason = str(error).splitlines()[0][:160]
        raise EdgedetError(
            f"training.deterministic: this network cannot keep it here ({reason})", "Leave training.deterministic out."
        ) from error
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        cudnn.benchmark, cudnn.deterministic = before[2:]
