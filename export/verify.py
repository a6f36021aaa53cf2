"""Exported files against their model on a data set: parity at all depths, and the change in accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgedet.data import Dataset, load_image
from edgedet.errors import EdgedetError, ModelFileError, NotRunError
from edgedet.evaluation import EvalResult, evaluate
from edgedet.export.artifact import Artifact, file_digest, json_path
from edgedet.export.parity import accuracy_depth, compare
from edgedet.export.parity_report import ParityReport
from edgedet.export.tolerances import tolerance_of
from edgedet.formats import load
from edgedet.preprocess import UInt8Image
from edgedet.progress import track
from edgedet.runner import Runner
from edgedet.spec import NmsSpec
from edgedet.torch_runner import TorchRunner, open_runner

SCHEMA = 1


@dataclass(frozen=True)
class Verification:
    """One file.

    Attributes:
        status: that of the report; without one "error", or "not run" where something is missing on this machine.
        report: None where nothing could be compared; `reason` then says why.
    """

    path: Path
    status: str
    report: ParityReport | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        parity = self.report.to_json() if self.report else None
        return {"artifact": str(self.path), "status": self.status, "reason": self.reason or None, "parity": parity}


def verify(artifacts: Sequence[Path], model: Path, dataset: Dataset, max_images: int = 100) -> list[Verification]:
    """Compare each file with the model it should have come from.

    Args:
        artifacts: exported files.
        model: the model.pt.
        dataset: accuracy is measured on all of it.
        max_images: heads and decoded boxes are compared on this many of its images, spread evenly.

    Raises:
        EdgedetError: the model or the data set cannot be used. What is wrong with one file is in its Verification.
    """
    reference = open_runner(model)
    accuracy: dict[NmsSpec, EvalResult] = {}
    found = []
    for path in artifacts:
        try:
            runner = _open(path)
            report = compare(reference, runner, _images(dataset, max_images, path))
            report = _with_accuracy(report, reference, runner, dataset, accuracy)
        except NotRunError as error:
            found.append(Verification(path, "not run", reason=str(error)))
        except EdgedetError as error:
            found.append(Verification(path, "error", reason=str(error)))
        else:
            found.append(Verification(path, report.status, report))
    return found


def _with_accuracy(
    report: ParityReport, reference: TorchRunner, runner: Runner, dataset: Dataset, known: dict[NmsSpec, EvalResult]
) -> ParityReport:
    """The report with its last depth filled in; the model is evaluated once for each set of thresholds."""
    nms = runner.spec.nms
    if nms not in known:
        known[nms] = evaluate(reference.with_nms(nms), dataset)
    depth = accuracy_depth(known[nms], evaluate(runner, dataset), tolerance_of(runner.format, runner.precision))
    return replace(report, depths=(*report.depths[:-1], depth))


def _open(path: Path) -> Runner:
    """Load a file that `edgedet export` wrote, and that nothing has changed since."""
    runner = load(path)
    if json_path(path).exists() and Artifact.read(path).file_sha256 != file_digest(path)[0]:
        raise ModelFileError(f"{path}: was changed after export ({json_path(path).name} says so)", "Export it again.")
    return runner


def _images(dataset: Dataset, limit: int, path: Path) -> Iterator[UInt8Image]:
    """At most `limit` images, spread evenly."""
    step = max(1, -(-len(dataset) // limit))
    for sample in track(dataset.samples[::step], f"compare {path.name}"):
        yield load_image(sample.image_path)
