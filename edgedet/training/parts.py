"""The three parts of every detector: what `freeze`, `lr_factor` and `batch_norm` of a configuration speak of.

The backbone is what can be pretrained on classification, the head is the last layers of each level, and the neck is
what lies between. Of a network in Darknet's layers the backbone is everything before the first prediction, as in
Darknet's partial weights (yolov3-tiny.conv.15); of SSD300 it is VGG-16 with its two converted dense layers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgedet.models.darknet import DarknetLayers
from edgedet.models.darknet_words import Detect

Part = Literal["backbone", "neck", "head"]
PARTS: tuple[Part, ...] = ("backbone", "neck", "head")

# The first pattern that a name begins with decides; `body` of Darknet networks is cut by _first_prediction.
_PATTERNS: tuple[tuple[str, Part], ...] = (
    (r"(box|class)_heads\.", "head"),
    (r"backbone\.extra\.[1-9]", "neck"),  # of SSD300
    (r"backbone\.scale_weight", "neck"),
    (r"backbone\.", "backbone"),
)


def part_of(model: nn.Module, name: str) -> Part:
    """The part that a tensor or layer belongs to, by its name in `model.named_parameters()` or `named_modules()`."""
    for pattern, part in _PATTERNS:
        if re.match(pattern, name):
            return part
    if match := re.match(r"body\.layers\.(\d+)\.", name + "."):
        return "backbone" if int(match[1]) < _first_prediction(model) else "neck"
    return "neck"


def parameters_of(model: nn.Module, part: Part) -> list[nn.Parameter]:
    return [p for name, p in model.named_parameters() if part_of(model, name) == part]


def layers_of(model: nn.Module, part: Part) -> Iterator[nn.Module]:
    """The layers of a part that hold no other layers."""
    for name, module in model.named_modules():
        if not any(True for _ in module.children()) and part_of(model, name) == part:
            yield module


def norms_of(model: nn.Module, part: Part) -> list[nn.Module]:
    """The batch norms of a part, of every class."""
    return [layer for layer in layers_of(model, part) if isinstance(layer, _BatchNorm)]


def _first_prediction(model: nn.Module) -> int:
    body = model.body
    assert isinstance(body, DarknetLayers)
    return next(i for i, row in enumerate(body.rows) if isinstance(row, Detect))
