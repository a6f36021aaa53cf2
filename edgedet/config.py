"""The configuration of a training run: YAML file plus `--set` changes, checked field by field.

The parts that describe the detector itself (network, input, coding, nms) are the spec's own dataclasses, so that each
of their fields is declared once, in edgedet.spec.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from edgedet.errors import ConfigError
from edgedet.levels import Anchors, make_levels, ssd_anchors_wh_px, ssd_scales
from edgedet.models import feature_grids_hw
from edgedet.spec import CodingSpec, DetectorSpec, InputSpec, LevelSpec, NetworkSpec, NmsSpec

Share = Annotated[float, Field(ge=0, le=1)]
_BUNDLED = "edgedet.configs"
_UNKNOWN_FIELD = ("extra_forbidden", "unexpected_keyword_argument")  # pydantic's names of that fault


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SsdPriors(_Part):
    """Default boxes of the SSD paper: evenly spaced scales, one list of aspect ratios per level.

    Attributes:
        smallest, largest: scale of the first and last level, as a share of the input's side.
        ratios: for each level the aspect ratios besides 1; the number of lists is the number of levels.
    """

    kind: Literal["ssd"]
    smallest: Share = 0.2
    largest: Share = 0.95
    ratios: tuple[tuple[PositiveFloat, ...], ...] = ((2.0, 3.0),) * 6

    @property
    def num_levels(self) -> int:
        return len(self.ratios)


class AnchorPriors(_Part):
    """Anchors as given: for each level, in the network's order of levels, a list of [width, height] in pixels."""

    kind: Literal["anchors"]
    anchors_wh_px: tuple[tuple[tuple[PositiveFloat, PositiveFloat], ...], ...]

    @property
    def num_levels(self) -> int:
        return len(self.anchors_wh_px)


class FitPriors(_Part):
    """Anchors fitted to the training boxes by k-means with the distance 1 - IoU (YOLOv2 paper, section 2).

    Attributes:
        anchors_per_level: how many for each level, in the network's order of levels; the finest gets the smallest.
    """

    kind: Literal["fit"]
    anchors_per_level: tuple[PositiveInt, ...]

    @property
    def num_levels(self) -> int:
        return len(self.anchors_per_level)


Priors = Annotated[SsdPriors | AnchorPriors | FitPriors, Field(discriminator="kind")]


class LossConfig(_Part):
    """Assignment and loss. The first three fields are SSD's, the rest YOLO's.

    Attributes:
        iou_match: a prior is positive for the object it overlaps best when IoU >= this (SSD paper, section 2.2).
        negatives_per_positive: hard negatives kept per positive prior (same section).
        box_weight: weight of the box loss; the class loss has weight 1.
        iou_ignore: predictions with a larger IoU with any object are not taught "nothing here" (YOLOv3 paper, 2.1).
        objectness_weight, class_weight: weights of YOLO's other two losses.
    """

    iou_match: Share = 0.5
    negatives_per_positive: PositiveFloat = 3.0
    box_weight: PositiveFloat = 1.0
    iou_ignore: Share = 0.5
    objectness_weight: PositiveFloat = 1.0
    class_weight: PositiveFloat = 1.0


