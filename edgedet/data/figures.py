"""One way to make and save a diagram."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edgedet.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_DPI = 100


@contextmanager
def save_figure(path: Path, title: str, size_inches: tuple[float, float]) -> Iterator[Figure]:
    """A figure to draw on, saved as PNG when the block ends well."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size_inches, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    yield figure
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI)


def whole_numbers(axis: Axis) -> None:
    """Ticks at whole numbers only, for counts."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))
