"""VGG-16, trained on classification, as the start of SSD300 (SSD paper, section 3; Chen et al. 2014, "a trous")."""

from __future__ import annotations

from torch import Tensor

# torchvision's vgg16.features.<n> to our layer: up to conv4_3 the numbers are the same.
_CONV4 = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21)
_CONV5 = {24: 1, 26: 3, 28: 5}
_FC6, _FC7 = "backbone.extra.0.7.1", "backbone.extra.0.7.3"
FIRST = "backbone.features.0"


def from_vgg16(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of torchvision's vgg16 under the names of head "ssd300" at width 1.

    The two dense layers become convolutions that keep every fourth of their 4096 channels, and of fc6 every third of
    the 7x7 places. Without dense layers in the file both stay as they are drawn.

    Raises:
        KeyError: a convolution is missing.
    """
    found = {}
    for part in ("weight", "bias"):
        for number in _CONV4:
            found[f"backbone.features.{number}.{part}"] = state[f"features.{number}.{part}"]
        for number, ours in _CONV5.items():
            found[f"backbone.extra.0.{ours}.{part}"] = state[f"features.{number}.{part}"]
    if "classifier.0.weight" in state and "classifier.3.weight" in state:
        fc6 = state["classifier.0.weight"].reshape(4096, 512, 7, 7)
        found[f"{_FC6}.weight"] = fc6[::4, :, ::3, ::3].contiguous()
        found[f"{_FC7}.weight"] = state["classifier.3.weight"].reshape(4096, 4096, 1, 1)[::4, ::4].contiguous()
        found[f"{_FC6}.bias"] = state["classifier.0.bias"][::4].clone()
        found[f"{_FC7}.bias"] = state["classifier.3.bias"][::4].clone()
    return found
