"""DetectorSpec: everything about pre- and post-processing, as one frozen piece of data.

Training, evaluation, every exporter and every runner read it, and nothing else encodes it. It is embedded as JSON in
each exported file. This module knows no tensor library, so that any tool can read a spec.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import pydantic

from edgedet.class_tree import ROOT, ClassTree
from edgedet.errors import ModelFileError

SCHEMA = 1

Resize = Literal["stretch", "letterbox"]
CodingKind = Literal["ssd", "yolo", "yolo_v1"]
ScoreKind = Literal[
    "softmax_bg0", "sigmoid", "obj_times_cls", "obj_times_softmax", "linear_obj_times_cls",
    "obj_times_tree", "softmax_tree",
]  # fmt: skip
LabelsPerBox = Literal["best", "all"]
TREE_SCORES = ("obj_times_tree", "softmax_tree")  # those whose classes are a tree

_STRICT = pydantic.ConfigDict(extra="forbid")


@dataclass(frozen=True)
class NetworkSpec:
    """Which network gives the raw heads; `edgedet.models.build` turns it into a module.

    Attributes:
        head: name of a row in edgedet.models.HEADS, e.g. "ssdlite" or "yolov3_tiny".
        backbone: name of a row in edgedet.models.BACKBONES; "" where the head's network brings its own.
        width: multiplier of the backbone's channels (MobileNet papers' alpha).
        reduced_tail: halve the channels of the last stage (MobileNetV3 paper, section 6.3; V3 backbones only).
        layers: the layers of head "darknet", in the words of edgedet.models.darknet; "" for every other head.
        input_shift: added to the channels of the normalised image before the first convolution: what a mean for each
            colour needs besides `InputSpec.mean` (edgedet.models.input_shift); () for nothing.
        head_width: multiplier of the pyramid's and subnets' channels, besides `width` (heads "retinanet..." only).
    """

    __pydantic_config__ = _STRICT
    head: str
    backbone: str = ""
    width: float = 1.0
    reduced_tail: bool = False
    layers: str = ""
    input_shift: tuple[float, ...] = ()
    head_width: float = 1.0


@dataclass(frozen=True)
class InputSpec:
    """The image a network sees: RGB, height x width pixels, (value - mean) / std with 8-bit values 0..255.

    One mean and one std serve all channels, because that is what every phone library can repeat; networks pretrained
    with per-channel statistics get the difference folded into their first convolution.
    """

    __pydantic_config__ = _STRICT
    height: int
    width: int
    mean: float = 127.5
    std: float = 127.5
    resize: Resize = "stretch"
    pad_value: int = 114


@dataclass(frozen=True)
class LevelSpec:
    """One feature map and its priors, as final numbers (the formulas that made them live in edgedet.levels).

    Prior (row i, column j, anchor a) is centred at ((j + centre) * stride_xy_px[0], (i + centre) * stride_xy_px[1]) and
    has size anchors_wh_px[a], in pixels of the network input.

    Attributes:
        centre: where in its cell a prior lies: 0.5 in the middle, 0 at the top left corner (torchvision's RetinaNet).
        scale_xy: width in cells of the range of a YOLO box's centre (Darknet's scale_x_y); 1 for other codings.
        clip_centres: move priors that are centred outside of the input to its border (qfgaohao's pytorch-ssd).
    """

    __pydantic_config__ = _STRICT
    stride_xy_px: tuple[float, float]
    grid_h: int
    grid_w: int
    anchors_wh_px: tuple[tuple[float, float], ...]
    centre: float = 0.5
    scale_xy: float = 1.0
    clip_centres: bool = False

    @property
    def num_priors(self) -> int:
        return self.grid_h * self.grid_w * len(self.anchors_wh_px)


@dataclass(frozen=True)
class CodingSpec:
    """How box codes and logits become boxes and scores.

    Attributes:
        kind: "ssd": codes (dx, dy, dw, dh) times `variances` are offsets relative to the prior (SSD paper, 2.2).
            "yolo": codes (tx, ty, tw, th) with sigmoid(tx), sigmoid(ty) inside the cell (YOLOv3 paper, section 2.1).
            "yolo_v1": codes (x, y, sqrt(w), sqrt(h)), centre in cells, sizes as shares of the prior (YOLOv1 paper, 2).
        variances: factors of (dx, dy, dw, dh) for "ssd"; all 1 for the others.
        log_wh_max: ceiling of the logarithm of box size over prior size; keeps exp() finite (torchvision's value).
        score: "softmax_bg0": softmax over background (column 0) and classes; "sigmoid": one sigmoid per class;
            "obj_times_cls": sigmoid(objectness, column 0) * sigmoid(class) (YOLOv3).
            "obj_times_softmax": sigmoid(objectness, column 0) * softmax over the classes (YOLOv2).
            "linear_obj_times_cls": objectness (column 0) * class, both cut to 0..1 (YOLOv1, which has no activation).
            "obj_times_tree": sigmoid(objectness, column 0) * score in a tree of classes (YOLO9000 paper, section 4).
            "softmax_tree": the same with 1 - background (column 0) of a softmax over it and the uppermost classes.
        tree_min: probability of a path down the tree of classes from which on an object is given the class at its end;
            see edgedet.decode. 0 gives every object a leaf. Only the tree scores read it.
    """

    __pydantic_config__ = _STRICT
    kind: CodingKind
    variances: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
    log_wh_max: float = math.log(1000.0 / 16)
    score: ScoreKind = "softmax_bg0"
    tree_min: float = 0.5

    @property
    def extra_logits(self) -> int:
        """Columns of the logits before the first class: background or objectness."""
        return 0 if self.score == "sigmoid" else 1


@dataclass(frozen=True)
class NmsSpec:
    """Which decoded boxes are kept. One meaning for all formats; exporters compensate for runtimes that differ.

    Attributes:
        score_min: boxes with score >= score_min (compared in float32) are candidates. An app can only raise it.
        iou_max: a box is suppressed by a better one when IoU > iou_max.
        pre_topk: at most this many candidates, the best ones, enter suppression; ties keep prior order.
        max_detections: rows of the fixed-size outputs; the best boxes over all classes.
        class_agnostic: suppress across classes instead of within each class.
        labels_per_box: "best": each prior competes with its best class only (ties: the lower class index);
            "all": with every class above score_min.
    """

    __pydantic_config__ = _STRICT
    score_min: float = 0.05
    iou_max: float = 0.5
    pre_topk: int = 1000
    max_detections: int = 100
    class_agnostic: bool = False
    labels_per_box: LabelsPerBox = "best"


@dataclass(frozen=True)
class DetectorSpec:
    """A whole detector: network, input, priors, coding, suppression and labels.

    `class_names[k]` is the label of class_id k; background is never a class. `class_parents[k]` is the class it is a
    kind of, -1 where it is of no other (edgedet.class_tree); empty where classes are no tree.
    """

    __pydantic_config__ = _STRICT
    name: str
    network: NetworkSpec
    input: InputSpec
    levels: tuple[LevelSpec, ...]
    coding: CodingSpec
    nms: NmsSpec
    class_names: tuple[str, ...]
    schema: int = SCHEMA
    class_parents: tuple[int, ...] = ()

    @property
    def tree(self) -> ClassTree:
        """The classes as a tree; without `class_parents` all are children of its root."""
        return ClassTree(self.class_names, self.class_parents or (ROOT,) * self.num_classes)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def num_logits(self) -> int:
        """K: columns of RawHeads.logits."""
        return self.num_classes + self.coding.extra_logits

    @property
    def num_priors(self) -> int:
        """N: rows of RawHeads, of the priors and of the decoded boxes."""
        return sum(level.num_priors for level in self.levels)

    def to_dict(self) -> dict[str, Any]:
        """Plain values. A field of _LATER is there only where it says something, so digests are the same as before it
        and earlier versions of edgedet read the file.
        """
        plain = asdict(self)
        for part, field, default in _LATER:
            inner = plain[part] if part else plain
            if inner[field] == default:
                del inner[field]
        return plain

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no blanks, so that equal specs give equal bytes."""
        return _canonical(self.to_dict())

    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of the canonical JSON."""
        return digest_of(self.to_dict())

    @staticmethod
    def from_json(text: str | bytes, source: str = "spec") -> DetectorSpec:
        """Parse and check a spec.

        Args:
            text: what `to_json` wrote.
            source: the file it came from, for the error message.

        Raises:
            ModelFileError: not JSON, fields missing, unknown or of the wrong type, or `problems()` not empty.
        """
        try:
            spec = _ADAPTER.validate_json(text)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the whole text"
            raise ModelFileError(
                f"{source}: the detector spec is not readable ({where}: {first['msg']})",
                "Use a file that this version of edgedet exported, or export it again.",
            ) from error
        if problems := spec.problems():
            raise ModelFileError(f"{source}: the detector spec is inconsistent ({problems[0]})", "Export it again.")
        return spec

    def problems(self) -> list[str]:
        """Everything that is wrong with this spec, in the user's words; empty when it is sound."""
        found = [*_input_problems(self.input), *_nms_problems(self.nms), *_label_problems(self.class_names)]
        if self.schema != SCHEMA:
            found.append(f"schema is {self.schema}, this edgedet reads {SCHEMA}")
        if not self.levels:
            found.append("levels is empty: the detector has no priors")
        for index, level in enumerate(self.levels):
            found += _level_problems(level, f"levels[{index}]")
        found += [*_coding_problems(self.coding, self.levels), *self._tree_problems()]
        if not self.network.width > 0:
            found.append(f"network.width must be positive, not {self.network.width}")
        if not self.network.head_width > 0:
            found.append(f"network.head_width must be positive, not {self.network.head_width}")
        shift = self.network.input_shift
        if len(shift) not in (0, 3) or not all(math.isfinite(number) for number in shift):
            found.append("network.input_shift must be three numbers, for red, green and blue, or none")
        return found

    def _tree_problems(self) -> list[str]:
        score = self.coding.score
        if (score in TREE_SCORES) != bool(self.class_parents):
            need = "needs a tree of classes" if score in TREE_SCORES else "knows no tree of classes"
            return [f"coding.score {score!r} {need}"]
        return self.tree.problems() if self.class_parents else []


# Fields that came after the first files were written: part of the spec ("" for itself), name, default.
_LATER: tuple[tuple[str, str, Any], ...] = (
    ("network", "input_shift", ()),
    ("network", "head_width", 1.0),
    ("coding", "tree_min", CodingSpec("ssd").tree_min),
    ("", "class_parents", ()),
)
_ADAPTER: pydantic.TypeAdapter[DetectorSpec] = pydantic.TypeAdapter(DetectorSpec)


def _input_problems(image: InputSpec) -> list[str]:
    found = []
    if not (8 <= image.height <= 4096 and 8 <= image.width <= 4096):
        found.append(f"input is {image.width}x{image.height}, sizes from 8 to 4096 px are possible")
    if not (image.std > 0 and math.isfinite(image.std) and math.isfinite(image.mean)):
        found.append("input.std must be a positive number and input.mean a number")
    if not 0 <= image.pad_value <= 255:
        found.append(f"input.pad_value is {image.pad_value}, an 8-bit grey value 0..255 is expected")
    return found


def _level_problems(level: LevelSpec, where: str) -> list[str]:
    numbers = [*level.stride_xy_px, *(side for anchor in level.anchors_wh_px for side in anchor)]
    if level.grid_h < 1 or level.grid_w < 1 or not level.anchors_wh_px:
        return [f"{where}: the grid and the list of anchors must not be empty"]
    if not all(math.isfinite(n) and n > 0 for n in numbers):
        return [f"{where}: strides and anchor sizes must be positive numbers"]
    if not (0 <= level.centre <= 1 and 1 <= level.scale_xy <= 2):
        return [f"{where}: centre must be from 0 to 1 and scale_xy from 1 to 2"]
    return []


def _coding_problems(coding: CodingSpec, levels: tuple[LevelSpec, ...]) -> list[str]:
    found = []
    if not all(math.isfinite(v) and v > 0 for v in (*coding.variances, coding.log_wh_max)):
        found.append("coding.variances and coding.log_wh_max must be positive numbers")
    if coding.kind != "ssd" and any(level.centre != 0.5 or level.clip_centres for level in levels):
        found.append(f"coding.kind {coding.kind!r} needs levels whose centre is 0.5, not clipped")
    if coding.kind == "ssd" and any(level.scale_xy != 1 for level in levels):
        found.append("levels have a scale_xy, which only the YOLO codings know")
    if not 0 <= coding.tree_min <= 1:
        found.append(f"coding.tree_min is {coding.tree_min}, a probability is expected")
    return found


def _nms_problems(nms: NmsSpec) -> list[str]:
    found = []
    if not 0 < nms.score_min < 1:
        found.append(f"nms.score_min is {nms.score_min}, a number between 0 and 1 is expected")
    if not 0 < nms.iou_max <= 1:
        found.append(f"nms.iou_max is {nms.iou_max}, a number above 0 and up to 1 is expected")
    if not 1 <= nms.max_detections <= nms.pre_topk:
        found.append(f"nms.max_detections ({nms.max_detections}) must be from 1 to nms.pre_topk ({nms.pre_topk})")
    return found


def _label_problems(names: tuple[str, ...]) -> list[str]:
    if not names:
        return ["class_names is empty"]
    if len(set(names)) != len(names):
        return ["class_names holds a name twice"]
    if any(not name.strip() or "\n" in name for name in names):
        return ["class_names holds an empty name or one with a line break"]
    return []


def literal_values(kind: Any) -> tuple[str, ...]:
    """The allowed words of a Literal, for help texts and matrices of tests."""
    return get_args(kind)


def spec_field_names(part: type) -> tuple[str, ...]:
    """Field names of one of the dataclasses here, for `--set` help and schema tests."""
    return tuple(f.name for f in fields(part))


def digest_of(plain: dict[str, Any]) -> str:
    """First 16 hex digits of the SHA-256 of the canonical JSON of a spec's plain form.

    A file's own plain form is what its digest must be checked with: read by a later version, the spec has fields more.
    """
    return hashlib.sha256(_canonical(plain).encode()).hexdigest()[:16]


def _canonical(plain: dict[str, Any]) -> str:
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
