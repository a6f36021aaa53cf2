"""Measures files against their budgets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from edgedet.benchmarks.budget import Check, Limits, judge, limits_for
from edgedet.benchmarks.devices import Device
from edgedet.benchmarks.map_loss import map_loss
from edgedet.benchmarks.request import Request
from edgedet.data import Dataset
from edgedet.errors import DataError, EdgedetError, ModelFileError, NotRunError
from edgedet.evaluation import EvalResult, evaluate
from edgedet.export.artifact import file_digest
from edgedet.formats import format_of, load


@runtime_checkable
class Delegating(Protocol):
    """A runner whose runtime hands parts of the file to a delegate."""

    def operators_outside_delegate(self) -> tuple[str, ...]: ...


@dataclass
class Bench:
    """What checks need beside the file.

    Attributes:
        device, request: for "p90_ms".
        against, dataset: the model.pt and the images for "map_loss"; None where they were not given.
    """

    device: Device
    request: Request
    against: Path | None = None
    dataset: Dataset | None = None
    _reference: EvalResult | None = None

    def reference(self) -> EvalResult:
        """Accuracy of the model.pt, measured once.

        Raises:
            NotRunError: model.pt or data were not given.
        """
        if self.against is None or self.dataset is None:
            raise NotRunError("the model.pt or the data set were not given", "Give --against and --data.")
        if self._reference is None:
            self._reference = evaluate(load(self.against), self.dataset)
        return self._reference


def check_files(files: Sequence[Path], budgets: Sequence[Limits], bench: Bench) -> list[Check]:
    """One check for each limit of each file. What cannot be measured reads "not run", with the reason.

    Raises:
        ConfigError: no budget is for a file.
        DataError: an image cannot be read.
    """
    wanted = [(file, limits_for(file, budgets)) for file in files]
    checks = []
    for file, limits in wanted:
        for name, limit in limits:
            checks.append(_check(file, name, limit, bench))
    return checks


def _check(file: Path, name: str, limit: float, bench: Bench) -> Check:
    try:
        format_of(file)
        if not file.exists():
            raise ModelFileError(f"{file}: there is no such file", "Check the path, or run `edgedet export`.")
        return _CHECKS[name](file, limit, bench)
    except DataError:
        raise
    except EdgedetError as error:
        return Check(str(file), name, limit, "not run", reason=str(error))


def _bytes(file: Path, limit: float, bench: Bench) -> Check:
    return judge(str(file), "bytes", limit, file_digest(file)[1])


def _p90_ms(file: Path, limit: float, bench: Bench) -> Check:
    """A disturbed measurement is slower than the file, so it can keep a budget, but not break it."""
    latency = bench.device.measure(file, bench.request)
    p90_ms, interval = latency.steady.p90_ms, latency.steady.intervals_ms.get("p90")
    if p90_ms is None or interval is None:
        runs = len(latency.steady.samples_ms)
        return Check(str(file), "p90_ms", limit, "undecided", p90_ms, reason=f"{runs} runs are too few: --seconds")
    check = judge(str(file), "p90_ms", limit, p90_ms, interval)
    disturbed = "; ".join(sign.meaning for sign in latency.noise if sign.exceeded)
    if not latency.is_device_latency:
        return replace(check, status="undecided", reason="the reference runtime's time is no device latency")
    return replace(
        check, status="undecided" if check.status == "fail" and disturbed else check.status, reason=disturbed
    )


def _map_loss(file: Path, limit: float, bench: Bench) -> Check:
    reference = bench.reference()
    loss = map_loss(reference, evaluate(load(file), reference.dataset))
    return judge(str(file), "map_loss", limit, loss.value, loss.interval)


def _operators_outside(file: Path, limit: float, bench: Bench) -> Check:
    runner = load(file, bench.request.threads)
    if not isinstance(runner, Delegating):
        raise NotRunError(f"{runner.runtime} has no delegates", "Leave operators_outside out for this file.")
    names = runner.operators_outside_delegate()
    return judge(str(file), "operators_outside", limit, len(names), reason=", ".join(names))


_CHECKS: dict[str, Callable[[Path, float, Bench], Check]] = {
    "bytes": _bytes,
    "p90_ms": _p90_ms,
    "map_loss": _map_loss,
    "operators_outside": _operators_outside,
}