class TrainingConfig(_Part):
    """The run. Exactly one of `epochs` and `minutes` says how long it is.

    Attributes:
        epochs: passes over the training split.
        minutes: wall-clock budget instead; the learning rate follows the clock, so runs do not repeat bit by bit.
        batch_size: images per step and process.
        optimiser: "sgd" (Nesterov) or "adamw".
        lr: peak learning rate; `momentum` is SGD's momentum and AdamW's beta1.
        weight_decay: on convolution weights only, not on norms and biases.
        warmup_steps: steps of linear warm-up; then a cosine down to `lr_end` times the peak.
        clip_grad_norm: gradients are scaled down to this norm; 0 leaves them.
        ema_decay: of the weights that are evaluated and saved; it warms up as (1 + n) / (10 + n). 0 switches it off.
        precision: "32", "bf16", or "auto": bf16 where the device computes it natively.
        fast_kernels: on CPU, compute the same gradients by faster ways (edgedet.training.fast_cpu).
        seed: of weights, order and augmentation.
        workers: loader processes; 0 loads in the main process.
        cache_mb: decoded images kept in memory, at most this much.
        train_split, val_split: names of splits; val_split null or "" means no validation.
        eval_every: validate every so many epochs; 0 only at the end.
        init_normalisation: what `--init` weights were trained with: "imagenet" (per-channel mean and std, which is
            folded into the first convolution), "half" (the config's own input mean and std), "auto" (imagenet for
            files that torchvision publishes, half for all others).
        init_norm_eps: batch norm's eps that the `--init` weights assume, where it is not the network's own.
    """

    epochs: PositiveInt | None = None
    minutes: PositiveFloat | None = None
    batch_size: PositiveInt = 16
    optimiser: Literal["sgd", "adamw"] = "adamw"
    lr: PositiveFloat = 1e-3
    momentum: Share = 0.9
    weight_decay: NonNegativeFloat = 1e-4
    warmup_steps: NonNegativeInt = 50
    lr_end: Share = 0.01
    clip_grad_norm: NonNegativeFloat = 10.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.998
    precision: Literal["auto", "32", "bf16"] = "auto"
    fast_kernels: bool = True
    seed: NonNegativeInt = 0
    workers: NonNegativeInt = 1
    cache_mb: NonNegativeInt = 1024
    train_split: str = "train"
    val_split: str | None = "val"
    eval_every: NonNegativeInt = 0
    init_normalisation: Literal["auto", "imagenet", "half"] = "auto"
    init_norm_eps: PositiveFloat | None = None

    @pydantic.model_validator(mode="after")
    def _one_length(self) -> TrainingConfig:
        if (self.epochs is None) == (self.minutes is None):
            raise ValueError("give exactly one of epochs and minutes")
        return self


class AugmentConfig(_Part):
    """Random changes of training images. Numbers called `..._probability` are shares of the images that get the change.

    Attributes:
        zoom_out_probability, zoom_out_max: put the image on a grey canvas of up to so many times its sides (SSD).
        iou_crop_probability: SSD's crop, which keeps some overlap with an object, and its smallest side.
        flip_probability, vertical_flip_probability: mirror left-right, top-bottom.
        photometric_probability: of each of brightness, contrast, saturation and hue, with the strengths that follow.
        channel_shuffle: permute R, G and B with the same probability, as SSD does.
    """

    zoom_out_probability: Share = 0.5
    zoom_out_max: Annotated[float, Field(ge=1, le=8)] = 3.0
    iou_crop_probability: Share = 1.0
    iou_crop_min_scale: Annotated[float, Field(gt=0, le=1)] = 0.3
    flip_probability: Share = 0.5
    vertical_flip_probability: Share = 0.0
    photometric_probability: Share = 0.5
    brightness: Share = 0.125
    contrast: Share = 0.5
    saturation: Share = 0.5
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    channel_shuffle: bool = False


