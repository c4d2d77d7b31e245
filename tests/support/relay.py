"""A relay between WebSocket clients and a host that counts the clients' frames, so that a test can
tell what was on the wire and not only what a library says that it sends."""

import re
import socket
import threading
from collections import Counter
from contextlib import suppress

EXTENSIONS = re.compile(rb"\r\nsec-websocket-extensions:[ \t]*([^\r]*)", re.IGNORECASE)
LENGTHS = {126: 2, 127: 8}


class Frames:
    """Takes the bytes of one direction, however they are cut, and counts their frames."""

    def __init__(self, seen: Counter):
        self.seen = seen
        self.head = b""
        self.skip = 0  # payload bytes to come

    def feed(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            if self.skip:
                n = min(self.skip, len(data) - at)
                self.skip -= n
                at += n
            else:
                self.head += data[at : at + 1]
                at += 1
                self._look()

    def _look(self) -> None:
        if len(self.head) < 2:
            return
        length = self.head[1] & 0x7F
        extended = LENGTHS.get(length, 0)
        if len(self.head) < 2 + extended + (4 if self.head[1] & 0x80 else 0):
            return
        self.skip = int.from_bytes(self.head[2 : 2 + extended]) if extended else length
        first, self.head = self.head[0], b""
        is_data = not first & 0x08
        self.seen["frames"] += 1
        self.seen["fragments"] += is_data and (not first & 0x80 or not first & 0x0F)
        self.seen["compressed"] += bool(first & 0x40)


class Relay:
    """Listens on 127.0.0.1 and passes all on to the host's port. In a `with`, it ends with it.

    `seen` counts the clients' frames: `frames`, `fragments` (data frames of messages in several),
    `compressed` (RSV1 is set). Nothing is seen inside TLS.
    """

    def __init__(self, port: int):
        self.host_port = port
        self.seen: Counter[str] = Counter()
        self.extensions: set[str] = set()  # that the host agreed to
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def forget(self) -> None:
        self.seen = Counter()
        self.extensions = set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return  # closed
            host = socket.create_connection(("127.0.0.1", self.host_port))
            for end in (client, host):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened = threading.Event()
            pumps = [
                threading.Thread(target=self._pump, args=args, daemon=True)
                for args in ((client, host, self._from_client(opened)),
                             (host, client, self._from_host(opened)))
            ]  # fmt: skip
            for pump in pumps:
                pump.start()

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket, look) -> None:
        with suppress(OSError):
            while data := source.recv(256 * 1024):
                look(data)
                target.sendall(data)
        # Both ends have their shutdown; the sockets close with the last reference.
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _from_client(self, opened: threading.Event):
        frames = Frames(self.seen)

        def look(data: bytes) -> None:
            # A client may not send a frame before it has the 101.
            if opened.is_set():
                frames.feed(data)

        return look

    def _from_host(self, opened: threading.Event):
        def look(data: bytes) -> None:
            if not opened.is_set() and data.startswith(b"HTTP/1.1 101 "):
                if match := EXTENSIONS.search(data.partition(b"\r\n\r\n")[0] + b"\r\n"):
                    self.extensions.add(match[1].decode())
                opened.set()

        return look

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
