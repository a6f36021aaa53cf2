"""Artifact: what is known about one exported file, and the `<file>.export.json` beside it."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import edgedet
from edgedet.errors import ModelFileError
from edgedet.export.calibrate import CalibrationRecord
from edgedet.export.parity_report import ParityReport
from edgedet.files import file_digest as file_digest
from edgedet.formats import Format

SCHEMA = 1
SUFFIX = ".export.json"


@dataclass(frozen=True)
class Artifact:
    """One exported file or folder.

    Attributes:
        path: of the file; in the JSON only its name, because the two travel together.
        options: the ExportOptions it was exported with.
        spec_digest, weights_sha256: what was exported.
        file_sha256: digest of the bytes (`file_digest`), size_bytes: of all of them.
        tool_versions: of the libraries that took part.
        notes: what the app that runs the file must know or do.
        parity: how the reloaded file compared with the model.
        calibration: as in the file's card; the JSON leaves it out where nothing was calibrated.
    """

    path: Path
    format: str
    precision: str
    options: dict[str, Any]
    spec_digest: str
    weights_sha256: str
    file_sha256: str
    size_bytes: int
    tool_versions: dict[str, str]
    notes: tuple[str, ...]
    parity: ParityReport
    calibration: CalibrationRecord | None = None

    def to_json(self) -> dict[str, Any]:
        plain = {key: value for key, value in vars(self).items() if key not in ("path", "parity", "calibration")}
        if self.calibration:
            plain["calibration"] = asdict(self.calibration)
        return {
            "schema": SCHEMA,
            "file": self.path.name,
            **plain,
            "notes": list(self.notes),
            "parity": self.parity.to_json(),
        }

    @staticmethod
    def read(path: Path) -> Artifact:
        """Read the JSON beside an exported file.

        Args:
            path: of the exported file.

        Raises:
            ModelFileError: there is none, or it is damaged.
        """
        beside = json_path(path)
        remedy = "Export the model again."
        try:
            value = json.loads(beside.read_text(encoding="utf-8"))
            parity = ParityReport.from_json(value["parity"])
            calibration = CalibrationRecord(**value["calibration"]) if "calibration" in value else None
            plain = {k: v for k, v in value.items() if k not in ("schema", "file", "parity", "notes", "calibration")}
            return Artifact(path=path, parity=parity, notes=tuple(value["notes"]), calibration=calibration, **plain)
        except OSError as error:
            raise ModelFileError(f"{beside}: cannot be read ({error.strerror})", remedy) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ModelFileError(f"{beside}: is damaged ({error})", remedy) from error


def json_path(path: Path) -> Path:
    """Where the JSON of an exported file lies."""
    return path.with_name(path.name + SUFFIX)


def tool_versions(row: Format) -> dict[str, str]:
    """Versions of edgedet, torch and the libraries that the format's optional dependency group names."""
    names = ["torch", "numpy"]
    for requirement in metadata.requires("edgedet") or []:
        name, _, marker = requirement.partition(";")
        if row.extra and re.search(rf"""extra == ['"]{re.escape(row.extra)}['"]""", marker):
            names.append(re.match(r"[\w.-]+", name.strip()).group())  # type: ignore[union-attr]
    return {"edgedet": edgedet.__version__} | {name: metadata.version(name) for name in names}
