"""Where a network is quantized: its layers and joins in order of execution, found by running it once.

A layer is a convolution with the activation after it, named by the convolution. A join is a module that ends in
arithmetic of its own (a residual addition, the product of squeeze and excitation), named by the module.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from edgedet.errors import ConfigError
from edgedet.models.darknet import Mish, Swish
from edgedet.spec import DetectorSpec

IMAGE = "input"
# Activations that clip can be part of the convolution's operator; the others are operators of their own.
_CLIPPING = (nn.ReLU, nn.ReLU6)
_ACTIVATIONS = (*_CLIPPING, nn.LeakyReLU, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.SiLU, Swish, Mish)


@dataclass(frozen=True)
class Place:
    """A layer or a join.

    Attributes:
        name: of the convolution, or of the module that joins.
        output: name of the module whose output this is: the activation where there is one.
        producers: names of the places whose outputs make its input; () for the image.
        is_layer: whether it has weights.
        own_activation: whether its activation is an operator of its own, so that the convolution's output is an 8-bit
            tensor too.
    """

    name: str
    output: str
    producers: tuple[str, ...]
    is_layer: bool
    own_activation: bool = False


@dataclass
class _Probe:
    """What one run of the network shows."""

    places: dict[str, Place] = field(default_factory=dict)
    made: dict[Any, str] = field(default_factory=dict)  # node of the autograd graph: the place that it belongs to
    seen: dict[tuple[int, int], str] = field(default_factory=dict)  # tensor and its version: the module that gave it
    alive: list[object] = field(default_factory=list)  # so that no identity is used twice

    def give(self, module: str, place: str, output: Tensor) -> None:
        self.alive += [output, output.grad_fn]
        self.seen[_identity(output)] = module
        self.made[output.grad_fn] = place

    def pass_on(self, module: str, output: Tensor) -> None:
        """The output of a module that makes no place. A tensor that an Identity hands on stays its maker's."""
        self.alive.append(output)
        self.seen.setdefault(_identity(output), module)

    def producers(self, x: Tensor) -> tuple[str, ...]:
        """Places found by going back from a tensor."""
        found: dict[str, None] = {}
        open_nodes, done = [x.grad_fn], set()
        while open_nodes:
            node = open_nodes.pop()
            if node is None or node in done:
                continue
            done.add(node)
            if node in self.made:
                found[self.made[node]] = None
            else:
                open_nodes += [before for before, _ in node.next_functions]
        return tuple(reversed(found))


def places_of(network: nn.Module, spec: DetectorSpec) -> tuple[Place, ...]:
    """Layers and joins of a network in order of execution.

    Args:
        network: with batch norm folded.

    Raises:
        ConfigError: it holds a batch norm that could not be folded, which int8 files would not have.
    """
    names = {id(module): name for name, module in network.named_modules()}
    if any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        raise ConfigError(f"{spec.name}: a batch norm is left in the network", "Fold it before quantizing.")
    probe = _Probe()
    handles = [module.register_forward_hook(_leaf_hook(probe, names) if _is_leaf(module) else _join_hook(probe, names))
               for module in network.modules()]  # fmt: skip
    image = torch.zeros(1, 3, spec.input.height, spec.input.width, device=next(network.parameters()).device)
    was_training = network.training
    try:
        with torch.enable_grad():
            network.eval()(image.requires_grad_())
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    return tuple(probe.places.values())


def _leaf_hook(probe: _Probe, names: dict[int, str]) -> Any:
    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        name = names[id(module)]
        if isinstance(module, nn.Conv2d):
            # The input may have been changed in place since; its node in the graph is still the one that made it.
            producers = probe.producers(args[0])
            if name not in probe.places:
                probe.places[name] = Place(name, name, producers, is_layer=True)
            probe.give(name, name, output)
        elif isinstance(module, _ACTIVATIONS):
            # An activation in place gives its input's own tensor, one version later.
            changed = args[0] is output
            before = probe.seen.get((id(args[0]), args[0]._version - changed))
            place = probe.places.get(before or "")
            if place and place.is_layer:
                own = not isinstance(module, _CLIPPING)
                probe.places[place.name] = Place(place.name, name, place.producers, True, own)
                probe.give(name, place.name, output)
            else:
                probe.pass_on(name, output)
        elif isinstance(output, Tensor):
            probe.pass_on(name, output)

    return hook


def _join_hook(probe: _Probe, names: dict[int, str]) -> Any:
    def hook(module: nn.Module, _args: Any, output: object) -> None:
        name = names[id(module)]
        if not name or not isinstance(output, Tensor) or _identity(output) in probe.seen:
            return
        if name not in probe.places:
            probe.places[name] = Place(name, name, probe.producers(output), is_layer=False)
        probe.give(name, name, output)

    return hook


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None


def _identity(x: Tensor) -> tuple[int, int]:
    return id(x), x._version
