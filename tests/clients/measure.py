"""Run clients on files and compare what they find with the .pt runner, or with edgedet's run of an integer file.

For the tests and docs/compatibility.md.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgedet.errors import NotRunError
from edgedet.preprocess import UInt8Image
from edgedet.runner import Runner
from edgedet.spec import DetectorSpec, InputSpec
from tests.clients.agreement import Agreement, Named, Pair, agree
from tests.clients.clients import Client
from tests.clients.environments import python_of
from tests.clients.kinds import INTEGER, Cell
from tests.clients.pictures import Pictures, write_pictures
from tests.exported_files import Exported

_NOT_RUN = 3  # exit code of tests/clients/programs/program.py
_SECONDS = 300


@dataclass(frozen=True)
class Answer:
    """What a client said about one file; `images` are its detections, None where it cannot execute here."""

    client: Client
    version: str
    accepted: bool
    error: str
    note: str
    images: list[dict[str, Any]] | None


def ask(client: Client, files: Sequence[Path], pictures: Pictures, spec: InputSpec) -> list[Answer]:
    """Run a client once over files of one input size; a crash is an answer for the file it fell over and those after.

    Raises:
        NotRunError: the environment is not built, or the library does not load here.
    """
    command = [python_of(client), client.program, *files, "--images", *pictures.paths()]
    command += ["--mean", str(spec.mean), "--std", str(spec.std)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
        output, end = done.stdout, f"exit code {done.returncode}: {done.stderr.strip()[-400:]}"
        if done.returncode == _NOT_RUN:
            raise NotRunError(f"{client.title}: {json.loads(output)['not_run']}", "Install what it names.")
    except subprocess.TimeoutExpired as late:
        output, end = (late.stdout or b"").decode(), f"no answer within {_SECONDS} s"
    answers = [_answer(client, json.loads(line)) for line in output.splitlines()]
    return answers + [Answer(client, "", False, end, "", None)] * (len(files) - len(answers))


def _answer(client: Client, line: dict[str, Any]) -> Answer:
    return Answer(client, line["version"], line["accepted"], line["error"], line["note"], line["detections"])


@dataclass(frozen=True)
class Result:
    """One cell of the table.

    Attributes:
        answer: of the client.
        as_taken, magnified: agreement on the two sets of pictures; None when the client does not accept the file.
        as_taken_loose: the same with an IoU of 0.5, for a client whose pixels are its own.
        executed_by: the client, or edgedet's runtime where the client cannot execute the file on this system.
    """

    answer: Answer
    as_taken: Agreement | None = None
    magnified: Agreement | None = None
    as_taken_loose: Agreement | None = None
    executed_by: str = ""


Results = dict[str, Result] | NotRunError  # of one client, by the id of the cell


@dataclass
class Laboratory:
    """Runs each client once over all its files, when the first of them is asked for.

    Attributes:
        export: a cell to its exported file.
        photographs: see tests/clients/pictures.py.
        folder: for pictures.
        wanted: what may be asked for.
        keep: the results of a client of that name: those that another process kept, or what the function gives.
    """

    export: Callable[[Cell], Exported]
    photographs: list[UInt8Image]
    folder: Path
    wanted: list[Cell]
    keep: Callable[[str, Callable[[], Results]], Results] = lambda _, run: run()
    _results: dict[str, Results] = field(default_factory=dict)
    _references: dict[tuple[Path, DetectorSpec], list[Named]] = field(default_factory=dict)

    def result(self, cell: Cell) -> Result:
        """What the cell's client made of its file.

        Raises:
            NotRunError: the client cannot run here.
        """
        name = cell.client.name
        if name not in self._results:
            self._results[name] = self.keep(name, lambda: self._run_client(cell.client))
        found = self._results[name]
        if isinstance(found, NotRunError):
            raise found
        return found[cell.id]

    def _run_client(self, client: Client) -> Results:
        try:
            python_of(client)
            return self._run([cell for cell in self.wanted if cell.client is client])
        except NotRunError as error:
            return error

    def _run(self, wanted: list[Cell]) -> dict[str, Result]:
        results = {}
        by_input: dict[InputSpec, list[tuple[Cell, Exported]]] = {}
        for cell in wanted:
            file = self.export(cell)
            by_input.setdefault(file.reference().spec.input, []).append((cell, file))
        for image, group in by_input.items():
            pictures = write_pictures(self.photographs, image, self.folder / f"{image.width}x{image.height}")
            answers = ask(group[0][0].client, [file.artifact.path for _, file in group], pictures, image)
            for (cell, file), answer in zip(group, answers, strict=True):
                results[cell.id] = self._result(cell, file, answer, pictures)
        return results

    def _result(self, cell: Cell, file: Exported, answer: Answer, pictures: Pictures) -> Result:
        if not answer.accepted:
            return Result(answer)
        if answer.images is None:
            runner = file.runner()
            found, by = _run_here(runner, pictures), runner.runtime
        else:
            found, by = named(answer.images, pictures), f"{cell.client.title} {answer.version}"
        rounding_px = cell.client.rounding_px
        pairs = [p.with_edges(cell.kind.edges_count) for p in self._pairs(file, found, pictures)]
        taken, magnified = pairs[: len(pictures.as_taken)], pairs[len(pictures.as_taken) :]
        return Result(
            answer,
            agree(taken, rounding_px, cell.limits_as_taken.iou_min),
            agree(magnified, rounding_px, cell.limits.iou_min),
            agree(taken, rounding_px, iou_min=0.5),
            by,
        )

    def _pairs(self, file: Exported, found: list[Named], pictures: Pictures) -> list[Pair]:
        runner = file.runner()
        spec = runner.spec  # its suppression is the file's: MediaPipe's own in the layout for its GPU
        integer = runner.precision in INTEGER
        key = (file.artifact.path if integer else file.model, spec)
        if key not in self._references:
            self._references[key] = _run_here(runner if integer else file.reference().with_nms(spec.nms), pictures)
        known = self._references[key]
        size = spec.input
        return [
            Pair(one, other, (image.shape[1] / size.width, image.shape[0] / size.height))
            for one, other, image in zip(known, found, pictures.images(), strict=True)
        ]


def _run_here(runner: Runner, pictures: Pictures) -> list[Named]:
    return [Named.of_runner(runner(image), runner.spec) for image in pictures.images()]


def named(entries: list[dict[str, Any]], pictures: Pictures) -> list[Named]:
    images = pictures.images()
    return [Named.of_client(entry, i.shape[1], i.shape[0]) for entry, i in zip(entries, images, strict=True)]