class Config(_Part):
    """Everything about a training run but the data and the folder it writes to."""

    name: Annotated[str, Field(min_length=1)]
    network: NetworkSpec
    input: InputSpec
    priors: Priors
    coding: CodingSpec
    nms: NmsSpec = NmsSpec()
    loss: LossConfig = LossConfig()
    training: TrainingConfig
    augment: AugmentConfig = AugmentConfig()

    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of all fields that change what a run computes."""
        value = self.model_dump(mode="json")
        for name in ("workers", "cache_mb", "eval_every", "val_split"):
            del value["training"][name]
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def bundled_names() -> tuple[str, ...]:
    """Names of the configurations that come with edgedet."""
    return tuple(sorted(f.name.removesuffix(".yaml") for f in files(_BUNDLED).iterdir() if f.name.endswith(".yaml")))


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration.

    Args:
        path: a YAML file, or the name of a bundled configuration ("ssdlite_mobilenet_v2").
        overrides: "part.field=value" each, the value in YAML.

    Raises:
        ConfigError: naming file, field, value and remedy.
    """
    source, text = _read(path)
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{source}: not readable as YAML ({reason})", "Mend the file; bundled ones show the form."
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: holds no fields", f"Start from a bundled one: {', '.join(bundled_names())}.")
    for override in overrides:
        _apply(values, override)
    try:
        config = Config.model_validate(values)
    except pydantic.ValidationError as error:
        raise _config_error(source, error, overrides) from error
    _check(config, source)
    return config


def make_spec(config: Config, class_names: Sequence[str], boxes_wh_px: npt.NDArray[np.float32]) -> DetectorSpec:
    """The detector that a configuration and a training set define.

    Args:
        class_names: labels of the data set.
        boxes_wh_px: (M, 2) widths and heights of the training boxes in pixels of the network input; only priors of kind
            "fit" look at them.

    Raises:
        ConfigError: the parts do not fit together.
    """
    spec = DetectorSpec(
        name=config.name,
        network=config.network,
        input=config.input,
        levels=_levels(config, boxes_wh_px),
        coding=config.coding,
        nms=config.nms,
        class_names=tuple(class_names),
    )
    if problems := spec.problems():
        raise ConfigError(f"{config.name}: {problems[0]}", "Change that field of the configuration.")
    return spec


