"""What each training method reaches on the same data: one row of a table for each.

    python -m edgedet.benchmarks.methods --data DATA --out DIR [--init FILE] [--epochs N] [--device cuda] [--jobs N]

Every row is an `edgedet train` and an `edgedet eval` that can be repeated by hand: DIR/<row>/commands.txt has them. A
killed table continues where it stopped; rows that are done are kept.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from edgedet.benchmarks.method_rows import METHODS, Method
from edgedet.files import write_json, write_text
from edgedet.progress import progress_bar

SCHEMA = 1


@dataclass(frozen=True)
class Plan:
    """What all rows share. `init` are weights for those that start from an ImageNet backbone."""

    data: Path
    out: Path
    split: str
    test_split: str
    epochs: int
    device: str
    init: Path | None

    def commands(self, method: Method) -> tuple[list[str], list[str]]:
        """The training and the evaluation of one row, as a user would type them."""
        run = self.out / method.name
        changes = (
            f"training.train_split={self.split}", "training.val_split=", "training.minutes=null",
            f"training.epochs={self.epochs}", *method.changes,
        )  # fmt: skip
        train = ["edgedet", "train", method.config, "--data", str(self.data), "--out", str(run)]
        train += ["--device", self.device, *(word for change in changes for word in ("--set", change))]
        if method.pretrained and self.init:
            train += ["--init", str(self.init)]
        test = ["--split", self.test_split, "--json", str(run / "eval.json")]
        return train, ["edgedet", "eval", str(run / "model.pt"), "--data", str(self.data), *test]


def run_row(plan: Plan, method: Method) -> str:
    """Train and evaluate one row, unless it is done. Returns "" or what went wrong."""
    run = plan.out / method.name
    if (run / "eval.json").exists():
        return ""
    run.mkdir(parents=True, exist_ok=True)
    train, evaluate = plan.commands(method)
    write_text(run / "commands.txt", "\n".join(map(shlex.join, (train, evaluate))) + "\n")
    if (run / "checkpoint.pt").exists():
        train.append("--resume")
    with (run / "log.txt").open("ab") as log:
        for command in (train, evaluate):
            words = [sys.executable, "-m", "edgedet", *command[1:]]
            done = subprocess.run(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, check=False)
            if done.returncode:
                return f"{method.name}: `{command[1]}` ended with code {done.returncode}, see {run / 'log.txt'}"
    return ""


def run_all(plan: Plan, methods: Sequence[Method], jobs: int) -> list[str]:
    """All rows, `jobs` at a time. Returns the failures; one does not stop the others."""
    with ThreadPoolExecutor(jobs) as pool, progress_bar() as bar:
        task = bar.add_task("Training methods", total=len(methods))
        failures = []
        for future in as_completed([pool.submit(run_row, plan, method) for method in methods]):
            failures += [future.result()] if future.result() else []
            bar.update(task, advance=1)
    return failures


def results(plan: Plan, methods: Sequence[Method]) -> Iterator[tuple[Method, dict[str, float]]]:
    """The metrics of the rows that are done."""
    for method in methods:
        path = plan.out / method.name / "eval.json"
        if path.exists():
            yield method, json.loads(path.read_text(encoding="utf-8"))["metrics"]


def table(rows: Sequence[tuple[Method, dict[str, float]]]) -> str:
    """Markdown, one row a method."""
    lines = ["| method | configuration | changes | AP | AP50 | AP75 |", "|---|---|---|---|---|---|"]
    for method, metrics in rows:
        changes = " ".join(f"`{change}`" for change in method.changes) or "-"
        numbers = " | ".join(f"{metrics[name]:.3f}" for name in ("coco_ap", "coco_ap50", "coco_ap75"))
        lines.append(f"| {method.title} | `{method.config}` | {changes} | {numbers} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path, help="trained backbone for the rows that start from one")
    parser.add_argument("--split", default="trainval")
    parser.add_argument("--test-split", default="test")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--jobs", type=int, default=1, help="rows that train at the same time")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[method.name for method in METHODS])
    options = parser.parse_args(arguments)
    plan = Plan(
        options.data, options.out, options.split, options.test_split, options.epochs, options.device, options.init
    )
    methods = [method for method in METHODS if not options.only or method.name in options.only]
    failures = run_all(plan, methods, options.jobs)
    rows = list(results(plan, methods))
    write_json(options.out / "methods.json", {"schema": SCHEMA, "rows": {m.name: metrics for m, metrics in rows}})
    Console(soft_wrap=True).print(table(rows), markup=False, highlight=False)
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
