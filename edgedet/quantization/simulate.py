"""A network that computes as its int8 file would, with any of its layers left in float.

`simulate` makes it, `observe` takes the ranges from images, `choose` says which layers are quantized, and its `network`
goes wherever a network goes: `TorchRunner(simulated.network, spec, path)` detects with it.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgedet.errors import ConfigError
from edgedet.models.batch_norm import fold_batch_norm
from edgedet.quantization.graph import IMAGE, Place, places_of
from edgedet.quantization.layers import (
    ActivationQuantizer,
    RoundedWeights,
    entry_quantizer,
    output_quantizer,
    quantize_input,
    quantize_output,
    quantizers,
    round_weights,
)
from edgedet.quantization.observers import OBSERVERS
from edgedet.quantization.stem import stem_of
from edgedet.spec import DetectorSpec

# What a layer's key in `ranges` gets for the convolution's output before an activation that is an operator of its own.
BEFORE_ACTIVATION = ":before_activation"


@dataclass(frozen=True)
class _Site:
    """The quantizers of a place; `conv`, `entry` and `before` belong to layers only."""

    place: Place
    output: ActivationQuantizer
    conv: RoundedWeights | None = None
    entry: ActivationQuantizer | None = None
    before: ActivationQuantizer | None = None


class Simulation:
    """A network with quantizers in it (see `simulate`, `insert`).

    Attributes:
        network: (B, 3, H, W) normalised image to RawHeads, as before.
        places: its layers and joins in order of execution.
    """

    def __init__(self, network: nn.Module, places: tuple[Place, ...], sites: dict[str, _Site]) -> None:
        self.network, self.places, self._sites = network, places, sites

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Layers in order of execution, named by their convolution."""
        return tuple(place.name for place in self.places if place.is_layer)

    @property
    def integer_names(self) -> tuple[str, ...]:
        """The layers that int8 files quantize: all but the stem."""
        convs = ((name, self._sites[name].conv) for name in self.layer_names)
        stem = stem_of([(name, conv.weight, conv.groups) for name, conv in convs if conv is not None])
        return tuple(name for name in self.layer_names if name not in stem)

    def choose(self, layers: Collection[str] | None = None) -> None:
        """Quantize these layers: their weights, inputs and outputs. All others compute in float.

        A join is quantized where all that it joins is.

        Args:
            layers: names; None for `integer_names`.

        Raises:
            ConfigError: there is no such layer.
        """
        chosen = set(self.integer_names if layers is None else layers)
        self._refuse_unknown(chosen)
        on = self._with_joins(chosen)
        for quantizer in quantizers(self.network):
            quantizer.rounding = False
        for name, site in self._sites.items():
            if site.conv:
                site.conv.rounding = name in on
        for name in on:
            self._round_tensors(self._sites[name], on)

    def observe(self, batches: Iterable[Tensor]) -> None:
        """Take the ranges of all tensors from (B, 3, H, W) normalised images, computed in float."""
        chosen = {name for name, site in self._sites.items() if site.conv and site.conv.rounding}
        self.choose(())
        self.set_observing(True)
        with torch.no_grad():
            for batch in batches:
                self.network(batch)
        self.set_observing(False)
        self.choose(chosen)

    def set_observing(self, observing: bool) -> None:
        """Whether ranges follow the tensors that come by. Only tensors that are rounded, or all if none is."""
        found = quantizers(self.network)
        rounding = [quantizer for quantizer in found if quantizer.rounding]
        for quantizer in found:
            quantizer.observing = observing and (quantizer.rounding or not rounding)

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Lowest and highest value of each tensor, 0 included; of one that only its readers round, as they see it.

        Keys: IMAGE for the normalised image, of pixels 0 to 255; a layer's name for its output after its activation;
        that name with BEFORE_ACTIVATION for its convolution's output, where the activation is an operator of its own; a
        join's name.
        """
        return ranges_in(self.network, self.places)

    def _round_tensors(self, site: _Site, on: set[str]) -> None:
        site.output.rounding = True
        if site.before:
            site.before.rounding = True
        if site.entry:  # what comes from a quantized place is rounded already, and pooling and the like keep its values
            site.entry.rounding = not site.place.producers or not on.issuperset(site.place.producers)

    def _with_joins(self, chosen: set[str]) -> set[str]:
        on = set(chosen)
        for place in self.places:
            if not place.is_layer and on.issuperset(place.producers):
                on.add(place.name)
        return on

    def _refuse_unknown(self, chosen: set[str]) -> None:
        known = self.layer_names
        for name in sorted(chosen.difference(known)):
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            near = f"Did you mean {' or '.join(close)}?" if close else f"There are {known[0]} to {known[-1]}."
            raise ConfigError(f"the network has no layer {name!r} that can be quantized", near)


def simulate(model: nn.Module, spec: DetectorSpec, observer: str = "minmax") -> Simulation:
    """A copy of a network, batch norm folded, with quantizers; nothing is quantized before `choose`.

    Args:
        model: from edgedet.models.build; it is not changed.
        observer: a name in OBSERVERS.

    Raises:
        ConfigError: there is no such observer.
    """
    return insert(fold_batch_norm(copy.deepcopy(model).eval()), spec, observer)


def insert(network: nn.Module, spec: DetectorSpec, observer: str) -> Simulation:
    """Put quantizers into a network whose batch norm is folded, in place.

    Raises:
        ConfigError: there is no such observer, or a batch norm is left.
    """
    if observer not in OBSERVERS:
        raise ConfigError(f"there is no observer {observer!r}", f"Choose from {', '.join(OBSERVERS)}.")
    places = places_of(network, spec)
    modules = dict(network.named_modules())
    sites = {place.name: _site(place, modules, observer) for place in places}
    image = spec.input
    for site in sites.values():
        if site.entry and not site.place.producers:
            site.entry.know((0 - image.mean) / image.std, (255 - image.mean) / image.std)
    return Simulation(network, places, sites)


def _site(place: Place, modules: dict[str, nn.Module], observer: str) -> _Site:
    output = quantize_output(modules[place.output], observer)
    if not place.is_layer:
        return _Site(place, output)
    conv = modules[place.name]
    assert isinstance(conv, nn.Conv2d)
    before = quantize_output(conv, observer) if place.own_activation else None
    return _Site(place, output, round_weights(conv), quantize_input(conv, observer), before)


def ranges_in(network: nn.Module, places: tuple[Place, ...]) -> dict[str, tuple[float, float]]:
    """What `Simulation.ranges` documents, of a copy of its network too."""
    modules = dict(network.named_modules())
    found: dict[str, tuple[float, float]] = {}
    for place in places:
        if not place.producers:
            found[IMAGE] = entry_quantizer(modules[place.name]).range
        if place.own_activation:
            found[place.name + BEFORE_ACTIVATION] = output_quantizer(modules[place.name]).range
        found[place.name] = _rounded_by(place, places, modules).range
    return found


def _rounded_by(place: Place, places: tuple[Place, ...], modules: dict[str, nn.Module]) -> ActivationQuantizer:
    """The quantizer whose range counts: its reader's where that alone rounds, as behind the float stem."""
    own = output_quantizer(modules[place.output])
    if own.rounding:
        return own
    readers = (reader for reader in places if reader.is_layer and reader.producers == (place.name,))
    entries = (entry_quantizer(modules[reader.name]) for reader in readers)
    return next((entry for entry in entries if entry.rounding), own)
