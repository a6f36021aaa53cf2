"""The page's address in the terminal, with a QR code for a phone's camera."""

from __future__ import annotations

import io

from rich.text import Text

from edgedet.progress import console


def announce(url: str) -> None:
    """Show the address where bars are shown; the QR code where the library `segno` is installed."""
    console.print("Open this address in a browser of the same network, and keep its screen on:", highlight=False)
    console.print(url, markup=False, highlight=False, soft_wrap=True)
    if url.startswith("https:"):
        console.print("The browser warns of its certificate, which was made for this run: go on.", highlight=False)
    if code := qr_code(url):
        console.print(Text(code, style="bright_white on black"), soft_wrap=True)
    else:
        console.print("For a QR code: pip install 'edgedet\\[browser]'", highlight=False)


def qr_code(text: str) -> str:
    """In half blocks, to be printed white on black; empty without the library."""
    try:
        import segno
    except ImportError:
        return ""
    out = io.StringIO()
    segno.make(text, error="l", micro=False).terminal(out=out, border=2, compact=True)
    return out.getvalue()
