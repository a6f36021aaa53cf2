"""The fields of a training configuration, their defaults and what each means.

The parts that describe the detector itself (network, input, coding, nms) are the spec's own dataclasses, so that each
of their fields is declared once, in edgedet.spec.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from edgedet.class_tree import ClassTree, tree_of
from edgedet.spec import CodingSpec, InputSpec, NetworkSpec, NmsSpec

Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SsdPriors(_Part):
    """Default boxes of the SSD paper: evenly spaced scales, one list of aspect ratios per level.

    Attributes:
        smallest, largest: scale of the first and last level, as a share of the input's side.
        ratios: for each level the aspect ratios besides 1; the number of lists is the number of levels.
        scales: instead of smallest and largest, the scale of each level and of the one that would follow the last.
        strides_px: for each level the distance of its priors; null for the input's side over the number of cells.
        clip_centres: move priors that are centred outside of the input to its border.
    """

    kind: Literal["ssd"]
    smallest: Share = 0.2
    largest: Share = 0.95
    ratios: tuple[tuple[PositiveFloat, ...], ...] = ((2.0, 3.0),) * 6
    scales: tuple[PositiveFloat, ...] | None = None
    strides_px: tuple[PositiveFloat, ...] | None = None
    clip_centres: bool = False

    @pydantic.model_validator(mode="after")
    def _lengths(self) -> SsdPriors:
        if self.scales is not None and len(self.scales) != len(self.ratios) + 1:
            raise ValueError(f"scales needs one number more than there are levels, {len(self.ratios) + 1}")
        if self.strides_px is not None and len(self.strides_px) != len(self.ratios):
            raise ValueError(f"strides_px needs one number for each of the {len(self.ratios)} levels")
        return self

    @property
    def num_levels(self) -> int:
        return len(self.ratios)


class TensorFlowPriors(_Part):
    """Default boxes of TensorFlow's ssd_mobilenet models: 1917 with six levels at 300 px."""

    kind: Literal["tensorflow"]
    smallest: Share = 0.2
    largest: Share = 0.95
    num_levels: Annotated[int, Field(ge=2)] = 6


class PyramidPriors(_Part):
    """Anchors of RetinaNet: some sizes an octave at some ratios, twice as large on each level.

    Attributes:
        smallest_px: of the finest level; the paper has four times its stride.
        scales_per_octave, ratios: sizes, and height over width; their product is the number of anchors in a cell.
        corner: centre the anchors on the cells' top left corners, as torchvision does, not in the middle.
    """

    kind: Literal["pyramid"]
    num_levels: PositiveInt = 5
    smallest_px: PositiveFloat = 32.0
    scales_per_octave: PositiveInt = 3
    ratios: tuple[PositiveFloat, ...] = (0.5, 1.0, 2.0)
    corner: bool = False


class AnchorPriors(_Part):
    """Anchors as given: for each level, in the network's order of levels, a list of [width, height] in pixels.

    Attributes:
        scales_xy: for each level how many cells wide a box's centre can move (Darknet's scale_x_y); null for 1.
    """

    kind: Literal["anchors"]
    anchors_wh_px: tuple[tuple[tuple[PositiveFloat, PositiveFloat], ...], ...]
    scales_xy: tuple[PositiveFloat, ...] | None = None

    @pydantic.model_validator(mode="after")
    def _lengths(self) -> AnchorPriors:
        if self.scales_xy is not None and len(self.scales_xy) != len(self.anchors_wh_px):
            raise ValueError(f"scales_xy needs one number for each of the {len(self.anchors_wh_px)} levels")
        return self

    @property
    def num_levels(self) -> int:
        return len(self.anchors_wh_px)


class FitPriors(_Part):
    """Anchors fitted to the training boxes by k-means with the distance 1 - IoU (YOLOv2 paper, section 2).

    Attributes:
        anchors_per_level: how many for each level, in the network's order of levels; the finest gets the smallest.
        scales_xy: as for "anchors".
    """

    kind: Literal["fit"]
    anchors_per_level: tuple[PositiveInt, ...]
    scales_xy: tuple[PositiveFloat, ...] | None = None

    @pydantic.model_validator(mode="after")
    def _lengths(self) -> FitPriors:
        if self.scales_xy is not None and len(self.scales_xy) != len(self.anchors_per_level):
            raise ValueError(f"scales_xy needs one number for each of the {len(self.anchors_per_level)} levels")
        return self

    @property
    def num_levels(self) -> int:
        return len(self.anchors_per_level)


