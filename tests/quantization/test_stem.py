"""Which layers begin a network."""

from __future__ import annotations

import torch

from edgedet.quantization.stem import stem_of

PIXELS = ("pixels", torch.zeros(8, 3, 3, 3), 1)
DEPTHWISE = ("depthwise", torch.zeros(8, 1, 3, 3), 8)
WIDE = ("wide", torch.zeros(8, 8, 3, 3), 1)


def test_the_layer_that_reads_an_image_and_a_depthwise_one_behind_it() -> None:
    assert stem_of([PIXELS, DEPTHWISE, DEPTHWISE]) == ("pixels", "depthwise")
    assert stem_of([PIXELS, WIDE, DEPTHWISE]) == ("pixels",)
    assert stem_of([PIXELS]) == ("pixels",)


def test_one_channel_is_an_image_too_and_no_depthwise_layer() -> None:
    grey = ("grey", torch.zeros(8, 1, 3, 3), 1)
    assert stem_of([grey, grey]) == ("grey",)


def test_what_reads_features_or_is_fully_connected_begins_none() -> None:
    assert stem_of([WIDE, DEPTHWISE]) == ()
    assert stem_of([DEPTHWISE, WIDE]) == ()
    assert stem_of([("linear", torch.zeros(8, 3), 1), DEPTHWISE]) == ()
