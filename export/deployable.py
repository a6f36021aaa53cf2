"""Deployable: image -> normalise -> heads -> decode. The one graph that every format lowers.

Batch norm is folded here, once, so that each format converts the same weights.
"""

from __future__ import annotations

import copy

from torch import Tensor, nn

from edgedet.decode import Decoder, RawHeads
from edgedet.model_file import weights_sha256
from edgedet.models.batch_norm import fold_batch_norm
from edgedet.preprocess import normalise
from edgedet.quantization.ranges import ranges_of
from edgedet.spec import DetectorSpec


class Deployable(nn.Module):
    """(B, 3, H, W) float pixels 0..255 to boxes_xyxy_unit (B, N, 4) and class scores (B, N, C).

    Args:
        model: a network from edgedet.models.build; it is copied, not changed.
        spec: with the thresholds the file shall carry.

    Attributes:
        activation_ranges: layer name (edgedet.export.layers) to the least and greatest value of the layer's output,
            after its activation function, as training with fake quantization learned them; int8 files use these ranges.
    """

    def __init__(self, model: nn.Module, spec: DetectorSpec) -> None:
        super().__init__()
        self.spec = spec
        self.weights_sha256 = weights_sha256(model.state_dict())
        self.network = fold_batch_norm(copy.deepcopy(model).eval())
        self.decoder = Decoder(spec)
        self.activation_ranges = ranges_of(model)

    def raw(self, pixels: Tensor) -> RawHeads:
        """Heads of an image that is not yet normalised: pixel values 0..255."""
        return self.heads(normalise(pixels, self.spec.input))

    def heads(self, normalised: Tensor) -> RawHeads:
        """Heads of an image whose normalisation the runtime does outside the graph."""
        heads: RawHeads = self.network(normalised)
        return heads

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        boxes_xyxy_unit, scores = self.decoder(self.raw(pixels))
        return boxes_xyxy_unit, scores
