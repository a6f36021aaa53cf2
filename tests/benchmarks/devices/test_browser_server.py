"""What the page's server gives away and takes: nothing without the token, nothing that is not on its list."""

from __future__ import annotations

import http.client
import json
import queue
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from edgedet.benchmarks.devices.browser import _certificate
from edgedet.benchmarks.devices.browser_answers import READERS, Browser, Measured
from edgedet.benchmarks.devices.browser_server import MAX_POST_BYTES, PageServer, page_server

BROWSER = {
    "session": "1", "user_agent": "test", "model": "", "platform": "Linux", "cores": 2, "memory_gib": 8,
    "secure": True, "isolated": True, "clock_step_ms": 0.005, "webgpu": {"there": False, "text": "none"},
}  # fmt: skip


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer]:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "a.mjs").write_text("// script")
    files: dict[str, Path | bytes] = {"": b"<!doctype html>", "a.mjs": tmp_path / "a.mjs", "model/x.bin": b"\x00\x01"}
    with page_server(files, READERS, "127.0.0.1") as running:
        yield running


def ask(
    server: PageServer, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """`path` is below the token, unless it begins with a slash; it is sent as it is."""
    where = urlsplit(server.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
    try:
        connection.request(method, path if path.startswith("/") else where.path + path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def test_files_of_the_list_are_served_isolated_and_from_nowhere_else(server: PageServer) -> None:
    status, body, headers = ask(server, "GET", "?job=1")
    assert (status, body) == (200, b"<!doctype html>")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert ask(server, "GET", "a.mjs")[2]["Content-Type"] == "text/javascript; charset=utf-8"
    assert ask(server, "GET", "model/x.bin")[:2] == (200, b"\x00\x01")


@pytest.mark.parametrize("path", ["/", "/wrong/", "/wrong/a.mjs", "//a.mjs", "/../a.mjs", "/%00/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_the_token_nothing_is_reached(server: PageServer, method: str, path: str) -> None:
    body = json.dumps(BROWSER).encode() if method == "POST" else None
    assert ask(server, method, path, body)[0] == 403
    with pytest.raises(queue.Empty):
        server.posted.get_nowait()


def test_every_run_has_another_token(server: PageServer) -> None:
    with page_server({}, {}, "127.0.0.1") as other:
        assert urlsplit(other.url).path != urlsplit(server.url).path
        assert len(urlsplit(other.url).path) > 20


@pytest.mark.parametrize(
    "path", ["nothing", "secret.txt", "../secret.txt", "%2e%2e/secret.txt", "model/../a.mjs", "model", "..", "./a.mjs"]
)
def test_what_is_not_on_the_list_does_not_exist(server: PageServer, path: str) -> None:
    status, body, _ = ask(server, "GET", path)
    assert (status, body) == (404, b"Not Found")
    assert ask(server, "POST", path, b"{}")[0] == 404


def test_a_post_that_is_too_large_is_refused_before_it_is_read(server: PageServer) -> None:
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as client:
        head = f"POST {where.path}result HTTP/1.1\r\nHost: x\r\nContent-Length: {MAX_POST_BYTES + 1}\r\n\r\n"
        client.sendall(head.encode())
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")
    with socket.create_connection((where.hostname, where.port), timeout=10) as client:
        client.sendall(f"POST {where.path}result HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 411 ")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"[]", b"null", b"{}", b"[" * 100_000, json.dumps({**BROWSER, "cores": -1}).encode(),
     json.dumps({**BROWSER, "more": 1}).encode(), json.dumps(BROWSER)[:-1].encode()],
)  # fmt: skip
def test_malformed_posts_are_refused_and_nothing_is_lost(server: PageServer, body: bytes) -> None:
    good = json.dumps(BROWSER).encode()
    assert ask(server, "POST", "browser", good)[0] == 204
    assert ask(server, "POST", "browser", body)[0] == 400
    assert ask(server, "POST", "browser", json.dumps({**BROWSER, "session": "2"}).encode())[0] == 204
    taken = [server.posted.get(timeout=10) for _ in range(2)]
    assert [isinstance(one, Browser) and one.session for one in taken] == ["1", "2"]
    assert server.posted.empty()


def test_what_is_posted_first_comes_in_first(server: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has an answer posts again at once, and the second connection's thread must not overtake the first's."""
    put = server.posted.put
    monkeypatch.setattr(server.posted, "put", lambda one: (time.sleep(0.2 if one.session == "1" else 0), put(one)))
    for session in ("1", "2"):
        assert ask(server, "POST", "browser", json.dumps({**BROWSER, "session": session}).encode())[0] == 204
    assert [server.posted.get(timeout=10).session for _ in range(2)] == ["1", "2"]


def test_results_are_read_strictly() -> None:
    found = {"boxes_xyxy_unit": [[0.1, 0.2, 0.3, 0.4]], "scores": [0.5], "class_ids": [1]}
    result = {
        "session": "1", "job": 0, "status": "measured", "runtime": "r", "provider": "p", "threads": 1, "load_ms": 1.5,
        "first_ms": 2.5, "starts_s": [0.0, 0.1], "runs_ms": [3.0, 4.0], "detections": [found], "notes": {},
    }  # fmt: skip
    read = READERS["result"](json.dumps(result).encode())
    assert isinstance(read, Measured)
    assert read.runs_ms == [3.0, 4.0]
    detections = read.detections[0].detections()
    assert (detections.boxes_xyxy_unit.shape, detections.class_ids.tolist()) == ((1, 4), [1])
    wrong: list[dict[str, object]] = [
        {"runs_ms": []}, {"runs_ms": [1.0]}, {"runs_ms": [1.0, -1.0]}, {"runs_ms": [1.0, None]}, {"threads": 0},
        {"detections": [{**found, "scores": []}]}, {"detections": [{**found, "scores": [None]}]}, {"status": "good"},
    ]  # fmt: skip
    for change in wrong:
        with pytest.raises(ValueError, match="validation error"):
            READERS["result"](json.dumps({**result, **change}).encode())


def test_a_body_that_ends_early_is_not_a_post(server: PageServer) -> None:
    where = urlsplit(server.url)
    good = json.dumps(BROWSER).encode()
    with socket.create_connection((where.hostname, where.port), timeout=10) as client:
        head = f"POST {where.path}browser HTTP/1.1\r\nHost: x\r\nContent-Length: {len(good) + 5}\r\n\r\n"
        client.sendall(head.encode() + good)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")
    assert server.posted.empty()


def test_over_https_with_a_certificate_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("trustme", reason="not run: trustme is not installed")
    with page_server({"": b"page"}, READERS, "127.0.0.1", tls=_certificate("127.0.0.1")) as running:
        where = urlsplit(running.url)
        assert where.scheme == "https"
        with socket.create_connection((where.hostname, where.port), timeout=10):  # says nothing: holds up nobody
            trusting = ssl.create_default_context()
            trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
            secured = http.client.HTTPSConnection(where.hostname or "", where.port, timeout=10, context=trusting)
            secured.request("GET", where.path)
            assert secured.getresponse().read() == b"page"
            secured.close()
            doubting = http.client.HTTPSConnection(where.hostname or "", where.port, timeout=10)
            with pytest.raises(ssl.SSLCertVerificationError):
                doubting.request("GET", where.path)
            doubting.close()
