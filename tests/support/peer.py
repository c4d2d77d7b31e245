"""A WebSocket client down at the frames, on asyncio: what it sends is what the test says, rubbish
included, and nothing is answered that the test did not ask for."""

import asyncio
import base64
import json
import os
import socket
import struct
import time
from contextlib import suppress

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
END_S = 15


def masked(key: bytes, payload: bytes) -> bytes:
    n = len(payload)
    mask = (key * (n // 4 + 1))[:n]
    return (int.from_bytes(payload) ^ int.from_bytes(mask)).to_bytes(n) if n else b""


def frame(opcode: int, payload: bytes = b"", *, first: int | None = None, mask=True) -> bytes:
    """One frame from a client. `first` is the first byte where it is not FIN and the opcode."""
    n = len(payload)
    bit = 0x80 if mask else 0
    if n < 126:
        size = bytes([bit | n])
    elif n < 65536:
        size = bytes([bit | 126]) + struct.pack(">H", n)
    else:
        size = bytes([bit | 127]) + struct.pack(">Q", n)
    head = bytes([0x80 | opcode if first is None else first]) + size
    if not mask:
        return head + payload
    key = os.urandom(4)
    return head + key + masked(key, payload)


def text(value) -> bytes:
    """A text frame; what is no string goes as JSON."""
    return frame(TEXT, (value if isinstance(value, str) else json.dumps(value)).encode())


def close(code: int | None = None, reason: str = "") -> bytes:
    return frame(CLOSE, b"" if code is None else struct.pack(">H", code) + reason.encode())


class Peer:
    """One connection. Its messages come to `hear`, its end sets `gone`."""

    def __init__(self, reader, writer, *, pongs: bool, closes: bool):
        self.reader, self.writer = reader, writer
        self.pongs, self.closes = pongs, closes
        self.heard: list[str] = []
        self.hear = self.heard.append  # a text message, as it comes
        self.code: int | None = None  # of the Close frame that came; 1005 for one without
        self.reason = ""
        self.pings = 0
        self.reset = False  # it ended by a RST
        self.gone = asyncio.Event()  # no more bytes come
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, port: int, path: str, *, pongs=True, closes=True, buffer: int = 0):
        """Connects and shakes hands.

        @param pongs   answer pings
        @param closes  answer a Close frame and close the socket
        @param buffer  the socket's receive buffer, in bytes; 0: the system's
        """
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=sock)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), END_S)
        if not head.startswith(b"HTTP/1.1 101 "):
            writer.close()
            raise ConnectionError(head.decode(errors="replace").splitlines()[0])
        return cls(reader, writer, pongs=pongs, closes=closes)

    async def _read(self) -> None:
        try:
            while True:
                first, second = await self.reader.readexactly(2)
                n = second & 0x7F
                if n > 125:
                    n = int.from_bytes(await self.reader.readexactly(2 if n == 126 else 8))
                self._take(first & 0x0F, await self.reader.readexactly(n))
        except asyncio.IncompleteReadError:
            pass
        except OSError:
            self.reset = True
        finally:
            self.gone.set()

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            self.hear(payload.decode())
        elif opcode == PING:
            self.pings += 1
            if self.pongs:
                self.send(frame(PONG, payload))
        elif opcode == CLOSE:
            self.code = int.from_bytes(payload[:2]) if payload else 1005
            self.reason = payload[2:].decode()
            if self.closes:
                self.send(frame(CLOSE, payload[:2]))

    def send(self, *frames: bytes) -> None:
        """All in one write: one TCP segment, while they are small."""
        if not self.writer.is_closing():
            self.writer.write(b"".join(frames))

    def pause(self) -> None:
        """Stops reading, so that the host's socket fills up."""
        self.writer.transport.pause_reading()

    def resume(self) -> None:
        with suppress(RuntimeError):  # asyncio had resumed it itself
            self.writer.transport.resume_reading()

    def fin(self) -> None:
        self.writer.write_eof()

    def rst(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def end(self, limit_s: float = END_S) -> None:
        """Waits until no more bytes come."""
        await asyncio.wait_for(self.gone.wait(), limit_s)

    def drop(self) -> None:
        self._reading.cancel()
        self.writer.transport.abort()


async def until(holds, what: str, limit_s: float = END_S):
    """Asks until holds() answers something true, and returns that."""
    end = time.monotonic() + limit_s
    while not (answer := holds()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {limit_s:g} s: {what}")
        await asyncio.sleep(0.01)
    return answer
