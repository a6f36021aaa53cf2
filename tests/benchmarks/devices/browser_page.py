"""Browsers for tests: Chromium without a window, and one that only posts what it is told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.export.snippets_browser import browser

_FLAGS = ("--headless", "--no-sandbox", "--disable-dev-shm-usage", "--no-first-run", "--ignore-certificate-errors")
NO_GPU = ("--disable-gpu",)
SOFTWARE_GPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")


@contextmanager
def chromium(*flags: str) -> Iterator[Callable[[str], None]]:
    """What opens an address in a Chromium of its own; the browser ends with the block.

    Raises:
        NotRunError: there is none.
    """
    program, quiet = browser(), subprocess.DEVNULL
    running: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:

        def open_page(url: str) -> None:
            command = [program, *_FLAGS, *flags, f"--user-data-dir={profile}", url]
            running.append(subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True))

        try:
            yield open_page
        finally:
            for process in running:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


class Posting:
    """A browser that posts the given messages, in order, as soon as it is shown the address."""

    def __init__(self, *messages: tuple[str, dict[str, Any]]) -> None:
        self.messages = messages
        self.statuses: list[int] = []

    def __call__(self, url: str) -> None:
        threading.Thread(target=self._post, args=(url,), daemon=True).start()

    def _post(self, url: str) -> None:
        for kind, value in self.messages:
            request = urllib.request.Request(url + kind, json.dumps(value).encode(), method="POST")
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    self.statuses.append(answer.status)
            except urllib.error.HTTPError as error:
                self.statuses.append(error.code)
