"""Classifiers of torchvision, recognised by their tensors: no detectors, but where the training of one can start."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from edgedet.config import bundled_names, load_config
from edgedet.models import BACKBONES
from edgedet.spec import NetworkSpec

_VGG = "vgg16"
_VGG_LAYERS = (("features.0.weight", (64, 3, 3, 3)), ("features.28.weight", (512, 512, 3, 3)))


def classifier_of(state: Mapping[str, Tensor]) -> str:
    """Torchvision's name of the classifier whose features a state dict holds, at width 1; "" for none that is known."""
    if all(name in state and tuple(state[name].shape) == shape for name, shape in _VGG_LAYERS):
        return _VGG
    for name, row in BACKBONES.items():
        if not row.torchvision:
            continue
        with torch.device("meta"):
            wanted = row.features(NetworkSpec("", name)).state_dict()
        if all(_shape(state, row.prefix + key) == value.shape for key, value in wanted.items() if value.dim()):
            return row.torchvision
    return ""


def training_command(classifier: str, path: str) -> str:
    """What trains a detector from a classifier's weights, on the bundled configuration that is named after both."""
    fitting = {}
    for name in bundled_names():
        network = load_config(name).network
        if name == f"{network.head}_{classifier}":
            fitting[name] = network
    name = min(fitting, key=lambda name: (not name.startswith("ssdlite"), name))
    tail = " --set network.reduced_tail=false" if fitting[name].reduced_tail else ""
    return f"edgedet train {name} --init {path}{tail} --data DATA --out RUN"


def _shape(state: Mapping[str, Tensor], name: str) -> torch.Size | None:
    return state[name].shape if name in state else None
