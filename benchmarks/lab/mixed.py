"""Mixed precision of one model for one format: the search, and what its result is worth on other images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from edgedet.benchmarks.lab.search_layers import Budget, Candidate, Outcome, Trial, search
from edgedet.benchmarks.lab.simulated import LayerCost, Simulated
from edgedet.benchmarks.lab.store import Store
from edgedet.benchmarks.latency import Latency
from edgedet.benchmarks.report_devices import typical_ms
from edgedet.benchmarks.request import Request
from edgedet.data import Dataset
from edgedet.errors import ConfigError
from edgedet.export.artifact import Artifact
from edgedet.export.options import ExportOptions
from edgedet.export.precisions import PRECISIONS
from edgedet.formats import format_by_name
from edgedet.progress import progress_bar

SCHEMA = 1
FLOAT, INT8 = "fp32", "int8"
Objective = Literal["latency", "size"]
OBJECTIVES: tuple[Objective, ...] = ("latency", "size")
_FLOAT_BYTES_MORE = 3  # a number of a weight takes four bytes in float and one in int8


@dataclass(frozen=True)
class Judged:
    """One file on the images that the search did not see; `latency` where it was timed."""

    artifact: Artifact
    search_ap: float
    test_ap: float
    latency: Latency | None = None


@dataclass(frozen=True)
class Mixed:
    """Result.

    Attributes:
        outcome: of the search; its `best` is the file `mixed`.
        files: by name: "float", "uniform int8", "mixed".
        simulated: AP of the float network and of all in int8, in simulation, on the images of the search.
    """

    format: str
    objective: Objective
    max_ap_loss: float
    seed: int
    outcome: Outcome
    files: dict[str, Judged]
    simulated: tuple[float, float] | None

    @property
    def float_layers(self) -> tuple[str, ...]:
        return self.outcome.best.float_layers if self.outcome.best else ()

    def test_loss(self, name: str) -> float:
        return self.files["float"].test_ap - self.files[name].test_ap


def check(format: str, objective: str, max_ap_loss: float, minutes: float) -> Objective:
    """Refuse what cannot be searched before anything is read.

    Raises:
        ConfigError: naming the option.
    """
    wanted = next((name for name in OBJECTIVES if name == objective), None)
    if wanted is None:
        raise ConfigError(f"--objective {objective}: there is no such", f"Choose from {', '.join(OBJECTIVES)}.")
    if not 0 <= max_ap_loss < 1:
        raise ConfigError(f"--max-ap-loss {max_ap_loss:g} is no loss of AP", "Give a number from 0 to 1, like 0.005.")
    if not minutes > 0:
        raise ConfigError(f"--minutes {minutes:g} leaves no time", "Give a positive number.")
    if INT8 not in format_by_name(format).precisions or not PRECISIONS[INT8].mixed:
        raise ConfigError(f"--format {format}: it has no int8 files with layers in float", "Choose another format.")
    return wanted


def find_mixed(
    store: Store, test: Dataset, format: str, objective: Objective, max_ap_loss: float, budget: Budget,
    request: Request | None, method: str = "minmax", tell: Callable[[str], None] = lambda line: None,
) -> Mixed:  # fmt: skip
    """Search on the store's data set, and judge the result on `test`.

    Args:
        store: its data set steers the search; its photographs calibrate.
        test: other images, on which the result is reported.
        budget: of the search. The float and the uniform int8 file are made whatever it is, and judging comes after it.
        request: of the latencies of the three files; None times nothing.

    Raises:
        EdgedetError: the float or the int8 file cannot be made.
    """
    tell("float file: export and accuracy")
    float_file = store.artifact(format, ExportOptions(precision=FLOAT))
    float_ap = store.accuracy(float_file.path, float_file.file_sha256).metrics["coco_ap"]

    @cache
    def real_ap(layers: tuple[str, ...]) -> float:
        tell(f"real file with {len(layers)} float layers ({max(0.0, budget.left):.0f} s left)")
        made = store.artifact(format, _options(layers, method))
        found = store.accuracy(made.path, made.file_sha256).metrics["coco_ap"]
        tell(f"  AP {found:.4f}, float {float_ap:.4f}")
        return found

    outcome, simulated = _search(store, method, objective, float_ap - max_ap_loss, max_ap_loss, real_ap, budget, tell)
    sets = {"uniform int8": (), "mixed": outcome.best.float_layers if outcome.best else ()}
    made = {"float": float_file} | {name: store.artifact(format, _options(s, method)) for name, s in sets.items()}
    files = {name: _judged(store, test, artifact, request, tell, name) for name, artifact in made.items()}
    seed = store.photographs.seed if store.photographs else 0
    return Mixed(format, objective, max_ap_loss, seed, outcome, files, simulated)


def _search(
    store: Store, method: str, objective: Objective, real_target: float, max_ap_loss: float,
    real_ap: Callable[[tuple[str, ...]], float], budget: Budget, tell: Callable[[str], None],
) -> tuple[Outcome, tuple[float, float] | None]:  # fmt: skip
    """The uniform file first: where it is good enough, nothing needs to be simulated."""
    uniform = Trial((), 0.0, real_ap(()), real=True)
    if uniform.ap >= real_target:
        return Outcome(uniform, True, True, (uniform,)), None
    if budget.left <= 0:
        return Outcome(uniform, False, False, (uniform,)), None
    from edgedet.model_file import load_model

    simulated = Simulated(store.model, store.calibration(load_model(store.model)[1].input, method), store.dataset)
    names = simulated.layer_names
    with progress_bar() as bar:
        task = bar.add_task("screen layers", total=len(names))
        errors = simulated.screen(lambda: bar.advance(task))
    costs = simulated.costs()
    candidates = [
        Candidate(name, 10 ** (-error.heads_sqnr_db / 10), _cost(costs[name], objective))
        for name, error in zip(names, errors, strict=True)
    ]
    both = simulated.ap([]), simulated.ap(None)
    tell(f"simulated: float {both[0]:.4f}, all int8 {both[1]:.4f}")

    def simulated_ap(layers: tuple[str, ...]) -> float:
        kept = set(layers)
        found = simulated.ap([name for name in names if name not in kept])
        tell(f"simulated with {len(layers)} float layers: AP {found:.4f} ({max(0.0, budget.left):.0f} s left)")
        return found

    outcome = search(candidates, simulated_ap, real_ap, both[0] - max_ap_loss, real_target, budget)
    return (outcome if outcome.best else replace(outcome, best=uniform)), both


def _cost(cost: LayerCost, objective: Objective) -> float:
    """What a float layer costs more: bytes, or multiply-adds, which stand for milliseconds and are always the same."""
    return float(_FLOAT_BYTES_MORE * cost.weights if objective == "size" else cost.macs)


def _options(layers: tuple[str, ...], method: str) -> ExportOptions:
    return ExportOptions(precision=INT8, float_layers=layers, calibration_method=method)


def _judged(
    store: Store, test: Dataset, artifact: Artifact, request: Request | None, tell: Callable[[str], None], name: str
) -> Judged:
    tell(f"{name}: accuracy on {test.split}" + (", latency" if request else ""))
    path, sha256 = artifact.path, artifact.file_sha256
    latency = store.latency(path, sha256, request, 0) if request else None
    search_ap = store.accuracy(path, sha256).metrics["coco_ap"]
    return Judged(artifact, search_ap, store.accuracy(path, sha256, test).metrics["coco_ap"], latency)


def mixed_json(mixed: Mixed, store: Store, test: Dataset, out: Path) -> dict[str, Any]:
    """`edgedet export --float-layers` takes this file as it is."""
    files = {
        name: {
            "file": judged.artifact.path.relative_to(out).as_posix(),
            "sha256": judged.artifact.file_sha256,
            "size_bytes": judged.artifact.size_bytes,
            "search_ap": judged.search_ap,
            "test_ap": judged.test_ap,
            "p50_ms": typical_ms(judged.latency) if judged.latency else None,
        }
        for name, judged in mixed.files.items()
    }
    outcome = mixed.outcome
    return {
        "schema": SCHEMA,
        "float_layers": list(mixed.float_layers),
        "model": str(store.model),
        "model_sha256": store.model_sha256(),
        "format": mixed.format,
        "objective": mixed.objective,
        "max_ap_loss": mixed.max_ap_loss,
        "met": outcome.met,
        "complete": outcome.complete,
        "seed": mixed.seed,
        "search_split": {
            "dataset": store.dataset.root.name,
            "split": store.dataset.split,
            "images": len(store.dataset),
        },
        "test_split": {"dataset": test.root.name, "split": test.split, "images": len(test)},
        "simulated_ap": dict(zip(("float", "int8"), mixed.simulated, strict=True)) if mixed.simulated else None,
        "files": files,
        "trials": [{**vars(trial), "float_layers": list(trial.float_layers)} for trial in outcome.trials],
    }
