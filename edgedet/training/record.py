"""metrics.jsonl: one line an epoch; its plot; and what is printed of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgedet.errors import DataError
from edgedet.files import atomic_path, write_text
from edgedet.progress import console

if TYPE_CHECKING:
    from edgedet.config import TrainingConfig
    from edgedet.training.best import Best


class Record:
    """The epochs of a run so far, on disk after each one.

    Args:
        path: metrics.jsonl.
        epochs: keep this many lines of an earlier, interrupted run; 0 starts afresh.
    """

    def __init__(self, path: Path, epochs: int = 0) -> None:
        self.path = path
        self.lines: list[dict[str, Any]] = (
            [row for row in read_record(path) if row["epoch"] <= epochs] if epochs else []
        )

    def add(self, line: dict[str, Any]) -> None:
        self.lines.append(line)
        self.write()

    def write(self) -> None:
        """Replace the whole file in one step, so that a kill never leaves half a line."""
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in self.lines))


def read_record(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; empty where there is none."""
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (ValueError, OSError) as error:
        raise DataError(
            f"{path}: is not a readable record of a run ({error})", "Remove the file and resume again."
        ) from error


def plot_record(lines: list[dict[str, Any]], path: Path) -> None:
    """A picture of the loss parts and, where there was validation, of COCO AP and AP50 over the epochs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display is needed
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in lines]
    for part in lines[0]["loss_parts"] if lines else ():
        left.plot(epochs, [row["loss_parts"][part] for row in lines], label=part)
    left.plot(epochs, [row["loss"] for row in lines], "k", label="sum")
    left.set(xlabel="epoch", ylabel="loss", yscale="log")
    validated = [row for row in lines if row.get("val")]
    for metric, label in (("coco_ap50", "AP50"), ("coco_ap", "COCO AP")):
        right.plot([r["epoch"] for r in validated], [r["val"][metric] for r in validated], marker=".", label=label)
    right.set(xlabel="epoch", ylabel="validation", ylim=(0, 1))
    for axes in (left, right):
        axes.legend()
        axes.grid(alpha=0.3)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def print_end(training: TrainingConfig, best: Best) -> None:
    """Which epoch model.pt is, where that is not the last one's."""
    if not training.keeps_best or not best.epoch:
        return
    early = training.patience is not None and best.waited >= training.patience
    why = f"stopped after {best.waited} validations without a gain; " if early else ""
    text = f"{why}model.pt is epoch {best.epoch} with {training.monitor} {best.value:.3f}"
    console.print(text, markup=False, highlight=False)


def print_line(line: dict[str, object]) -> None:
    """An epoch."""
    val = line["val"]
    ap = f"  AP {val['coco_ap']:.3f}  AP50 {val['coco_ap50']:.3f}" if isinstance(val, dict) else ""
    text = f"epoch {line['epoch']:>3}  loss {line['loss']:.3f}  {line['images_per_s']:.1f} images/s{ap}"
    console.print(text, markup=False, highlight=False)