def field_names(part: type[BaseModel] = Config, prefix: str = "") -> Iterator[str]:
    """Every dotted name that `--set` can change."""
    for name, field in part.model_fields.items():
        yield prefix + name
        for kind in _kinds(field.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from field_names(kind, f"{prefix}{name}.")
            elif hasattr(kind, "__dataclass_fields__"):
                yield from (f"{prefix}{name}.{inner}" for inner in kind.__dataclass_fields__)


def _kinds(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_args(annotation) else (annotation,)


def _read(path: str | Path) -> tuple[str, str]:
    """(what to call it, text) of a file or of a bundled configuration."""
    file = Path(path)
    try:
        if file.is_file():
            return str(file), file.read_text(encoding="utf-8")
        if str(path) in bundled_names():
            return f"{path}.yaml", files(_BUNDLED).joinpath(f"{path}.yaml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read ({error})", "Give a YAML file in UTF-8.") from error
    raise ConfigError(
        f"{file}: there is no such configuration", f"Give a YAML file or one of {', '.join(bundled_names())}."
    )


def _apply(values: dict[str, Any], override: str) -> None:
    """Put one "a.b=c" into nested values; a new kind of priors starts without the old kind's fields."""
    path, equals, text = override.partition("=")
    names = tuple(dict.fromkeys(field_names()))
    if not equals or not path:
        raise ConfigError(f"--set {override}: no field and value", "Write it as --set training.lr=0.001.")
    if path not in names:
        raise ConfigError(f"--set {override}: there is no field {path}", _nearest(path, names))
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"--set {override}: the value is not readable as YAML", "Quote it, or check brackets."
        ) from error
    *parents, last = path.split(".")
    for parent in parents:
        inner = values.get(parent)
        if not isinstance(inner, dict):
            inner = values[parent] = {}
        values = inner
    if path == "priors.kind" and values.get("kind") != value:
        values.clear()
    values[last] = value
    # The two ways to say how long a run is exclude each other; the one asked for last counts.
    rivals = {"training.epochs": "minutes", "training.minutes": "epochs"}
    if path in rivals and value is not None:
        values.pop(rivals[path], None)


def _nearest(path: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(path, names, n=3, cutoff=0.5)
    last = path.rsplit(".", 1)[-1]
    close += [n for n in names if n.rsplit(".", 1)[-1] == last and n not in close]
    return (
        f"Did you mean {' or '.join(close[:4])}?"
        if close
        else f"Fields: {', '.join(n for n in names if '.' not in n)}."
    )


def _config_error(source: str, error: pydantic.ValidationError, overrides: Sequence[str]) -> ConfigError:
    """One fault, in one line: a misspelt field rather than the one that is missing because of it."""
    faults = error.errors(include_url=False)
    first = next((fault for fault in faults if fault["type"] in _UNKNOWN_FIELD), faults[0])
    kinds = ("ssd", "anchors", "fit")
    parts = [
        str(part)
        for k, part in enumerate(first["loc"])
        if not (k == 1 and first["loc"][0] == "priors" and part in kinds)
    ]
    field = ".".join(parts)
    where = f"{source}{' with --set' if any(field.startswith(o.split('=')[0]) for o in overrides) else ''}"
    if first["type"] in _UNKNOWN_FIELD:
        return ConfigError(f"{where}: there is no field {field}", _nearest(field, tuple(dict.fromkeys(field_names()))))
    if first["type"] in ("missing", "missing_argument"):
        return ConfigError(f"{where}: {field} is missing", "Add it; the bundled configurations show the form.")
    message = first["msg"].removeprefix("Value error, ")
    given = first["input"]
    shown = "" if isinstance(given, Mapping) else f" is {given!r}"
    return ConfigError(f"{where}: {field}{shown}", f"{message[:1].upper()}{message[1:]}.")


def _check(config: Config, source: str) -> None:
    """What no single field can tell: levels that the network has, and a coding that there is a loss for."""
    try:
        grids = feature_grids_hw(config.network, config.input, config.priors.num_levels)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error.what}", error.remedy) from error
    placeholder = tuple(LevelSpec((1.0, 1.0), h, w, ((1.0, 1.0),)) for h, w in grids)
    spec = DetectorSpec(config.name, config.network, config.input, placeholder, config.coding, config.nms, ("any",))
    if problems := spec.problems():
        raise ConfigError(f"{source}: {problems[0]}", "Change that field.")
    pairs = {"ssd": "softmax_bg0", "yolo": "obj_times_cls"}
    if config.coding.score != pairs[config.coding.kind]:
        raise ConfigError(
            f"{source}: coding.score is {config.coding.score!r} under coding.kind {config.coding.kind!r}",
            f"Training knows {', '.join(f'{k} with {s}' for k, s in pairs.items())}.",
        )


def _levels(config: Config, boxes_wh_px: npt.NDArray[np.float32]) -> tuple[LevelSpec, ...]:
    height, width = config.input.height, config.input.width
    grids = feature_grids_hw(config.network, config.input, config.priors.num_levels)
    return make_levels(grids, _anchors(config, grids, boxes_wh_px), height, width)


def _anchors(
    config: Config, grids: Sequence[tuple[int, int]], boxes_wh_px: npt.NDArray[np.float32]
) -> Sequence[Anchors]:
    priors = config.priors
    if isinstance(priors, AnchorPriors):
        return priors.anchors_wh_px
    if isinstance(priors, SsdPriors):
        scales = ssd_scales(priors.num_levels, priors.smallest, priors.largest)
        return ssd_anchors_wh_px(scales, priors.ratios, config.input.height, config.input.width)
    from edgedet.training.anchors import fit_anchors  # here, because training imports this module

    fitted = fit_anchors(boxes_wh_px, sum(priors.anchors_per_level), config.training.seed)
    levels: list[Anchors] = [()] * len(grids)
    start = 0
    for index in sorted(range(len(grids)), key=lambda i: -grids[i][0] * grids[i][1]):  # finest level first
        count = priors.anchors_per_level[index]
        levels[index] = [(float(w), float(h)) for w, h in fitted[start : start + count]]
        start += count
    return levels