Priors = Annotated[SsdPriors | TensorFlowPriors | PyramidPriors | AnchorPriors | FitPriors, Field(discriminator="kind")]


class LossConfig(_Part):
    """Assignment and loss. The coding says which loss it is, and each loss reads the fields that concern it.

    Attributes:
        matching: which priors shall find which objects. "own": the rule of the coding's paper. "ssd": each object's
            best prior, and every prior with IoU >= iou_match (SSD paper, section 2.2). "retinanet": the same, with a
            band from iou_background to iou_match that is left alone (RetinaNet paper, section 4). "yolo": one prior,
            the anchor of the best shape in the cell of the object's centre; other predictions with IoU > iou_ignore
            are left alone (YOLOv3 paper, section 2.1). YOLO's codings know their own rule only.
        box: what the error of a box is. "own": of its codes, as the coding's paper has it (smooth L1 for SSD and
            RetinaNet, YOLO's squares and cross-entropies). Of the decoded box: "giou" (Rezatofighi et al. 2019,
            algorithm 1), "diou" and "ciou" (Zheng et al. 2020, equations 7 and 10).
        iou_objectness: how far the objectness of a matched prior learns the IoU of its predicted box with its object
            in place of 1: 0 not at all, 1 entirely; null for the paper's own, which is 0 for YOLOv3 and 1 for YOLOv1
            (paper, section 2) and YOLOv2 (Darknet's rescore).
        iou_match: a prior is positive for the object it overlaps best when IoU >= this (SSD paper, section 2.2).
        iou_background: RetinaNet's priors from this IoU up to `iou_match` are neither (RetinaNet paper, section 4).
        focal_alpha, focal_gamma: of the focal loss (same paper, section 3.2).
        smooth_l1_beta: where SSD's and RetinaNet's box loss turns from a square to a line.
        negatives_per_positive: hard negatives kept per positive prior (same section).
        box_weight: weight of the box loss; the class loss has weight 1.
        iou_ignore: predictions with a larger IoU with any object are not taught "nothing here" (YOLOv3 paper, 2.1).
        objectness_weight, class_weight: weights of YOLO's other two losses.
        object_weight, no_object_weight: of the squared errors of objectness with and without an object in YOLOv1 and
            YOLOv2 (YOLOv1 paper, equation 3; Darknet's object_scale and noobject_scale).
        image_label_weight: of what images teach that have labels but no boxes (edgedet.training.loss_tree).
        image_label_iou: IoU with its object that the surest prior of such an image is assumed to have.
    """

    matching: Literal["own", "ssd", "retinanet", "yolo"] = "own"
    box: Literal["own", "giou", "diou", "ciou"] = "own"
    iou_objectness: Share | None = None
    iou_match: Share = 0.5
    iou_background: Share = 0.4
    focal_alpha: Share = 0.25
    focal_gamma: NonNegativeFloat = 2.0
    smooth_l1_beta: PositiveFloat = 1.0
    negatives_per_positive: PositiveFloat = 3.0
    box_weight: PositiveFloat = 1.0
    iou_ignore: Share = 0.5
    objectness_weight: PositiveFloat = 1.0
    class_weight: PositiveFloat = 1.0
    object_weight: PositiveFloat = 1.0
    no_object_weight: PositiveFloat = 1.0
    image_label_weight: NonNegativeFloat = 1.0
    image_label_iou: Share = 0.3


