"""A WebSocket server down at the bytes, for clients under test: it says what the test says."""

import base64
import hashlib
import re
import socket
import threading

from support.peer import CLOSE, END_S, frame, masked


class Server:
    """A listener that hands each connection to `serve(socket, head)`, one after the other."""

    def __init__(self, *serves):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(END_S)
        self.port = self.listener.getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}/"
        self.heads: list[str] = []
        self.failed: list[BaseException] = []
        self.thread = threading.Thread(target=self._run, args=(serves,), daemon=True)
        self.thread.start()

    def _run(self, serves):
        try:
            for serve in serves:
                connection, _ = self.listener.accept()
                connection.settimeout(END_S)
                with connection:
                    head = b""
                    while b"\r\n\r\n" not in head:
                        head += connection.recv(65536)
                    self.heads.append(head.decode())
                    serve(connection, head)
        except BaseException as error:  # told by end(), in the test's own thread
            self.failed.append(error)

    def end(self):
        self.thread.join(2 * END_S)
        self.listener.close()
        assert not self.failed, self.failed


def accept_of(head: bytes) -> bytes:
    key = re.search(rb"Sec-WebSocket-Key: (\S+)", head)[1]
    proof = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return base64.b64encode(proof)


def upgraded(head: bytes, more: bytes = b"") -> bytes:
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept_of(head) + b"\r\n" + more + b"\r\n"
    )


def hear_frame(connection) -> tuple[int, bytes, bytes]:
    """A frame from the client, which is whole and masked: its first byte, key and payload."""

    def take(n: int) -> bytes:
        data = b""
        while len(data) < n:
            piece = connection.recv(n - len(data))
            assert piece, "the end"
            data += piece
        return data

    first, size = take(2)
    assert first & 0x80 and size & 0x80, (first, size)
    size &= 0x7F
    if size > 125:
        size = int.from_bytes(take(2 if size == 126 else 8))
    key = take(4)
    return first, key, masked(key, take(size))


def hear(connection) -> tuple[int, bytes]:
    """Opcode and payload of a frame that makes use of no extension."""
    first, _, payload = hear_frame(connection)
    assert first & 0x70 == 0, first
    return first & 0x0F, payload


def close(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, code.to_bytes(2) + reason.encode(), mask=False)


def says(*frames: bytes):
    """Serves: the 101 with the frames behind it, then waits for the client to go."""

    def serve(connection, head):
        connection.sendall(upgraded(head) + b"".join(frames))
        while connection.recv(65536):
            pass

    return serve


def answers(text: str):
    def serve(connection, _):
        connection.sendall(text.encode())

    return serve
