"""The training methods that edgedet.benchmarks.methods compares: what each changes in a bundled configuration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """One row.

    Attributes:
        name: of its folder, and for --only.
        title: what the table says.
        changes: fields of the configuration that are set otherwise, as for `edgedet train --set`.
        pretrained: whether the backbone starts from the weights that --init names.
        config: a bundled configuration.
    """

    name: str
    title: str
    changes: tuple[str, ...] = ()
    pretrained: bool = True
    config: str = "bccd_methods"


def _yolo(score: str) -> tuple[str, ...]:
    """The same network and anchors with YOLO's coding, so that only the method differs."""
    return ("coding.kind=yolo", f"coding.score={score}", "coding.variances=[1, 1, 1, 1]")


# YOLOv1 knows no pyramid and no anchors: two boxes in each cell of one grid, as shares of the picture. Its own network
# has 272 million parameters; Tiny-YOLOv2's has a grid too. Nothing pretrained fits it, so it takes more passes.
_V1 = (
    "network.head=yolov2_tiny", 'priors={"kind": "anchors", "anchors_wh_px": [[[416, 416], [416, 416]]]}',
    "coding.kind=yolo_v1", "coding.score=linear_obj_times_cls", "coding.variances=[1, 1, 1, 1]",
    'loss={"box_weight": 5, "no_object_weight": 0.5}', "training.epochs=40",
)  # fmt: skip
_FOCAL = ("coding.score=sigmoid", "loss.smooth_l1_beta=0.1111")
_V3, _V2 = _yolo("obj_times_cls"), (*_yolo("obj_times_softmax"), "loss.object_weight=5")
_RECIPE = '"recipe": "yolo", "jitter": 0.1, "vertical_flip_probability": 0.5'
_MOSAIC = f'augment={{{_RECIPE}, "mosaic_probability": 0.5}}'
_PYRAMID = 'priors={"kind": "pyramid", "num_levels": 3, "smallest_px": 24}'
_FOUR_OF_TWO = ("training.batch_size=2", "training.accumulate=4")
_TREE = ('classes={"cell": ["RBC", "WBC"], "Platelets": null}', "coding.score=softmax_tree")
_STILL = tuple(f"augment.{name}_probability=0" for name in ("zoom_out", "iou_crop", "photometric"))

METHODS = (
    Method("ssd", "SSD: its matching, softmax with hard negative mining, smooth L1"),
    Method("ssd-giou", "GIoU box loss", ("loss.box=giou", "loss.box_weight=2")),
    Method("ssd-ciou", "CIoU box loss", ("loss.box=ciou", "loss.box_weight=2")),
    Method("retinanet", "RetinaNet: matching with an ignore band, focal loss", (*_FOCAL, "loss.iou_match=0.5")),
    Method("focal-ssd", "focal loss with SSD's matching", (*_FOCAL, "loss.matching=ssd")),
    Method("yolov3", "YOLOv3: cell of the centre, binary cross-entropy", _V3),
    Method("yolov3-giou", "YOLOv3 with GIoU", (*_V3, "loss.box=giou", "loss.box_weight=2")),
    Method("yolov3-ciou", "YOLOv3 with CIoU", (*_V3, "loss.box=ciou", "loss.box_weight=2")),
    Method(
        "yolov3-iou-objectness",
        "YOLOv3 with CIoU, objectness learns the IoU",
        (*_V3, "loss.box=ciou", "loss.box_weight=2", "loss.iou_objectness=1"),
    ),
    Method("yolov2", "YOLOv2: sum-squared errors, softmax classes", _V2),
    Method(
        "yolov1",
        "YOLOv1: 13 x 13 cells of two boxes, sum-squared errors (40 passes from random weights)",
        _V1,
        pretrained=False,
        config="bccd_tiny_yolov3",
    ),
    Method("fit", "anchors by k-means over all boxes", ('priors={"kind": "fit", "anchors_per_level": [3, 3, 3]}',)),
    Method("pyramid", "RetinaNet's nine anchors a cell", (_PYRAMID,)),
    Method("plain", "no augmentation but mirroring", _STILL),
    Method("yolo-recipe", "YOLO's augmentation: jitter, HSV, mirroring", (f"augment={{{_RECIPE}}}",)),
    Method("mosaic", "YOLO's augmentation, half of the pictures mosaics", (_MOSAIC,)),
    Method("multi-scale", "multi-scale, 256 to 384 px, every 10 batches", ("augment.multi_scale=[0.8, 1.2]",)),
    Method("scratch", "backbone from random weights", pretrained=False),
    Method("frozen", "frozen backbone", ("training.freeze=backbone",)),
    Method("slow-backbone", "backbone at a tenth of the learning rate", ("training.lr_factor.backbone=0.1",)),
    Method("frozen-norm", "backbone's batch norm statistics frozen", ("training.batch_norm=frozen",)),
    Method("accumulate", "batches of 2, gradients of four together", _FOUR_OF_TWO),
    Method("no-average", "without the average of the weights (EMA)", ("training.ema_decay=0",)),
    Method("float32", "fp32 instead of bf16", ('training.precision="32"',)),
    Method("tree", "classes as a tree (WordTree), a softmax for siblings", _TREE),
)  # fmt: skip
