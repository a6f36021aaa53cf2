"""The server of the page: a fixed list of files behind a token, and few addresses that take results."""

from __future__ import annotations

import hmac
import queue
import secrets
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MAX_POST_BYTES = 32_000_000  # an hour of runs of 2 ms each
_TIMEOUT_S = 60.0  # of one silent connection
_TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".mjs": "text/javascript; charset=utf-8",
    ".js": "text/javascript; charset=utf-8", ".wasm": "application/wasm", ".json": "application/json",
    ".jpg": "image/jpeg",
}  # fmt: skip
_HEADERS = {
    # Isolation, which WebAssembly's threads and fine clocks need.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Nothing from any other address; the runtimes make code and workers of their own.
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval' blob:; "
        "worker-src 'self' blob:; connect-src 'self' blob: data:; img-src 'self' data:; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


Reader = Callable[[bytes], Any]


@dataclass(frozen=True)
class PageServer:
    """A running server.

    Attributes:
        url: of the page, with the token.
        posted: what has come in, in order, as the readers made it.
    """

    url: str
    posted: queue.Queue[Any]


@contextmanager
def page_server(
    files: Mapping[str, Path | bytes],
    readers: Mapping[str, Reader],
    address: str,
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> Iterator[PageServer]:
    """Serve the files until the block ends.

    Args:
        files: what may be fetched, by path below the token; "" is the page itself.
        readers: what may be posted, by path below the token; raises ValueError at a body that it does not take.
        address: to listen on, and the host in the URL.
        port: 0 for any free one.
        tls: makes it https.

    Raises:
        OSError: the address cannot be listened on.
    """
    token = secrets.token_urlsafe(16)
    posted: queue.Queue[Any] = queue.Queue()

    class Handler(_Handler):
        pass

    Handler.token, Handler.files, Handler.readers, Handler.posted = token, files, readers, posted
    Handler.turn = threading.Lock()
    server = _Server((address, port), Handler)
    server.tls = tls
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield PageServer(f"{'https' if tls else 'http'}://{address}:{server.server_port}/{token}/", posted)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    tls: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        """The handshake happens in the connection's own thread, so that a silent client holds up nobody."""
        request.settimeout(_TIMEOUT_S)
        if self.tls is None:
            super().finish_request(request, client_address)
            return
        with self.tls.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up, or does not trust the certificate yet, harms nobody: a post is whole or refused."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server_version, sys_version = "edgedet", ""
    protocol_version = "HTTP/1.1"
    token: str
    files: Mapping[str, Path | bytes]
    readers: Mapping[str, Reader]
    posted: queue.Queue[Any]
    turn: threading.Lock

    def do_GET(self) -> None:
        name = self._name()
        if name is None:
            return
        if name not in self.files:  # a fixed list: there is no path to climb
            self._answer(HTTPStatus.NOT_FOUND)
            return
        source = self.files[name]
        body = source if isinstance(source, bytes) else source.read_bytes()
        self._answer(HTTPStatus.OK, body, _TYPES.get(Path(name or "page.html").suffix, "application/octet-stream"))

    def do_POST(self) -> None:
        name = self._name()
        if name is None:
            return
        if name not in self.readers:
            self._answer(HTTPStatus.NOT_FOUND)
            return
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()):
            self._answer(HTTPStatus.LENGTH_REQUIRED)
        elif len(length) > 15 or int(length) > MAX_POST_BYTES:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            self._take(name, self.rfile.read(int(length)), int(length))

    def _take(self, name: str, body: bytes, length: int) -> None:
        try:
            value = self.readers[name](body) if len(body) == length else None
        except ValueError:
            value = None
        if value is None:
            self._answer(HTTPStatus.BAD_REQUEST)
            return
        with self.turn:  # whoever has its answer may post again at once: that must not come in first
            try:
                self._answer(HTTPStatus.NO_CONTENT)  # before the value, because the last one ends the server
            finally:
                self.posted.put(value)

    def _name(self) -> str | None:
        """What is asked for below the token; None, and refused, where the token is wrong."""
        _, token, name = ([*self.path.partition("?")[0].split("/", 2), "", ""])[:3]
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            self._answer(HTTPStatus.FORBIDDEN)
            return None
        return name

    def _answer(self, status: HTTPStatus, body: bytes | None = None, kind: str = "text/plain; charset=utf-8") -> None:
        if status >= HTTPStatus.BAD_REQUEST:
            body = status.phrase.encode()
            self.close_connection = True  # what else the client sends is not read
        self.send_response(status)
        for header, value in _HEADERS.items():
            self.send_header(header, value)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body or b"")))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """The terminal shows the address and the bar."""