class PartFactors(_Part):
    """A number for each part of a network (edgedet.training.parts): pretrained parts learn slower than new ones."""

    backbone: PositiveFloat = 1.0
    neck: PositiveFloat = 1.0
    head: PositiveFloat = 1.0


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
        accumulate: batches whose gradients are put together before a step. The gradient is that of one batch of
            `accumulate` times as many images but for batch norm, which sees `batch_size` of them.
        lr_factor: times `lr`, for each part of the network.
        freeze: "backbone" keeps the backbone's weights and statistics as `--init` gave them, for `freeze_epochs`
            epochs or, where that is null, for good.
        batch_norm: "train" takes statistics from each process's own batch; "sync" from the batches of all processes;
            "frozen" keeps those of the backbone as `--init` gave them, for batches too small to have any.
        precision: "32", "bf16", "fp16" (CUDA only; with loss scaling), or "auto": bf16 where the device computes it
            natively.
        deterministic: torch's deterministic algorithms only, so that two runs on one machine give equal bits on GPUs
            too; slower there.
        keep: which epoch's weights model.pt holds: the "last", or the "best" by `monitor` of those validated.
        monitor: metric of the validation split that says which epoch is better.
        patience: stop after so many validations without a gain of more than `min_delta`; null never stops. A run
            with a patience keeps the best.
        fast_kernels: on CPU, compute the same gradients by faster ways (edgedet.training.fast_cpu).
        seed: of weights, order and augmentation.
        workers: loader processes; 0 loads in the main process.
        cache_mb: decoded images kept in memory, at most this much.
        image_label_share: of each batch, images of which only the class is known (edgedet.data.image_labels); for
            the tree scores.
        image_label_after: epochs of boxes alone before them; see edgedet.training.image_labels for why.
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
    accumulate: PositiveInt = 1
    lr_factor: PartFactors = PartFactors()
    freeze: Literal["nothing", "backbone"] = "nothing"
    freeze_epochs: PositiveInt | None = None
    batch_norm: Literal["train", "frozen", "sync"] = "train"
    precision: Literal["auto", "32", "bf16", "fp16"] = "auto"
    deterministic: bool = False
    keep: Literal["last", "best"] = "last"
    monitor: Literal["coco_ap", "coco_ap50", "coco_ap75", "voc07_map", "voc10_map"] = "coco_ap"
    patience: PositiveInt | None = None
    min_delta: Share = 0.0
    fast_kernels: bool = True
    seed: NonNegativeInt = 0
    workers: NonNegativeInt = 1
    cache_mb: NonNegativeInt = 1024
    image_label_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    image_label_after: NonNegativeInt = 0
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

    @pydantic.model_validator(mode="after")
    def _no_contradiction(self) -> TrainingConfig:
        validates = bool(self.val_split) and self.eval_every > 0
        if self.keeps_best and not validates:
            raise ValueError("keep best and patience need validations: give val_split, and eval_every 1 or more")
        if self.min_delta and self.patience is None:
            raise ValueError("min_delta belongs to patience: give both or none")
        if self.freeze_epochs and self.freeze == "nothing":
            raise ValueError("freeze_epochs says how long: give freeze too, or leave freeze_epochs out")
        if self.freeze_epochs and self.epochs and self.freeze_epochs >= self.epochs:
            raise ValueError("freeze_epochs reaches the last epoch: leave it out to freeze for good")
        if self.freeze == "backbone" and self.lr_factor.backbone != 1 and self.freeze_epochs is None:
            raise ValueError("a backbone that is frozen for good has no learning rate: leave lr_factor.backbone out")
        if self.image_label_after and not self.image_label_share:
            raise ValueError("image_label_after says when: give image_label_share too, or leave image_label_after out")
        if self.image_label_after and self.epochs and self.image_label_after >= self.epochs:
            raise ValueError("image_label_after reaches the last epoch: no image label would ever be seen")
        if self.image_label_share and self.batch_size < 2:
            raise ValueError("image_label_share needs batches of 2 or more: one image with boxes, one with a label")
        if self.deterministic and self.minutes:
            raise ValueError("a run by the clock never repeats: with deterministic give epochs instead of minutes")
        return self

    @property
    def keeps_best(self) -> bool:
        return self.keep == "best" or self.patience is not None


