"""One of the soak's clients: a socket that never blocks, with TLS and compression where wanted, and
the notes of what came. What it does is a plan of plans.py."""

import errno
import random
import select
import socket
import ssl
import struct
import time
import zlib
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

from support.peer import BINARY, CLOSE, PING, PONG, TEXT, close, frame

TAIL = b"\x00\x00\xff\xff"  # RFC 7692 section 7.2.1
RSV1 = 0x40
FILLING = " ".join(str(i) for i in range(1, 12001)).encode()  # as in scripts/soak.lua
READ_BYTES = 256 * 1024
WINDOW_BYTES = 1 << 20  # of those who have read slowly and catch up


@dataclass
class Target:
    """A host under load, and what is known of its clients."""

    name: str
    port: int
    context: ssl.SSLContext | None
    offers: tuple[str, ...]  # of permessage-deflate; empty: none
    sessions: list = field(default_factory=list)  # of TLS, to be resumed
    alive: set = field(default_factory=set)


class Client:
    """@param number  its name, and with the seed what it does
    @param plan    a generator function: yields seconds to wait, or None for "until something comes"
    """

    def __init__(self, swarm, target: Target, number: int, plan, seed: int):
        self.swarm, self.target, self.number = swarm, target, number
        self.rng = random.Random(f"{seed}/{number}")
        self.what = plan.__name__
        # What it knows, in the end
        self.head: bytes | None = None  # the answer to its upgrade
        self.open = False
        self.numbers: list[int] = []  # of what it heard: broadcasts and direct sends
        self.maybe = {"d": [], "l": []}  # the same, of rooms that may leave something out
        self.code: int | None = None  # of the Close frame that came
        self.end = ""  # eof, reset, ours
        self.faults: list[str] = []
        self.asked = True  # its upgrade may have reached the host
        self.sane = True  # it has not sent rubbish, to which anything may be the answer
        self.healthy = False  # it waits for a Close frame, having done nothing wrong
        self.slow = False  # it has not always read
        self.begun = time.monotonic()
        # Of the connection
        self.offer = ""
        self.echoes: deque[tuple[int, bytes]] = deque()
        self.pings: deque[bytes] = deque()
        self.pongs = True
        self.reading = True
        self.deflater = self.inflater = None
        self.keeps = self.host_keeps = False
        self.bits = self.host_bits = 15
        self.buffer = bytearray()
        self.unsent: deque[bytes] = deque()
        self.tls = None
        self.shaken = target.context is None
        self.early: list[bytes] = []  # what is to go out once TLS is there
        self.socket = socket.socket()
        self.events = 0
        self.steps = plan(self)
        self.serial = 0  # of the wait that counts

    # The socket -------------------------------------------------------------------------------

    def connect(self, *, receive_buffer: int = 0, tls: bool = True) -> None:
        """@param tls  false: what is said on a port of TLS is not"""
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        status = self.socket.connect_ex(("127.0.0.1", self.target.port))
        if status not in (0, errno.EINPROGRESS):
            raise OSError(status, "connect")
        self.swarm.register(self)
        self.shaken = self.target.context is None or not tls
        if not self.shaken:
            self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            sessions = self.target.sessions
            session = sessions.pop() if sessions and self.rng.random() < 0.5 else None
            self.tls = self.target.context.wrap_bio(
                self.incoming, self.outgoing, server_hostname="localhost", session=session
            )
            self._shake_hands()

    def _shake_hands(self) -> None:
        try:
            self.tls.do_handshake()
            self.shaken = True
        except ssl.SSLWantReadError:
            pass
        self._sealed()
        if self.shaken:
            early, self.early = self.early, []
            self.send(*early)

    def _sealed(self) -> None:
        if data := self.outgoing.read():
            self.unsent.append(data)
        self.write()

    def send(self, *pieces: bytes) -> None:
        """Each piece is a segment of its own, where the socket takes it now."""
        if self.end:
            return
        if self.tls and not self.shaken:
            self.early += pieces
        elif self.tls:
            with suppress(ssl.SSLError):  # after our close_notify, or its alert
                for piece in pieces:
                    if piece:
                        self.tls.write(piece)
            self._sealed()
        else:
            self.unsent += pieces
            self.write()

    def write(self) -> None:
        try:
            while self.unsent:
                taken = self.socket.send(self.unsent[0])
                if taken < len(self.unsent[0]):
                    self.unsent[0] = self.unsent[0][taken:]
                else:
                    self.unsent.popleft()
        except BlockingIOError:
            pass
        except OSError:  # the reason comes with the next read
            self.unsent.clear()
        self.swarm.watch(self)

    def fin(self, *, goodbye: bool) -> None:
        """Closes our side. @param goodbye  with the close_notify of TLS"""
        if self.tls and self.shaken and goodbye:
            with suppress(ssl.SSLError):
                self.tls.unwrap()
            self._sealed()
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def rst(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.leave("ours")

    def leave(self, how: str) -> None:
        """It is over; for the host by a RST, if something was not read."""
        if not self.end:
            self.end = how
            if self.tls and self.shaken and self.tls.session and len(self.target.sessions) < 50:
                self.target.sessions.append(self.tls.session)
            self.swarm.remove(self)
            self.socket.close()

    def read(self) -> None:
        try:
            data = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.leave("reset")
            return
        if not data:
            self.leave("eof")
        elif not self.tls:
            self._take(data)
        else:
            self.incoming.write(data)
            self._open_records()

    def _open_records(self) -> None:
        try:
            if not self.shaken:
                self._shake_hands()
            while self.shaken and not self.end:
                data = self.tls.read(READ_BYTES)
                if not data:
                    break
                self._take(data)
        except ssl.SSLWantReadError:
            self._sealed()
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            pass  # its close_notify: the end of the socket follows
        except ssl.SSLError as error:
            if self.healthy:
                self.fault(f"TLS: {error}")
            self.leave("tls")

    def fault(self, what: str) -> None:
        if self.sane:
            self.faults.append(what)

    # HTTP and frames --------------------------------------------------------------------------

    def request(
        self, query: str = "", *, path: str = "", fields: str = "", drop: str = ""
    ) -> bytes:
        """Its upgrade. @param drop  a field to leave out"""
        lines = {
            "Host": "localhost",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
        }
        lines.pop(drop, None)
        if self.offer:
            lines["Sec-WebSocket-Extensions"] = self.offer
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        path = path or f"/soak/{self.number}{query}"
        return f"GET {path} HTTP/1.1\r\n{head}{fields}\r\n".encode()

    def _take(self, data: bytes) -> None:
        self.buffer += data
        if self.head is None:
            at = self.buffer.find(b"\r\n\r\n")
            if at < 0:
                return
            self.head = bytes(self.buffer[:at])
            del self.buffer[: at + 4]
            if self.head.startswith(b"HTTP/1.1 101 "):
                self.open = True
                self._agree()
        if self.open:
            self._frames()

    def _agree(self) -> None:
        for line in self.head.decode("latin-1").split("\r\n")[1:]:
            name, _, value = line.partition(":")
            if name.lower() == "sec-websocket-extensions":
                parts = [part.strip().partition("=") for part in value.split(";")[1:]]
                params = {name: value for name, _, value in parts}
                self.keeps = "client_no_context_takeover" not in params
                self.host_keeps = "server_no_context_takeover" not in params
                self.bits = max(9, int(params.get("client_max_window_bits") or 15))
                self.host_bits = int(params.get("server_max_window_bits") or 15)
                self.deflater = self._deflater()

    def _deflater(self):
        return zlib.compressobj(1, zlib.DEFLATED, -self.bits, 4)

    def _frames(self) -> None:
        data, at, end = self.buffer, 0, len(self.buffer)
        while end - at >= 2:
            first, n, start = data[at], data[at + 1], at + 2
            if n > 125:
                start += 2 if n == 126 else 8
                if end < start:
                    break
                n = int.from_bytes(data[at + 2 : start])
            if end - start < n:
                break
            self._frame(first, bytes(data[start : start + n]))
            at = start + n
            if self.end:
                return
        if at:
            del data[:at]

    def _frame(self, first: int, payload: bytes) -> None:
        opcode = first & 0x0F
        if self.code is not None:
            self.fault(f"a frame {first:#x} after the Close frame")
        elif opcode == CLOSE:
            self.code = int.from_bytes(payload[:2]) if payload else 1005
            self.send(frame(CLOSE, payload[:2]))
        elif opcode == PING:
            if self.pongs:
                self.send(frame(PONG, payload))
        elif opcode == PONG:
            while self.pings and self.pings[0] != payload:
                self.pings.popleft()  # only the last one must be answered. RFC 6455 section 5.5.3
            if self.pings:
                self.pings.popleft()
            else:
                self.fault(f"a pong {payload[:20]!r} that nobody wants")
        elif opcode in (TEXT, BINARY) and first & 0xB0 == 0x80:
            self._message(opcode, self._inflated(payload) if first & RSV1 else payload)
        else:
            self.fault(f"a frame {first:#x}")

    def _inflated(self, payload: bytes) -> bytes:
        if self.inflater is None or not self.host_keeps:
            self.inflater = zlib.decompressobj(-self.host_bits)
        return self.inflater.decompress(payload + TAIL)

    def _message(self, opcode: int, payload: bytes) -> None:
        self.swarm.messages += 1
        tag = payload[:1]
        if tag in (b"B", b"d", b"l"):
            number, size, filling = payload[1:].split(b" ", 2)
            if filling != FILLING[: int(size)]:
                self.fault(f"message {number} is not what was sent")
            (self.numbers if tag == b"B" else self.maybe[tag.decode()]).append(int(number))
        elif not self.echoes or self.echoes.popleft() != (opcode, payload):
            self.fault(f"an echo of {len(payload)} bytes that is none")

    # What plans say ---------------------------------------------------------------------------

    def say(
        self, payload: bytes, opcode: int = TEXT, pieces: int = 1, between: bytes = b""
    ) -> None:
        """One message.

        @param pieces   in so many frames
        @param between  a control frame that goes in the midst of them
        """
        if payload[:1] in (b"", b"="):
            self.echoes.append((opcode, payload))
        self.swarm.messages += 1
        rsv = 0
        if self.deflater and len(payload) > 20:
            if not self.keeps:
                self.deflater = self._deflater()
            packed = self.deflater.compress(payload) + self.deflater.flush(zlib.Z_SYNC_FLUSH)
            payload, rsv = packed[:-4], RSV1
        if pieces == 1:
            self._cut(frame(opcode, payload, first=0x80 | rsv | opcode))
            return
        size = max(1, -(-len(payload) // pieces))
        parts = [payload[i : i + size] for i in range(0, len(payload), size)] or [b""]
        frames = [
            frame(0, part, first=(0x80 if i == len(parts) - 1 else 0) | (0 if i else rsv | opcode))
            for i, part in enumerate(parts)
        ]
        frames.insert(1, between)
        self._cut(b"".join(frames))

    def _cut(self, data: bytes) -> None:
        """Mostly whole, else in two segments that end anywhere."""
        at = self.rng.randrange(len(data)) if self.rng.random() < 0.2 else 0
        self.send(*(part for part in (data[:at], data[at:]) if part))

    def command(self, *words) -> None:
        self.say(" ".join(str(word) for word in words).encode())

    def ping(self) -> bytes:
        payload = self.rng.randbytes(self.rng.randrange(126))
        self.pings.append(payload)
        return frame(PING, payload)

    def finish(self, code: int | None = 1000) -> None:
        """Begins the close handshake."""
        self.healthy = self.code is None
        self.send(close(code))

    def pause(self, reading: bool) -> None:
        self.slow = self.slow or not reading
        self.reading = reading
        if reading and not self.end:
            # A window of 2 KiB is filled once in 200 ms, also behind a host that has long closed.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW_BYTES)
        self.swarm.watch(self)

    @property
    def wanted(self) -> int:
        return (select.EPOLLIN if self.reading else 0) | (select.EPOLLOUT if self.unsent else 0)
