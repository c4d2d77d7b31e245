"""What attackers, and the innocent, are made of: connections to a host, plain or by TLS, and what
they send and get."""

import json
import socket
import ssl
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from support.certificates import Authority
from support.host import wait_until
from support.peer import CLOSE, close, frame
from support.swarm import Swarm, upgrade_request

ATTACK_S = 2.0  # of those that could go on for ever
LIMIT_S = 30  # no attack takes longer
NAME = "localhost"  # of the certificate, whatever the address
OFFER = "permessage-deflate"
RSV1 = 0x40

KIB, MIB = 1024, 1024 * 1024
MESSAGE = MIB  # message_bytes


# A host that notices soon.
LIMITS = {
    "head_s": 1.5,
    "body_s": 1.5,
    "stall_s": 1.5,
    "close_s": 1,
}

# What a connection may cost. See docs/operations.md.
SESSION = 16 * KIB  # by HTTP: a head of 8 KiB and its parser
TLS_IDLE = 14 * KIB
TLS_PART = 17 * KIB  # of a record
TLS_UNSENT = 33 * KIB  # records that the peer does not take


@dataclass
class Attack:
    """One row of the table. What it is expected to get is a count, or ANY but 0."""

    work: Callable
    bound: int  # of the memory that it may cost: peak less before
    why: str  # that much
    expected: dict[str, int | None] = field(default_factory=dict)
    limits: dict = field(default_factory=dict)
    descriptors: int = 0  # of the host; 0: as many as we have
    far: bool = False  # from a machine at the end of a cable
    tls: int = 0  # what TLS may add to the bound
    tls_expected: dict[str, int | None] | None = None  # by TLS, where that differs

    @property
    def name(self) -> str:
        return self.work.__name__


ANY = None


class Secure(ssl.SSLSocket):
    """Says as plain sockets do that it would block, and that nobody is there any more."""

    def send(self, data, flags=0):
        try:
            return super().send(data, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error
        except ssl.SSLError as error:
            raise BrokenPipeError(str(error)) from error

    def recv(self, buflen=1024, flags=0):
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error
        except ssl.SSLError as error:
            raise ConnectionResetError(str(error)) from error


@dataclass
class Target:
    """The host that is attacked.

    @param authority  who has signed its certificate; None: it speaks no TLS. By TLS,
                      permessage-deflate is offered too
    """

    port: int
    address: str = "127.0.0.1"
    authority: Authority | None = None

    @cached_property
    def context(self) -> ssl.SSLContext:
        context = self.authority.context()
        context.sslsocket_class = Secure
        return context

    @property
    def offer(self) -> str:
        return OFFER if self.authority else ""

    def tcp(self) -> socket.socket:
        """No more than that."""
        sock = socket.create_connection((self.address, self.port), LIMIT_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def secure(self, sock: socket.socket) -> socket.socket:
        """Its TLS handshake is done, if there is one to do."""
        return self.context.wrap_socket(sock, server_hostname=NAME) if self.authority else sock

    def connect(self, path: str = "") -> socket.socket:
        """With a path, shaken hands."""
        sock = self.secure(self.tcp())
        if path:
            sock.sendall(upgrade_request(path, self.offer))
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                byte = sock.recv(1)
                assert byte, f"an end within {head!r}"
                head += byte
            assert b" 101 " in head, head
        return sock

    def open(self, swarm: Swarm, path: str, count: int, offer: str | None = None, **more) -> None:
        """Adds so many connections to a swarm."""
        swarm.open(
            self.port,
            path,
            count,
            address=self.address,
            secure=self.secure,
            offer=self.offer if offer is None else offer,
            **more,
        )

    def seen(self, query: str = "") -> dict:
        """What the script answers to a request."""
        with self.connect() as sock:
            sock.sendall(
                f"GET /target{query} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode()
            )
            answer = b""
            while data := sock.recv(65536):
                answer += data
        return json.loads(answer.partition(b"\r\n\r\n")[2])

    def codes_when(self, count: int) -> Counter:
        """The codes that `close` had, once it ran for so many attackers."""

        def enough():
            codes = Counter(self.seen()["codes"])
            return codes if codes.total() >= count else None

        return wait_until(enough, f"{count} ends", LIMIT_S)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def drip(opened: Iterable[socket.socket], begin: bytes, more: Iterator[bytes]) -> Counter:
    """Begins a request on each, then sends some more of each every 50 ms until the host answers.
    What it answered, and how often."""
    sockets = []
    for sock in opened:
        if begin:
            sock.sendall(begin)
        sock.setblocking(False)
        sockets.append(sock)
    answers, end = Counter(), time.monotonic() + LIMIT_S
    while sockets and time.monotonic() < end:
        time.sleep(0.05)
        left = []
        piece = next(more)
        for sock in sockets:
            try:
                if piece:
                    sock.send(piece)
                answers[sock.recv(65536)[9:12].decode() or "end"] += 1
                sock.close()
            except BlockingIOError:
                left.append(sock)
            except OSError as error:
                answers[type(error).__name__] += 1
                sock.close()
        sockets = left
    answers["nothing"] = len(sockets)
    return +answers


def repeat(target: Target, data: bytes, at_once: int = 1) -> Counter:
    """Opens connections one after the other, sends data on each, and hears how it is closed."""
    codes, end = Counter(), time.monotonic() + ATTACK_S
    while time.monotonic() < end:
        sockets = [target.connect("/target") for _ in range(at_once)]
        for sock in sockets:
            sock.sendall(data)
        for sock in sockets:
            answer = sock.recv(65536)
            opcode, code = answer[0] & 0x0F, int.from_bytes(answer[2:4])
            codes[str(code) if opcode == CLOSE else f"opcode {opcode}"] += 1
            sock.sendall(close(code))
            sock.close()
    return codes


def unmasked(first: int, payload: bytes) -> bytes:
    """A frame whose masking key is 0: cheap to make."""
    return bytes([first, 0xFF]) + len(payload).to_bytes(8) + bytes(4) + payload


def deflate(payload: bytes, level: int = 9) -> bytes:
    """The payload of a message's only frame. RFC 7692 section 7.2.1"""
    deflater = zlib.compressobj(level, zlib.DEFLATED, -15)
    return (deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


def deflated(opcode: int, payload: bytes) -> bytes:
    return frame(opcode, deflate(payload), first=0x80 | RSV1 | opcode)
