"""FileCard: what each exported file says about itself, embedded as one JSON text."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from edgedet.errors import ModelFileError, NotRunError
from edgedet.export.calibrate import CalibrationRecord
from edgedet.runner import Runner
from edgedet.spec import DetectorSpec, digest_of

KEY = "edgedet"  # name of the metadata entry that holds the card, in every format
_REMEDY = "Export the model with `edgedet export`; only its files carry the spec that running them needs."


@dataclass(frozen=True)
class FileCard:
    """The spec with the thresholds baked in, and where the file came from.

    Attributes:
        spec: of the file itself (its NMS settings are those inside the file).
        precision: a row of edgedet.export.precisions.
        weights_sha256: digest of the weights it was exported from (edgedet.model_file.weights_sha256).
        edgedet_version: of the exporter.
        calibration: on what the ranges of activations were measured; None where none were.
    """

    spec: DetectorSpec
    precision: str
    weights_sha256: str
    edgedet_version: str
    calibration: CalibrationRecord | None = None

    def to_json(self) -> str:
        """Canonical: equal cards give equal bytes."""
        value = {
            "spec": self.spec.to_dict(),
            "spec_digest": self.spec.digest(),
            "precision": self.precision,
            "weights_sha256": self.weights_sha256,
            "edgedet_version": self.edgedet_version,
        }
        if self.calibration:
            value["calibration"] = asdict(self.calibration)
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    @staticmethod
    def from_json(text: str | None, source: str) -> FileCard:
        """Parse a card and check that the spec is the one its digest was made of.

        Args:
            text: the metadata entry, None when the file has none.
            source: the file, for the error message.

        Raises:
            ModelFileError: no card (a model exported by something else), damaged, or changed after export.
        """
        if not text:
            raise ModelFileError(f"{source}: carries no edgedet spec; it was exported by something else", _REMEDY)
        try:
            value = json.loads(text)
            spec = DetectorSpec.from_json(json.dumps(value["spec"]), source)
            calibration = CalibrationRecord(**value["calibration"]) if "calibration" in value else None
            card = FileCard(spec, value["precision"], value["weights_sha256"], value["edgedet_version"], calibration)
            digest, stored_digest = value["spec_digest"], digest_of(value["spec"])
        except (ValueError, KeyError, TypeError) as error:
            raise ModelFileError(f"{source}: its edgedet card is damaged ({error})", _REMEDY) from error
        if digest != stored_digest:
            raise ModelFileError(f"{source}: its spec was changed after export (digest {digest})", _REMEDY)
        return card


class CardRunner(Runner):
    """A runner of an exported file: spec and precision are those of the card inside it, and `card` says its weights."""

    def __init__(self, path: Path, card: FileCard, format: str, runtime: str) -> None:
        super().__init__(path, card.spec, format, card.precision, runtime)
        self.card = card

    def before_nms(self) -> Callable[[Tensor], object]:
        """The same file cut before its suppression: a function of (3, height, width) uint8 network pixels.

        Raises:
            NotRunError: the runtime cannot run a part of the file.
        """
        raise NotRunError(f"{self.path}: {self.runtime} cannot run a part of this file", "Time another format.")
