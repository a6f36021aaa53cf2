"""The training methods that edgedet.benchmarks.methods compares: what each changes in a bundled configuration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """One row.

    Attributes:
        name: of its folder, and for --only.
        title: what the table says.
        config: a bundled configuration.
        changes: fields of it that are set otherwise, as for `edgedet train --set`.
        pretrained: whether the backbone starts from the weights that --init names.
    """

    name: str
    title: str
    config: str
    changes: tuple[str, ...] = ()
    pretrained: bool = True


_SSD, _YOLO = "bccd_ssdlite", "bccd_tiny_yolov3"

METHODS = (
    Method("ssd", "SSD matching, hard negative mining, smooth L1", _SSD),
    Method("scratch", "the same from random weights", _SSD, pretrained=False),
    Method("yolov3", "YOLO matching, binary cross-entropy (v3)", _YOLO, pretrained=False),
)
