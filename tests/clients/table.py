"""Write docs/compatibility.md: every client on every kind of file, network and precision.

    python -m tests.clients.table --out docs/compatibility.md [--model runs/a/model.pt ...] [--work build/files]

With EDGEDET_DATA the pictures are photographs. The sections about trained networks and about resizing need --model,
networks that were trained on BCCD; the first of them is the one for resizing.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgedet.errors import NotRunError
from edgedet.export.artifact import Artifact, json_path
from edgedet.export.calibrate import CalibrationReader
from edgedet.export.options import ExportOptions
from edgedet.export.pipeline import artifact_name, export_model
from edgedet.export.precisions import PRECISIONS
from edgedet.files import write_text
from edgedet.formats import format_by_name
from edgedet.model_file import save_model
from edgedet.progress import track
from edgedet.torch_runner import open_runner
from tests.clients.clients import CLIENTS
from tests.clients.environments import required
from tests.clients.kinds import KINDS, Cell, Kind, cells, trained_cells
from tests.clients.measure import Laboratory, Result
from tests.clients.pictures import shared_photographs, trained_calibration, trained_photographs
from tests.clients.resize import resize_table
from tests.exported_files import Exported, calibration_pictures
from tests.lowered_once import lowered_once
from tests.small_models import SPECS, small_model

_TITLES = [kind.title for kind in KINDS]
_TEXT = Path(__file__).with_name("compatibility_text.md")

Results = dict[str, Result | NotRunError]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path, nargs="+", default=[], help="trained on BCCD; the first for resizing too")
    parser.add_argument("--networks", nargs="*", choices=SPECS, default=list(SPECS), help="rows of SPECS; default: all")
    parser.add_argument("--kinds", nargs="+", choices=_TITLES, default=_TITLES, help="formats with their options")
    parser.add_argument("--work", type=Path, help="keep the exported files here, and use those that are here already")
    options = parser.parse_args()
    wanted = [cell for cell in cells() if cell.model in options.networks and cell.kind.title in options.kinds]
    given = {open_runner(path).spec.name: path for path in options.model}
    trained = list(trained_cells(given))
    with tempfile.TemporaryDirectory() as scratch, lowered_once(Path(scratch) / "lowered"):
        folder = options.work or Path(scratch)
        export = _Exporter(folder, given)
        results = _measure(Laboratory(export, shared_photographs(), folder / "pictures", wanted))
        if trained:
            results |= _measure(Laboratory(export, trained_photographs(), folder / "pictures_trained", trained))
    sections = [_TEXT.read_text(encoding="utf-8").rstrip(), "", "## Summary", "", "The worst of all networks.", ""]
    sections += [*_summary(wanted, results), "", *_details("## Each file and client", wanted, results)]
    if trained:
        sections += ["", *_details("## Trained networks", trained, results)]
        sections += ["", "## Kernels of the clients that resize", "", *resize_table(options.model[0])]
    write_text(options.out, "\n".join(sections) + "\n")
    bad = [cell.id for cell in [*wanted, *trained] if not _holds(cell, results[cell.id])]
    for line in bad:
        print(f"not as it should be: {line}")
    return int(bool(bad))


class _Exporter:
    """A cell to its file; each is exported once.

    Args:
        folder: for model.pt files and exports.
        given: trained networks by their name; the others are small ones.
    """

    def __init__(self, folder: Path, given: dict[str, Path]) -> None:
        self.folder, self.given = folder, given
        self.made: dict[tuple[str, str, str], Exported] = {}

    def __call__(self, cell: Cell) -> Exported:
        key = (cell.kind.title, cell.model, cell.precision)
        if key not in self.made:
            row = format_by_name(cell.kind.format)
            model = self.folder / f"{cell.model}.pt"
            if cell.model in self.given:
                self.folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.given[cell.model], model)
            elif not model.exists():
                save_model(model, small_model(SPECS[cell.model]), SPECS[cell.model])
            out, options = self.folder / cell.precision, ExportOptions(precision=cell.precision, **cell.kind.options)
            path = out / artifact_name(model, row, options)
            if not json_path(path).exists():
                seen = self._calibration(cell) if PRECISIONS[cell.precision].needs_calibration else None
                export_model(model, [row.name], out, precision=cell.precision, options=options, calibration=seen)
            self.made[key] = Exported(Artifact.read(path), model)
        return self.made[key]

    def _calibration(self, cell: Cell) -> CalibrationReader:
        return trained_calibration if cell.model in self.given else calibration_pictures


def _measure(laboratory: Laboratory) -> Results:
    wanted = laboratory.wanted
    return {cell.id: _ask(laboratory, cell) for cell in track(wanted, "clients", len(wanted))}


def _ask(laboratory: Laboratory, cell: Cell) -> Result | NotRunError:
    try:
        return laboratory.result(cell)
    except NotRunError as error:
        return error


def _holds(cell: Cell, result: Result | NotRunError) -> bool:
    if isinstance(result, NotRunError):
        return not required()
    return bool(result.magnified and result.magnified.holds(cell.limits))


def _summary(wanted: list[Cell], results: Results) -> list[str]:
    lines = [
        "| file kind | client | precision | accepted | matched | box px | score |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, client, precision in _groups():
        group = [c for c in wanted if (c.kind, c.client.name, c.precision) == (kind, client, precision)]
        if not group:
            continue
        found = [results[cell.id] for cell in group]
        ran = [one for one in found if isinstance(one, Result)]
        agreed = [one.magnified for one in ran if one.magnified]
        title = f"{CLIENTS[client].title} {ran[0].answer.version if ran else ''}".strip()
        accepted = f"{sum(one.answer.accepted for one in ran)} of {len(group)}" if ran else "not run"
        worst = (
            f"{min(a.share for a in agreed):.1%} | {max(a.corner_error_px for a in agreed):.2f} | "
            f"{max(a.score_error for a in agreed):.5f}"
            if agreed
            else "- | - | -"
        )
        lines.append(f"| {kind.title} | {title} | {precision} | {accepted} | {worst} |")
    return lines


def _groups() -> Iterator[tuple[Kind, str, str]]:
    for kind in KINDS:
        for client in kind.takers():
            for precision in kind.all_precisions():
                yield kind, client.name, precision


def _details(title: str, wanted: list[Cell], results: Results) -> list[str]:
    lines = [title, ""]
    head = "| network | precision | client | accepted | matched | box px | score | as taken: matched | IoU .5 | score |"
    for kind in {cell.kind.title: cell.kind for cell in wanted}.values():
        lines += [f"### {kind.title}", "", head, "|---" * 10 + "|"]
        lines += [_row(cell, results[cell.id]) for cell in wanted if cell.kind is kind]
        lines.append("")
    return lines[:-1]


def _row(cell: Cell, result: Result | NotRunError) -> str:
    start = f"| {cell.model} | {cell.precision} | {cell.client.title} "
    if isinstance(result, NotRunError):
        return start + "| not run | | | | | | |"
    exact, taken, loose = result.magnified, result.as_taken, result.as_taken_loose
    if not exact or not taken or not loose:
        return start + f"| no: {result.answer.error[:120]} | | | | | | |"
    accepted = "yes" if not result.answer.note else "yes (executed by edgedet)"
    missed = "" if exact.holds(cell.limits) else ", missed"
    return (
        f"{start}| {accepted} | {exact.share:.1%} of {exact.counted}{missed} | {exact.corner_error_px:.2f} | "
        f"{exact.score_error:.5f} | {taken.share:.1%} | {loose.share:.1%} | {taken.score_error:.3f} |"
    )


if __name__ == "__main__":
    sys.exit(main())
