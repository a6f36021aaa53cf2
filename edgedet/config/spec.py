"""From a configuration to the detector that it defines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgedet.class_tree import ClassTree
from edgedet.config.priors import AnchorPriors, FitPriors, PyramidPriors, SsdPriors, TensorFlowPriors
from edgedet.config.schema import Config
from edgedet.errors import ConfigError
from edgedet.levels import (
    Anchors,
    make_levels,
    make_pyramid_levels,
    pyramid_anchors_wh_px,
    ssd_anchors_wh_px,
    ssd_scales,
    tensorflow_ssd_anchors_wh_px,
)
from edgedet.models import feature_grids_hw
from edgedet.spec import DetectorSpec, InputSpec, LevelSpec


def make_spec(config: Config, class_names: Sequence[str], boxes_wh_px: npt.NDArray[np.float32]) -> DetectorSpec:
    """The detector that a configuration and a training set define.

    Args:
        class_names: labels of the data set; the detector's classes, unless the configuration has a tree of them.
        boxes_wh_px: (M, 2) widths and heights of the training boxes in pixels of the network input; only priors of kind
            "fit" look at them.

    Raises:
        ConfigError: the parts do not fit together, or a label is no class of the tree.
    """
    tree = config.tree or ClassTree(tuple(class_names), ())
    if unknown := [name for name in class_names if name not in tree.names]:
        raise ConfigError(
            f"{config.name}: the data set's label {unknown[0]!r} is no class of the tree ({', '.join(tree.names)})",
            "Add it to `classes`, or correct the label.",
        )
    spec = DetectorSpec(
        name=config.name,
        network=config.network,
        input=config.input,
        levels=_levels(config, boxes_wh_px),
        coding=config.coding,
        nms=config.nms,
        class_names=tree.names,
        class_parents=tree.parents,
    )
    if problems := spec.problems():
        raise ConfigError(f"{config.name}: {problems[0]}", "Change that field of the configuration.")
    return spec


def resized_spec(config: Config, spec: DetectorSpec, image: InputSpec) -> DetectorSpec:
    """A detector as it is while multi-scale training shows it another size: priors by the configuration's formulas.

    Anchors that were fitted keep their pixels, as given ones do (Darknet).
    """
    if image == spec.input:
        return spec
    priors = config.priors
    if isinstance(priors, FitPriors):
        fitted = tuple(level.anchors_wh_px for level in spec.levels)
        priors = AnchorPriors(kind="anchors", anchors_wh_px=fitted, scales_xy=priors.scales_xy)
    resized = config.model_copy(update={"input": image, "priors": priors})
    return replace(spec, input=image, levels=_levels(resized, np.zeros((0, 2), np.float32)))


def _levels(config: Config, boxes_wh_px: npt.NDArray[np.float32]) -> tuple[LevelSpec, ...]:
    height, width = config.input.height, config.input.width
    grids = feature_grids_hw(config.network, config.input, config.priors.num_levels)
    anchors = _anchors(config, grids, boxes_wh_px)
    if isinstance(config.priors, PyramidPriors) and config.priors.corner:
        return make_pyramid_levels(grids, anchors, height, width)
    return make_levels(
        grids,
        anchors,
        height,
        width,
        strides_px=getattr(config.priors, "strides_px", None),
        scales_xy=getattr(config.priors, "scales_xy", None),
        clip_centres=getattr(config.priors, "clip_centres", False),
    )


def _anchors(
    config: Config, grids: Sequence[tuple[int, int]], boxes_wh_px: npt.NDArray[np.float32]
) -> Sequence[Anchors]:
    priors = config.priors
    if isinstance(priors, AnchorPriors):
        return priors.anchors_wh_px
    if isinstance(priors, SsdPriors):
        scales = priors.scales or (*ssd_scales(priors.num_levels, priors.smallest, priors.largest), 1.0)
        size = (config.input.height, config.input.width)
        return ssd_anchors_wh_px(scales[:-1], priors.ratios, *size, next_after_last=scales[-1])
    if isinstance(priors, TensorFlowPriors):
        size = (config.input.height, config.input.width)
        return tensorflow_ssd_anchors_wh_px(priors.num_levels, priors.smallest, priors.largest, *size)
    if isinstance(priors, PyramidPriors):
        return pyramid_anchors_wh_px(priors.num_levels, priors.smallest_px, priors.scales_per_octave, priors.ratios)
    from edgedet.training.anchors import fit_anchors  # here, because training imports this module

    fitted = fit_anchors(boxes_wh_px, sum(priors.anchors_per_level), config.training.seed)
    levels: list[Anchors] = [()] * len(grids)
    start = 0
    for index in sorted(range(len(grids)), key=lambda i: -grids[i][0] * grids[i][1]):  # finest level first
        count = priors.anchors_per_level[index]
        levels[index] = [(float(w), float(h)) for w, h in fitted[start : start + count]]
        start += count
    return levels
