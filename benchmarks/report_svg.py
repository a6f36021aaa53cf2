"""Figures of matplotlib as SVG inside the page, in the page's text colour: readable on light and on dark."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from edgedet.evaluation.plots import to_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#010203"  # stands for the page's text colour and is replaced by `currentColor`
PAPER = "#fdfefd"  # stands for the colour of the card that a figure lies on
GREY = "#9aa4b2"
# The palette of Okabe and Ito, which colour-blind readers can tell apart; the first is for the .pt. Their orange and
# their sky blue are a little darker, so that they show on white too.
COLOURS = (GREY, "#0072b2", "#d98c00", "#009e73", "#cc79a7", "#d55e00", "#3fa3dd")
STYLE: dict[Any, Any] = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
} | dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK)


def colour_of(number: int) -> str:
    """Colour of the file with this number, from 1."""
    return COLOURS[(number - 1) % len(COLOURS)]


def ink_on(colour: str) -> str:
    """White or near black, whichever is easier to read on a colour (luminance as WCAG 2 defines it)."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#ffffff" if luminance < 0.18 else "#10151c"


def for_page(figure: Figure) -> str:
    """An <svg> without metadata, fixed size and ids that other figures have too, in the page's colours."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", to_svg(figure), flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)  # a page in HTML needs no namespaces
    svg = re.sub(r'<g id="[A-Za-z0-9_.]+_\d+">', "<g>", svg)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    return svg.replace(INK, "currentColor").replace(PAPER, "var(--card)")
