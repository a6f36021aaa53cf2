"""One network in every runtime, side by side in one run: torchvision's ways to run it, and edgedet's files.

    python -m edgedet.benchmarks.peers [--threads 1 --threads 2] [--rounds 200] [--out FOLDER]

The network is torchvision's ssdlite320_mobilenet_v3_large (see edgedet.benchmarks.onnx_vs_torchvision). Each runtime
is a process of its own, pinned to as many cores as threads are asked for, and stopped by a signal while it is not its
turn. In a round each runs once on the same picture, after a run that is not recorded, in an order drawn by lot. A ratio
is the Hodges-Lehmann estimate over rounds of the logarithms of times in the same round, with its 95 % interval.

OpenVINO and ExecuTorch are installed into environments of their own, under build/peers, which see this one's packages.
"""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from edgedet.benchmarks.environment import LoadWatch, read_environment
from edgedet.benchmarks.pausing import pause, wake
from edgedet.benchmarks.peers_files import PEERS, REFERENCE, Peer, environment_python, write_files
from edgedet.benchmarks.sequential import hodges_lehmann
from edgedet.benchmarks.stats import summarise
from edgedet.errors import EdgedetError, NotRunError
from edgedet.files import atomic_path, write_json
from edgedet.progress import track

SCHEMA = 1
AIM, MOST_SLOWER = 0.55, 1.05
_ERROR = 0.05
_UNRECORDED = 1
_LIMIT_SECONDS = 900.0  # torch.compile takes minutes
_SCORES_DIFFER = 1e-4
_SHARED = 0.9  # of the detections, at least


class Side:
    """A peer that is loaded, in a process that is stopped until its turn.

    Raises:
        NotRunError: its environment cannot be made, or the runtime refuses the file.
    """

    def __init__(self, peer: Peer, files: Path, environments: Path, threads: int, cores: Sequence[int]) -> None:
        self.peer = peer
        python = environment_python(peer.environment, environments)
        ours, theirs = socket.socketpair()
        script = Path(__file__).with_name("peers_side.py")
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the side
        self._process = subprocess.Popen(
            [str(python), str(script), str(theirs.fileno()), json.dumps(list(cores))],
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )  # fmt: skip
        theirs.close()
        ours.settimeout(_LIMIT_SECONDS)
        self._socket, self._lines = ours, ours.makefile("r", encoding="utf-8")
        asked = {"kind": peer.kind, "path": str(files / peer.file), "threads": threads}
        try:
            answer = self._ask({**asked, "pixels": str(files / "pixels.npy")})
            pause(self._process.pid)
        except BaseException:
            self.close()
            raise
        self.runtime: str = answer["runtime"]
        self.scores: list[list[float]] = answer["scores"]

    def run(self, picture: int) -> float:
        """Milliseconds of one run."""
        wake(self._process.pid)
        answer = self._ask({"picture": picture, "unrecorded": _UNRECORDED})
        pause(self._process.pid)
        return float(answer["ms"])

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._lines.close()
        self._socket.close()
        self._log.close()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        try:
            self._socket.sendall(json.dumps(question).encode() + b"\n")
            line = self._lines.readline()
        except (TimeoutError, OSError) as error:
            raise NotRunError(f"gave no answer ({error})", "Run it alone.") from error
        answer = json.loads(line) if line else {"error": f"its process ended{self._said()}"}
        if "error" in answer:
            raise NotRunError(" ".join(str(answer["error"]).split())[:300], "Run it alone.")
        return dict(answer)

    def _said(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""


@dataclass(frozen=True)
class Ratio:
    """A time over another: estimate and 95 % interval."""

    ratio: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.ratio:.3f} ({self.low:.3f} to {self.high:.3f})"


def take_turns(sides: Sequence[Any], rounds: int, seed: int) -> dict[str, list[float]]:
    """Milliseconds of each side in each round, the order within a round drawn by lot."""
    rng = np.random.default_rng(seed)
    times: dict[str, list[float]] = {side.peer.name: [] for side in sides}
    for number in track(range(rounds), "rounds", total=rounds):
        for index in rng.permutation(len(sides)):
            side = sides[index]
            times[side.peer.name].append(side.run(number))
    return times


def ratio(above_ms: Sequence[float], below_ms: Sequence[float]) -> Ratio:
    """Time over time, from neighbours in the same round."""
    found = hodges_lehmann(np.log(above_ms) - np.log(below_ms), _ERROR)
    return Ratio(*(math.exp(value) for value in found))


def shared_detections(scores: Sequence[Sequence[float]], reference: Sequence[Sequence[float]]) -> float:
    """The share of detections, over all pictures, that have one of the same score in the other list.

    torchvision cuts boxes to the image before suppression and edgedet after it, so that a few differ at the edges.
    """
    found = 0
    for one, other in zip(scores, reference, strict=True):
        left = sorted(other)
        for score in sorted(one):
            nearest = min(left, key=lambda value: abs(value - score), default=math.inf)
            if abs(nearest - score) <= _SCORES_DIFFER:
                left.remove(nearest)
                found += 1
    return found / max(sum(map(len, scores)), sum(map(len, reference)), 1)


