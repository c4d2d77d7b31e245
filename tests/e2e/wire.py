"""A peer down at the bytes: it says what the test says, and nothing by itself."""

import base64
import os
import socket
import struct
from dataclasses import dataclass

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
LIMIT_S = 15
KEY = base64.b64encode(b"0123456789abcdef").decode()


@dataclass
class Answer:
    status: int
    fields: dict[str, str]  # names in lower case
    body: bytes

    def __getitem__(self, name: str) -> str | None:
        return self.fields.get(name)


def head(path="/", method="GET", version="1.1", **fields) -> bytes:
    """A request's head. A field that is None is left out; `_` in a name stands for `-`."""
    fields = {"Host": "localhost"} | {k.replace("_", "-"): v for k, v in fields.items()}
    lines = [f"{method} {path} HTTP/{version}"]
    lines += [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def upgrade_head(path="/", **fields) -> bytes:
    wanted = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
    }
    return head(path, **(wanted | {k.replace("_", "-"): v for k, v in fields.items()}))


def frame(opcode: int, payload: bytes | str = b"", *, fin=True, mask=True) -> bytes:
    payload = payload.encode() if isinstance(payload, str) else payload
    n, bit = len(payload), 0x80 if mask else 0
    if n < 126:
        size = bytes([bit | n])
    else:
        size = bytes([bit | (126 if n < 1 << 16 else 127)])
        size += n.to_bytes(2 if n < 1 << 16 else 8)
    first = bytes([(0x80 if fin else 0) | opcode])
    if not mask:
        return first + size + payload
    key = os.urandom(4)
    pad = (key * (n // 4 + 1))[:n]
    return first + size + key + (int.from_bytes(payload) ^ int.from_bytes(pad)).to_bytes(n)


def close_frame(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, struct.pack(">H", code) + reason.encode())


class Wire:
    """A TCP connection. Reads wait for LIMIT_S."""

    def __init__(
        self, port: int, receive_buffer: int = 0, address: str = "127.0.0.1", source: str = ""
    ):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(LIMIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            self.socket.bind((source, 0))
        self.socket.connect((address, port))
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *data: bytes) -> None:
        self.socket.sendall(b"".join(data))

    def trickle(self, data: bytes) -> None:
        """One byte at a time."""
        for i in range(len(data)):
            self.socket.sendall(data[i : i + 1])

    def more(self) -> bool:
        """Reads some. False at the end."""
        data = self.socket.recv(65536)
        self.buffer += data
        return data != b""

    def take(self, n: int) -> bytes:
        while len(self.buffer) < n:
            assert self.more(), f"the end, after {self.buffer!r}"
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def rest(self) -> bytes:
        """All until the end, which must come in order."""
        while self.more():
            pass
        data, self.buffer = self.buffer, b""
        return data

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def answer(self, bodiless=False) -> Answer:
        while b"\r\n\r\n" not in self.buffer:
            assert self.more(), f"the end, after {self.buffer!r}"
        top, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        first, *lines = top.decode("latin-1").split("\r\n")
        fields = {}
        for line in lines:
            name, value = line.split(":", 1)
            fields[name.lower()] = value.strip()
        length = 0 if bodiless else int(fields.get("content-length", 0))
        return Answer(int(first.split(" ")[1]), fields, self.take(length))

    def request(self, path="/", method="GET", body=b"", **fields) -> Answer:
        if body:
            fields["Content_Length"] = len(body)
        self.send(head(path, method, **fields), body)
        return self.answer(bodiless=method == "HEAD")


class Client(Wire):
    """A WebSocket client that answers nothing by itself."""

    def upgrade(self, path="/", **fields) -> Answer:
        self.send(upgrade_head(path, **fields))
        return self.answer()

    def text(self, *messages: str) -> None:
        self.send(*(frame(TEXT, message) for message in messages))

    def hear(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload. The host never fragments or masks."""
        first, size = self.take(2)
        assert first & 0x70 == 0 and first & 0x80 and size < 128, (first, size)
        if size > 125:
            size = int.from_bytes(self.take(2 if size == 126 else 8))
        return first & 0x0F, self.take(size)

    def hear_text(self) -> str:
        opcode, payload = self.hear()
        assert opcode == TEXT, (opcode, payload)
        return payload.decode()

    def hear_close(self) -> tuple[int, str]:
        opcode, payload = self.hear()
        assert opcode == CLOSE, (opcode, payload)
        return (int.from_bytes(payload[:2]), payload[2:].decode()) if payload else (1005, "")
