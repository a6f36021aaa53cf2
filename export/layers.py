"""The layers of a network that a precision may treat one by one: their names, in order of execution.

A layer is a convolution or a fully connected layer, named by its place inside `Deployable.network`, after batch norms
were folded: `backbone.features.3.conv.0`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgedet.errors import ExportError
from edgedet.export.deployable import Deployable
from edgedet.export.options import ExportOptions
from edgedet.export.precisions import PRECISIONS
from edgedet.quantization.stem import stem_of

_KINDS = (nn.Conv2d, nn.Linear)


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer.

    Attributes:
        name: of the module inside `Deployable.network`.
        weight: (out, in / groups, height, width) of a convolution, (out, in) of a fully connected layer.
        groups: of a convolution; 1 otherwise.
    """

    name: str
    weight: Tensor
    groups: int

    @property
    def is_depthwise(self) -> bool:
        return self.groups > 1 and self.weight.shape[1] == 1


def layers_of(deployable: Deployable) -> tuple[Layer, ...]:
    """Every layer once, in the order in which it first runs."""
    network, found = deployable.network, dict[nn.Module, Layer]()
    names = {module: name for name, module in network.named_modules() if isinstance(module, _KINDS)}

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        assert isinstance(module, nn.Conv2d | nn.Linear)
        found.setdefault(module, Layer(names[module], module.weight.detach(), getattr(module, "groups", 1)))

    hooks = [module.register_forward_hook(note) for module in names]
    image = deployable.spec.input
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, image.height, image.width))
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(found.values())


def chosen_layers(layers: Sequence[Layer], wanted: Sequence[str]) -> tuple[str, ...]:
    """The names of the layers that were asked for, in order of execution.

    Args:
        wanted: names of layers, or of modules that hold layers: `box_heads` means each layer inside.

    Raises:
        ExportError: a name that is neither; it says which come near.
    """
    names = [layer.name for layer in layers]
    found = set[str]()
    for name in wanted:
        inside = [other for other in names if other == name or other.startswith(f"{name}.")]
        if not inside:
            close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
            near = f"Did you mean {' or '.join(close)}?" if close else f"There are {names[0]} to {names[-1]}."
            raise ExportError(f"--float-layers: the network has no layer {name!r}", near)
        found.update(inside)
    return tuple(name for name in names if name in found)


def float_layers(layers: Sequence[Layer], options: ExportOptions) -> tuple[str, ...]:
    """Names of all layers that stay in float in a file of these options: those asked for and the stem.

    Raises:
        ExportError: as `chosen_layers`.
    """
    known = [(layer.name, layer.weight, layer.groups) for layer in layers]
    stem = stem_of(known) if PRECISIONS[options.precision].float_stem else ()
    return chosen_layers(layers, (*stem, *options.float_layers))


def read_layer_names(text: str) -> tuple[str, ...]:
    """What `--float-layers` was given: names with commas between, or a JSON file with a list `float_layers`.

    Raises:
        ExportError: the file is missing or holds no such list.
    """
    if not text.endswith(".json"):
        return tuple(name.strip() for name in text.split(",") if name.strip())
    remedy = 'Give a file like {"schema": 1, "float_layers": ["box_heads.0"]}.'
    try:
        names = json.loads(Path(text).read_text(encoding="utf-8"))["float_layers"]
    except OSError as error:
        raise ExportError(f"{text}: cannot be read ({error.strerror})", remedy) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{text}: holds no list of layers ({type(error).__name__}: {error})", remedy) from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ExportError(f"{text}: float_layers is no list of names", remedy)
    return tuple(names)


def refuse_unfit_weights(layers: Sequence[Layer]) -> None:
    """Integers have no NaN.

    Raises:
        ExportError: a weight is NaN or infinite, naming the layer.
    """
    for layer in layers:
        if not torch.isfinite(layer.weight).all():
            raise ExportError(
                f"layer {layer.name}: its weights hold NaN or infinity, which no integer can stand for",
                "The training diverged; train again, with a lower learning rate.",
            )
