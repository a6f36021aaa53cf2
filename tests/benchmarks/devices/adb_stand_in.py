"""A stand-in for a phone: the device's end of adb's wire protocol over TCP, in front of a folder of this machine.

The real adb program connects to it. Shell commands run here by /bin/sh, with the phone's paths mapped into the folder
and the phone's own programs (getprop, dumpsys, am, logcat ...) in front of the PATH. Written after the description of
the protocol in Android's sources (packages/modules/adb: protocol.txt, SYNC.TXT, shell_protocol.h). It can pull its own
plug in the midst of a copy or of a command.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_HEADER = struct.Struct("<4sIIIII")
_VERSION, _MAX_DATA = 0x01000000, 64 * 1024
_AUTH_TOKEN = 1
_STDOUT, _EXIT = 1, 3  # packets of shell protocol version 2


@dataclass
class Faults:
    """What goes wrong.

    Attributes:
        unauthorized: the phone does not trust the computer.
        no_shell_v2: an old phone, which passes no exit codes on.
        cut_push_after: pulls the plug after so many bytes of a file.
        cut_shell: pulls the plug when a command line holds this text, `cut_delay_s` after it began.
        full: writing fails as on a full disk.
        stays_away: after the plug was pulled, no connection is accepted any more.
    """

    unauthorized: bool = False
    no_shell_v2: bool = False
    cut_push_after: int | None = None
    cut_shell: str = ""
    cut_delay_s: float = 0.3
    full: bool = False
    stays_away: bool = False


@dataclass
class StandIn:
    """A listening device; `root` is its file system, `bin` its own programs. A context manager."""

    root: Path
    faults: Faults = field(default_factory=Faults)
    commands: list[str] = field(default_factory=list)

    def __enter__(self) -> StandIn:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.faults.stays_away = True
        self._close(self._listener)
        self.unplug()
        self._thread.join(timeout=5)

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    def unplug(self) -> None:
        """Cut every connection, as when the cable is pulled; what runs here goes on."""
        for connection in list(self._sockets):
            self._close(connection)

    def mapped(self, text: str) -> str:
        """A command line with the phone's paths turned into ours."""
        for place in ("/data/local/tmp", "/sys/"):
            text = text.replace(place, f"{self.root}{place}")
        return text

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self.faults.stays_away:
                connection.close()
                continue
            self._sockets.append(connection)
            threading.Thread(target=_Connection(self, connection).serve, daemon=True).start()

    @staticmethod
    def _close(connection: socket.socket) -> None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()


class _Connection:
    """One transport: many streams over one socket."""

    def __init__(self, device: StandIn, connection: socket.socket) -> None:
        self.device = device
        self.socket = connection
        self.lock = threading.Lock()
        self.streams: dict[int, _Stream] = {}

    def serve(self) -> None:
        with suppress(OSError, EOFError):
            while True:
                command, first, second, length, _, _ = _HEADER.unpack(self._exactly(_HEADER.size))
                self._handle(command, first, second, self._exactly(length))
        for stream in self.streams.values():
            stream.lost()

    def send(self, command: bytes, first: int, second: int, payload: bytes = b"") -> None:
        magic = struct.unpack("<I", command)[0] ^ 0xFFFFFFFF
        head = _HEADER.pack(command, first, second, len(payload), sum(payload) & 0xFFFFFFFF, magic)
        with self.lock:
            self.socket.sendall(head + payload)

    def _handle(self, command: bytes, first: int, second: int, payload: bytes) -> None:
        if command in (b"CNXN", b"AUTH"):
            self._greet()
        elif command == b"OPEN":
            stream = _Stream(self, len(self.streams) + 1, first)
            self.streams[stream.own] = stream
            stream.open(payload.rstrip(b"\0").decode())
        elif command == b"OKAY":
            self.streams[second].ready.set()
        elif command == b"WRTE":
            self.send(b"OKAY", second, first)
            self.streams[second].receive(payload)
        elif command == b"CLSE" and second in self.streams:
            self.streams[second].lost()

    def _greet(self) -> None:
        if self.device.faults.unauthorized:
            self.send(b"AUTH", _AUTH_TOKEN, 0, os.urandom(20))
            return
        features = "" if self.device.faults.no_shell_v2 else "shell_v2"
        banner = (
            f"device::ro.product.name=standin;ro.product.model=Stand_In;ro.product.device=standin;features={features}"
        )
        self.send(b"CNXN", _VERSION, _MAX_DATA, banner.encode())

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return data