def measure(files: Path, environments: Path, threads: int, rounds: int, seed: int = 0) -> dict[str, Any]:
    """All peers with so many threads, as one entry of the JSON's `runs`."""
    cores = _cores(threads)
    sides, missing = [], {}
    watch = LoadWatch()
    try:
        for peer in track(PEERS, "load", total=len(PEERS)):
            try:
                sides.append(Side(peer, files, environments, threads, cores))
            except NotRunError as error:
                missing[peer.name] = error.what
        times = take_turns(sides, rounds, seed)
    finally:
        for side in sides:
            side.close()
    environment = read_environment(threads, watch, cores)
    rows = [_row(side, times, _agreement(side, sides)) for side in sides]
    best = _best(rows)
    for row in rows:
        row["best_over_this"] = vars(ratio(times[best], times[row["name"]]))
        if REFERENCE in times:
            row["this_over_reference"] = vars(ratio(times[row["name"]], times[REFERENCE]))
    return {
        "threads": threads, "cores": list(cores), "rounds": rounds, "seed": seed, "best": best,
        "load_average": environment.load_average_1m, "peers": rows, "not_run": missing,
    }  # fmt: skip


def _best(rows: Sequence[dict[str, Any]]) -> str:
    """The fastest of edgedet's files in the runtime that edgedet runs it with."""
    own = {peer.name for peer in PEERS if peer.ours and not peer.environment}
    return str(min((row for row in rows if row["name"] in own), key=lambda row: row["p50_ms"])["name"])


def _agreement(side: Side, sides: Sequence[Side]) -> float | None:
    """Shared with the torchvision model itself; its export with other thresholds finds other boxes."""
    models = [one for one in sides if one.peer.kind == "torch"]
    if not models or side.peer.name == REFERENCE:
        return None
    return shared_detections(side.scores, models[0].scores)


def _row(side: Side, times: dict[str, list[float]], shared: float | None) -> dict[str, Any]:
    summary = summarise(times[side.peer.name])
    return {
        "name": side.peer.name, "ours": side.peer.ours, "runtime": side.runtime,
        "detections": [len(scores) for scores in side.scores], "shared_detections": shared,
        "p50_ms": summary.p50_ms, "p90_ms": summary.p90_ms, "samples_ms": list(summary.samples_ms),
    }  # fmt: skip


def _cores(threads: int) -> tuple[int, ...]:
    """The last cores that this process may use; the first one has the most interrupts."""
    if not hasattr(os, "sched_getaffinity"):
        return ()
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < threads:
        raise NotRunError(f"{threads} threads need as many cores; there are {len(usable)}", "Ask for fewer threads.")
    return tuple(usable[-threads:])


def markdown(run: dict[str, Any]) -> str:
    """The table of one number of threads."""
    title = f"{run['threads']} thread(s), {run['rounds']} rounds; the best of edgedet: {run['best']}"
    lines = [
        title,
        "",
        f"| runtime | p50 ms | p90 ms | this / {REFERENCE} | edgedet's best / this |",
        "|---|---|---|---|---|",
    ]
    for row in sorted(run["peers"], key=lambda row: row["p50_ms"]):
        reference = Ratio(**row["this_over_reference"]) if "this_over_reference" in row else ""
        best = "" if row["name"] == run["best"] else Ratio(**row["best_over_this"])
        lines.append(f"| {row['name']} | {row['p50_ms']:.2f} | {row['p90_ms']:.2f} | {reference} | {best} |")
    lines += [f"| {name} | not run: {reason} | | | |" for name, reason in run["not_run"].items()]
    return "\n".join(lines) + "\n"


def verdicts(run: dict[str, Any]) -> list[str]:
    """What the aims say: the best file against torchvision's export, and against each other peer."""
    said = []
    for row in run["peers"]:
        if row["ours"]:
            continue
        found = Ratio(**row["best_over_this"])
        most = AIM if row["name"] == REFERENCE else MOST_SLOWER
        kept = "kept" if found.high <= most else "missed" if found.low > most else "undecided"
        said.append(f"{run['threads']} thread(s), against {row['name']}: {found}, at most {most:g}: {kept}")
    wrong = [row["name"] for row in run["peers"] if (row["shared_detections"] or 1) < _SHARED]
    return said + [f"{run['threads']} thread(s): {name} finds other objects than torchvision" for name in wrong]


def main(
    threads: Annotated[list[int] | None, typer.Option(min=1, help="May be given again. Default: 1 and 2.")] = None,
    rounds: Annotated[int, typer.Option(min=20, help="Recorded runs of each.")] = 200,
    out: Annotated[Path, typer.Option(help="Folder for peers.json, peers.md and the files.")] = Path("build/peers/out"),
    environments: Annotated[Path, typer.Option(help="Where OpenVINO and ExecuTorch go.")] = Path("build/peers"),
) -> None:
    """Time one network in every runtime, in turns."""
    from rich.console import Console

    out.mkdir(parents=True, exist_ok=True)
    write_files(out)
    runs = [measure(out, environments, number, rounds) for number in threads or (1, 2)]
    write_json(out / "peers.json", {"schema": SCHEMA, "reference": REFERENCE, "runs": runs})
    text = "\n".join(markdown(run) for run in runs)
    with atomic_path(out / "peers.md") as path:
        path.write_text(text, encoding="utf-8")
    console = Console(soft_wrap=True)
    for line in (text, *(line for run in runs for line in verdicts(run))):
        console.print(line, highlight=False, markup=False)


if __name__ == "__main__":
    try:
        typer.run(main)
    except EdgedetError as error:
        raise SystemExit(f"error: {error}") from error