class AugmentConfig(_Part):
    """Random changes of training images. Numbers called `..._probability` are shares of the images that get the change.

    Attributes:
        recipe: "ssd" (SSD paper, sections 2.2 and 3.6) or "yolo" (YOLOv1 paper, section 2.2, and Darknet).
        flip_probability, vertical_flip_probability: mirror left-right, top-bottom.

        Of recipe "ssd":
        zoom_out_probability, zoom_out_max: put the image on a grey canvas of up to so many times its sides; 4 times
            the sides are the paper's 16 times the area.
        iou_crop_probability: of the crop: the whole image, any part, or one with an IoU of at least .1, .3, .5, .7
            or .9 with an object. iou_crop_min_scale: its smallest side as a share of the image's.
        photometric_probability: of each of brightness, contrast, saturation and hue, with the strengths that follow.
        channel_shuffle: permute R, G and B with the same probability.

        Of recipe "yolo":
        jitter: each edge of the image moves in or out by up to this share of its side; what was outside is grey.
        hsv_hue: the hue turns by up to this share of the circle, both ways.
        hsv_saturation, hsv_exposure: saturation and value are multiplied or divided by up to this.
        mosaic_probability: of four pictures around a random point in place of one (YOLOv4 paper, section 3.3).
        visible_min: objects of which a cut leaves a smaller share of the area are dropped.

        multi_scale: smallest and largest side of the network input in training, as shares of the input's own sides
            (YOLOv2 paper, section 2: 320 to 608 px for an input of 416 is [0.77, 1.47]); null for one size. The
            detector that is saved has the input's own size.
        multi_scale_every, multi_scale_step_px: batches until another size is drawn, and between two sizes.
    """

    recipe: Literal["ssd", "yolo"] = "ssd"
    flip_probability: Share = 0.5
    vertical_flip_probability: Share = 0.0
    zoom_out_probability: Share = 0.5
    zoom_out_max: Annotated[float, Field(ge=1, le=8)] = 4.0
    iou_crop_probability: Share = 1.0
    iou_crop_min_scale: Annotated[float, Field(gt=0, le=1)] = 0.3
    photometric_probability: Share = 0.5
    brightness: Share = 0.125
    contrast: Share = 0.5
    saturation: Share = 0.5
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    channel_shuffle: bool = False
    jitter: Annotated[float, Field(ge=0, lt=0.5)] = 0.2
    hsv_hue: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    hsv_saturation: Annotated[float, Field(ge=1)] = 1.5
    hsv_exposure: Annotated[float, Field(ge=1)] = 1.5
    mosaic_probability: Share = 0.0
    visible_min: Share = 0.1
    multi_scale: tuple[PositiveFloat, PositiveFloat] | None = None
    multi_scale_every: PositiveInt = 10
    multi_scale_step_px: PositiveInt = 32

    @pydantic.model_validator(mode="after")
    def _of_its_recipe(self) -> AugmentConfig:
        for recipe, names in RECIPE_FIELDS.items():
            strange = sorted(self.model_fields_set & names) if recipe != self.recipe else []
            if strange:
                raise ValueError(
                    f"recipe {self.recipe} has no {strange[0]}, which belongs to recipe {recipe}: leave it out"
                )
        if self.multi_scale and not self.multi_scale[0] <= 1 <= self.multi_scale[1]:
            raise ValueError("multi_scale is a smallest share of at most 1 and a largest of at least 1")
        return self


# What only one recipe of augmentation reads.
RECIPE_FIELDS = {
    "ssd": frozenset(
        {
            "zoom_out_probability", "zoom_out_max", "iou_crop_probability", "iou_crop_min_scale",
            "photometric_probability", "brightness", "contrast", "saturation", "hue", "channel_shuffle",
        }
    ),
    "yolo": frozenset({"jitter", "hsv_hue", "hsv_saturation", "hsv_exposure", "mosaic_probability", "visible_min"}),
}  # fmt: skip


class Config(_Part):
    """Everything about a training run but the data and the folder it writes to.

    Attributes:
        classes: the tree of classes, as nested names or the path of a YAML file of them (edgedet.class_tree); null for
            the data set's own classes, which are no tree. Every label of the data set must be one of its classes.
    """

    name: Annotated[str, Field(min_length=1)]
    network: NetworkSpec
    input: InputSpec
    priors: Priors
    coding: CodingSpec
    nms: NmsSpec = NmsSpec()
    classes: Any = None
    loss: LossConfig = LossConfig()
    training: TrainingConfig
    augment: AugmentConfig = AugmentConfig()

    @property
    def tree(self) -> ClassTree | None:
        """`classes`, where it is given."""
        return None if self.classes is None else tree_of(self.classes, f"{self.name}: classes")

    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of all fields that change what a run computes."""
        value = self.model_dump(mode="json")
        for name in ("workers", "cache_mb", "eval_every", "val_split", "keep", "patience", "min_delta"):
            del value["training"][name]
        value["training"]["keep"] = self.training.keeps_best  # a run that kept the last epochs has lost its best one
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
