"""File kinds: what `edgedet export` writes, and which clients must take each. A kind that no row names fails a test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from edgedet.export.precisions import PRECISIONS
from edgedet.export.tflite_notes import GPU_PRECISIONS
from edgedet.formats import format_by_name
from tests.clients.agreement import LIMITS, OTHER_ROUNDING, Limits
from tests.clients.clients import CLIENTS, Client
from tests.small_models import SPECS

_EVERY_MODEL = tuple(SPECS)
_ONE_OF_EACH_HEAD = ("ssdlite_mobilenet_v2", "yolov3_tiny")  # variants change what stands around the network, not it
_ONE = _ONE_OF_EACH_HEAD[:1]
_LATER_TARGETS = ("iOS16", "iOS17", "iOS18")  # the same graph with another version number


@dataclass(frozen=True)
class Kind:
    """One row.

    Attributes:
        format: row of edgedet.formats.
        options: ExportOptions that differ from the default.
        clients: which must accept it; empty means every client of the format.
        models: rows of SPECS that are tried.
        precisions: that are offered; empty means every precision of the format.
        edges_count: False where the client moves boxes that begin outside the image, left or above, back inside with
            their whole size: MediaPipe does, and where it decodes by itself nothing in the file can cut them before.
    """

    format: str
    options: dict[str, str] = field(default_factory=dict)
    clients: tuple[str, ...] = ()
    models: tuple[str, ...] = _EVERY_MODEL
    precisions: tuple[str, ...] = ()
    edges_count: bool = True

    @property
    def title(self) -> str:
        return " ".join((self.format, *self.options.values()))

    def takers(self) -> list[Client]:
        return [c for c in CLIENTS.values() if c.format == self.format and c.name in (self.clients or CLIENTS)]

    def all_precisions(self) -> tuple[str, ...]:
        return self.precisions or format_by_name(self.format).precisions


KINDS = (
    Kind("tflite"),
    Kind("tflite", {"tflite_input": "uint8"}, models=_ONE_OF_EACH_HEAD),
    Kind(
        "tflite",
        {"tflite_layout": "mediapipe-gpu"},
        clients=("mediapipe",),
        models=_ONE_OF_EACH_HEAD,
        precisions=GPU_PRECISIONS,
        edges_count=False,
    ),
    Kind("onnx"),
    Kind("onnx", {"onnx_input": "uint8-hwc"}, models=_ONE_OF_EACH_HEAD),
    Kind("coreml"),
    Kind("coreml", {"coreml_target": "iOS14"}, models=_ONE_OF_EACH_HEAD, precisions=("fp32",)),
    *(Kind("coreml", {"coreml_target": target}, models=_ONE, precisions=("fp16",)) for target in _LATER_TARGETS),
    *(Kind("coreml", {"coreml_nms": how}, models=_ONE, precisions=("fp32", "fp16")) for how in ("op", "none")),
)
# What an integer file asks of a library does not depend on what stands around the layers.
INTEGER = tuple(row.name for row in PRECISIONS.values() if row.mixed)
_OWN_WAY = ("tflite", "tflite mediapipe-gpu", "onnx", "coreml")


@dataclass(frozen=True)
class Cell:
    """One file and one client that must take it."""

    client: Client
    kind: Kind
    model: str
    precision: str

    @property
    def id(self) -> str:
        return "-".join((self.client.name, self.kind.title.replace(" ", "."), self.model, self.precision))

    @property
    def limits(self) -> Limits:
        """What must agree on pictures that reach the network as the same pixels."""
        return OTHER_ROUNDING if self.precision in self.client.other_kernels else LIMITS[self.precision]

    @property
    def limits_as_taken(self) -> Limits:
        """What must agree after the client's arithmetic of pixels: its last bit may round an integer elsewhere."""
        return OTHER_ROUNDING if PRECISIONS[self.precision].needs_calibration else self.limits


def cells() -> Iterator[Cell]:
    """Every client x kind x small model x precision."""
    for kind in KINDS:
        yield from _of_kind(kind, kind.models)


def trained_cells(names: Iterable[str]) -> Iterator[Cell]:
    """The same for trained networks, and kinds that decode or suppress in a way of their own."""
    for kind in KINDS:
        if kind.title in _OWN_WAY:
            yield from _of_kind(kind, tuple(names))


def _of_kind(kind: Kind, models: tuple[str, ...]) -> Iterator[Cell]:
    for client in kind.takers():
        for precision in kind.all_precisions():
            for model in models_of(precision, models):
                yield Cell(client, kind, model, precision)


def models_of(precision: str, models: tuple[str, ...] = _EVERY_MODEL) -> tuple[str, ...]:
    """Rows of SPECS that are tried in a precision."""
    few = precision in INTEGER and models is _EVERY_MODEL
    return _ONE_OF_EACH_HEAD if few else models