class _Stream:
    """One service: a shell command or file transfer."""

    def __init__(self, connection: _Connection, own: int, remote: int) -> None:
        self.connection, self.device = connection, connection.device
        self.own, self.remote = own, remote
        self.ready = threading.Event()  # the other side takes one packet at a time
        self.gone = False
        self._sync: _Sync | None = None

    def open(self, service: str) -> None:
        name, _, argument = service.partition(":")
        self.connection.send(b"OKAY", self.own, self.remote)
        if name == "sync":
            self._sync = _Sync(self)
        elif name.startswith("shell"):
            self.device.commands.append(argument)
            framed = name.startswith("shell,v2")
            threading.Thread(target=self._run, args=(argument, framed), daemon=True).start()
        else:
            self.connection.send(b"CLSE", self.own, self.remote)

    def write(self, data: bytes) -> None:
        self.ready.clear()
        self.connection.send(b"WRTE", self.own, self.remote, data)
        if not self.ready.wait(timeout=10) or self.gone:
            raise EOFError

    def receive(self, data: bytes) -> None:
        if self._sync is not None:
            self._sync.feed(data)

    def lost(self) -> None:
        self.gone = True
        self.ready.set()

    def _run(self, command: str, framed: bool) -> None:
        device = self.device
        environment = {**os.environ, "PATH": f"{device.bin}:{os.environ['PATH']}", "STAND_IN": str(device.root)}
        process = subprocess.Popen(
            ["sh", "-c", device.mapped(command)], cwd=device.root, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        if device.faults.cut_shell and device.faults.cut_shell in command:
            device.faults.cut_shell = ""
            threading.Timer(device.faults.cut_delay_s, device.unplug).start()
        assert process.stdout is not None
        with suppress(OSError, EOFError):
            while part := os.read(process.stdout.fileno(), 4096):
                self.write(struct.pack("<BI", _STDOUT, len(part)) + part if framed else part)
            if framed:
                self.write(struct.pack("<BIB", _EXIT, 1, process.wait() & 0xFF))
            self.connection.send(b"CLSE", self.own, self.remote)
        process.wait()


class _Sync:
    """File transfer: STAT, SEND, RECV and QUIT of the first version of the protocol."""

    def __init__(self, stream: _Stream) -> None:
        self.stream, self.device = stream, stream.device
        self.buffer = b""
        self.path: Path | None = None
        self.content = b""
        self.refused = False

    def feed(self, data: bytes) -> None:
        self.buffer += data
        while len(self.buffer) >= 8:
            name, number = self.buffer[:4], struct.unpack("<I", self.buffer[4:8])[0]
            length = 0 if name in (b"DONE", b"QUIT") else number
            if len(self.buffer) < 8 + length:
                return
            payload, self.buffer = self.buffer[8 : 8 + length], self.buffer[8 + length :]
            handlers = {b"STAT": self._stat, b"SEND": self._send, b"DATA": self._data, b"DONE": self._done}
            if name in handlers:
                handlers[name](payload)
            elif name == b"QUIT":
                self.stream.connection.send(b"CLSE", self.stream.own, self.stream.remote)

    def _stat(self, payload: bytes) -> None:
        path = Path(self.device.mapped(payload.decode()))
        facts = path.stat() if path.exists() else None
        values = (facts.st_mode, facts.st_size, int(facts.st_mtime)) if facts else (0, 0, 0)
        self._answer(b"STAT" + struct.pack("<III", *values))

    def _send(self, payload: bytes) -> None:
        name, _, _mode = payload.decode().rpartition(",")
        self.path, self.content, self.refused = Path(self.device.mapped(name)), b"", False

    def _data(self, payload: bytes) -> None:
        self.content += payload
        limit = self.device.faults.cut_push_after
        if limit is not None and len(self.content) > limit:
            self.device.faults.cut_push_after = None
            self.device.unplug()

    def _done(self, _: bytes) -> None:
        assert self.path is not None
        if self.device.faults.full:
            reason = b"couldn't write to file: No space left on device"
            self._answer(b"FAIL" + struct.pack("<I", len(reason)) + reason)
            return
        self.path.write_bytes(self.content)
        self._answer(b"OKAY" + struct.pack("<I", 0))

    def _answer(self, data: bytes) -> None:
        """From a thread of its own: the reader must stay free for the other side's OKAY."""
        threading.Thread(target=self._write, args=(data,), daemon=True).start()

    def _write(self, data: bytes) -> None:
        with suppress(OSError, EOFError):
            self.stream.write(data)
