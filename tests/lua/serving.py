"""A host that serves these scripts, and clients that speak with it."""

import http.client
import json
import re
import socket
import struct
from pathlib import Path
from urllib.parse import urlencode

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from support import host as support
from support.peer import frame

PATIENCE_S = 20  # for what must happen soon, on any machine

SANITIZER = re.compile(r"ERROR: \w*Sanitizer|runtime error:|SUMMARY: \w*Sanitizer")


def eventually(holds, what: str):
    return support.wait_until(holds, what, PATIENCE_S)


class Answer:
    """What came back for a plain HTTP request."""

    def __init__(self, response: http.client.HTTPResponse):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self):
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"<{self.status} {self.body[:500]!r}>"


class Host(support.Host):
    """`perigee serve`, from its first line to its exit code."""

    def __init__(self, folder: Path, *flags: str):
        super().__init__(folder, "--host=127.0.0.1", *flags)

    # The log

    def mark(self) -> int:
        """Where the log ends now: what is waited for from here came later."""
        return len(self.log)

    def log_lines(self, pattern: str, since: int = 0) -> list[str]:
        """All lines that match until now."""
        return [line for line in self.log[since:] if re.search(pattern, line)]

    def log_line(self, pattern: str, since: int = 0) -> str:
        """The first line of the log that matches; waits for it."""
        return eventually(
            lambda: next(iter(self.log_lines(pattern, since)), None),
            f"a line like {pattern!r} after {self.log[since:][-10:]}",
        )

    # Requests

    def request(self, method: str, path: str, body=None, headers=None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path: str, **query: str) -> Answer:
        return self.request("GET", f"{path}?{urlencode(query)}" if query else path)

    def connect(self, path: str, **options) -> "Client":
        return Client(self, path, **options)

    def raw(self, path: str, **options) -> "RawClient":
        return RawClient(self, path, **options)

    # The end

    def finish(self) -> None:
        """SIGTERM, then exit 0 with nothing that a sanitizer said."""
        try:
            status = self.stop()
        finally:
            self.kill()
        self.check_sanitizer()
        assert status == 0, f"exit status {status} after SIGTERM:\n{self.tail()}"

    def check_sanitizer(self) -> None:
        for n, line in enumerate(self.log):
            assert not SANITIZER.search(line), "\n".join(self.log[n : n + 40])

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None


class Client:
    """A WebSocket client by Python's websockets."""

    def __init__(self, host: Host, path: str, **options):
        self.websocket = connect(
            f"ws://127.0.0.1:{host.port}{path}",
            compression=None,
            proxy=None,
            open_timeout=PATIENCE_S,
            close_timeout=PATIENCE_S,
            max_size=None,
            legacy=True,
            **options,
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_) -> None:
        self.websocket.close()

    def send(self, data) -> None:
        self.websocket.send(data if isinstance(data, str | bytes) else json.dumps(data))

    def receive(self):
        return self.websocket.recv(timeout=PATIENCE_S)

    def receive_json(self):
        return json.loads(self.receive())

    def ask(self, data):
        self.send(data)
        return self.receive()

    def ask_json(self, data):
        return json.loads(self.ask(data))

    def all_until_pong(self) -> list:
        """What the host sent before it answered a ping, `{"closed": [code, reason]}` at its end."""
        received = []
        try:
            assert self.websocket.ping(ack_on_close=True).wait(PATIENCE_S), "no pong"
            while True:
                received.append(self.websocket.recv(timeout=0))
        except TimeoutError:
            return received
        except ConnectionClosed:
            return received + self.rest()

    def rest(self) -> list:
        """What came before the close that the host sent, and that."""
        received = []
        try:
            while True:
                received.append(self.receive())
        except ConnectionClosed as closed:
            end = closed.rcvd
            received.append({"closed": [end.code, end.reason] if end else None})
            return received

    def closed(self) -> tuple[int, str] | None:
        """The code and reason by which the host closes; nothing else may come before."""
        (end,) = self.rest()
        return end["closed"] and tuple(end["closed"])

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.websocket.close(code, reason)


class RawClient:
    """A client that does what no library does: frames in one segment, half-closing, not reading."""

    def __init__(self, host: Host, path: str, *, receive_buffer: int = 0, with_head: bytes = b""):
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", host.port))
        self.bytes = b""
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{host.port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
            + with_head
        )
        head = self._until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_) -> None:
        self.socket.close()

    def _fill(self) -> None:
        chunk = self.socket.recv(65536)
        if not chunk:
            raise EOFError(self.bytes)
        self.bytes += chunk

    def _until(self, mark: bytes) -> bytes:
        while mark not in self.bytes:
            self._fill()
        head, _, self.bytes = self.bytes.partition(mark)
        return head

    def _take(self, count: int) -> bytes:
        while len(self.bytes) < count:
            self._fill()
        taken, self.bytes = self.bytes[:count], self.bytes[count:]
        return taken

    def send(self, *frames: bytes) -> None:
        """All in one segment, while they are small."""
        self.socket.sendall(b"".join(frames))

    def receive(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload."""
        first, length = self._take(2)
        if length == 126:
            (length,) = struct.unpack("!H", self._take(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._take(8))
        return first & 15, self._take(length)

    def receive_text(self) -> str:
        opcode, payload = self.receive()
        assert opcode == 1, (opcode, payload)
        return payload.decode()

    def rest(self) -> list[tuple[int, bytes]]:
        """All frames until the host closes the socket."""
        frames = []
        try:
            while True:
                frames.append(self.receive())
        except (EOFError, ConnectionResetError):
            return frames

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


__all__ = ["Answer", "Client", "Host", "RawClient", "eventually", "frame"]
