"""Generated web pages in headless Chromium: served on localhost, results posted back to the server."""

from __future__ import annotations

import functools
import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from filelock import FileLock

from edgedet.benchmarks.devices.browser_packages import install
from edgedet.errors import NotRunError

PACKAGES = Path(__file__).resolve().parents[2] / "build" / "npm"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SECONDS = 180


def browser() -> str:
    """Chromium's path.

    Raises:
        NotRunError: there is none.
    """
    for name in _NAMES:
        if path := shutil.which(name):
            return path
    raise NotRunError("Chromium is not installed", "Install it, on Debian with: apt-get install chromium")


def node_modules() -> Path:
    """The folder with the packages that pages import, installed by npm once per version.

    Raises:
        NotRunError: npm is missing or could not install them.
    """
    PACKAGES.mkdir(parents=True, exist_ok=True)
    with FileLock(PACKAGES / ".lock"):
        return install(PACKAGES) / "node_modules"


class _Handler(SimpleHTTPRequestHandler):
    """Files of one folder, with the headers that WebAssembly threads need; a POST hands its JSON to the test."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript", ".wasm": "application/wasm"}

    def __init__(self, *args: Any, posted: queue.Queue[Any], **kwargs: Any) -> None:
        self.posted = posted
        super().__init__(*args, **kwargs)

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        super().end_headers()

    def do_POST(self) -> None:
        self.posted.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """A test's output is no place for an access log."""


def run_page(root: Path, page: str) -> Any:
    """Open a page below `root` and wait for the JSON that it posts.

    Args:
        root: the folder that is served.
        page: path below it.

    Raises:
        NotRunError: there is no browser.
        TimeoutError: the page posted nothing.
    """
    posted: queue.Queue[Any] = queue.Queue()
    handler = functools.partial(_Handler, directory=str(root), posted=posted)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        url = f"http://127.0.0.1:{server.server_port}/{page}"
        command = [browser(), *flags, f"--user-data-dir={profile}", url]
        running = _start(command)
        try:
            return posted.get(timeout=_SECONDS)
        except queue.Empty as error:
            raise TimeoutError(f"{page} posted nothing within {_SECONDS} s") from error
        finally:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            server.shutdown()
            server.server_close()


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """In a process group of its own, which ends as a whole."""
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
