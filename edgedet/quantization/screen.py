"""A fast screen of which layer costs what: the error that quantizing one layer alone makes, without any mAP run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgedet.decode import RawHeads
from edgedet.quantization.simulate import Simulation


@dataclass(frozen=True)
class LayerError:
    """Signal-to-noise ratios in dB (10 log10 of the power of the float values over that of the error): high is good.

    Attributes:
        layer: its name.
        output_sqnr_db: at the layer's own output, after its activation.
        box_codes_sqnr_db, logits_sqnr_db: at the network's heads. Infinity where a head does not see the layer.
    """

    layer: str
    output_sqnr_db: float
    box_codes_sqnr_db: float
    logits_sqnr_db: float

    @property
    def heads_sqnr_db(self) -> float:
        """The worse of the two heads: what layers are ranked by."""
        return min(self.box_codes_sqnr_db, self.logits_sqnr_db)


@torch.no_grad()
def layer_errors(
    simulated: Simulation, layers: Sequence[str], images: Sequence[Tensor], advance: Callable[[], None] = lambda: None
) -> tuple[LayerError, ...]:
    """Quantize each layer alone and compare with float. Costs one forward pass a layer and batch.

    Args:
        simulated: with its ranges observed. Nothing is quantized in it afterwards.
        layers: their names.
        images: batches of (B, 3, H, W) normalised images; eight images rank layers well.
        advance: is called after each layer, for a progress bar.

    Returns:
        One result a layer, in the order of `layers`.
    """
    simulated.choose(())
    outputs: dict[str, list[Tensor]] = {}
    heads: list[RawHeads] = []
    with _Taps(simulated) as taps:
        for batch in images:
            heads.append(simulated.network(batch))
            for name, output in taps.take().items():
                outputs.setdefault(name, []).append(output)
    found = []
    for name in layers:
        found.append(_layer_error(simulated, name, images, outputs[name], heads))
        advance()
    simulated.choose(())
    return tuple(found)


def _layer_error(
    simulated: Simulation, name: str, images: Sequence[Tensor], outputs: list[Tensor], heads: list[RawHeads]
) -> LayerError:
    simulated.choose([name])
    powers = torch.zeros(3, 2, dtype=torch.float64)  # output, box codes, logits: of the signal and of the error
    with _Taps(simulated, name) as taps:
        for batch, output, raw in zip(images, outputs, heads, strict=True):
            quantized = simulated.network(batch)
            pairs = ((output, taps.take()[name]), (raw.box_codes, quantized.box_codes), (raw.logits, quantized.logits))
            powers += torch.tensor([_powers(*pair) for pair in pairs], dtype=torch.float64)
    return LayerError(name, *(sqnr_db(float(signal), float(error)) for signal, error in powers))


def sqnr_db(signal_power: float, error_power: float) -> float:
    """10 log10 of their ratio; infinity without any error."""
    if error_power == 0:
        return math.inf
    return 10 * math.log10(signal_power / error_power) if signal_power else -math.inf


def _powers(values: Tensor, changed: Tensor) -> tuple[float, float]:
    return float(values.double().square().sum()), float((changed - values).double().square().sum())


class _Taps:
    """Keeps the outputs of layers, as they leave their quantizers.

    Args:
        only: one layer; None for all.
    """

    def __init__(self, simulated: Simulation, only: str | None = None) -> None:
        self._simulated, self._only = simulated, only
        self._found: dict[str, Tensor] = {}

    def take(self) -> dict[str, Tensor]:
        """What came by since the last call."""
        found, self._found = self._found, {}
        return found

    def __enter__(self) -> _Taps:
        modules = dict(self._simulated.network.named_modules())
        places = [p for p in self._simulated.places if p.is_layer and self._only in (None, p.name)]
        self._handles = [modules[p.output].register_forward_hook(self._hook(p.name)) for p in places]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, name: str) -> Callable[..., None]:
        def keep(_module: object, _args: object, output: Tensor) -> None:
            # Copied, for what comes next may work in place; added up where levels share a layer.
            kept = output.flatten().clone()
            self._found[name] = torch.cat((self._found[name], kept)) if name in self._found else kept

        return keep
