"""Many raw WebSocket clients in one process, by epoll; and processes to put them in."""

import multiprocessing
import os
import select
import signal
import socket
import time
import traceback
from collections import deque
from collections.abc import Callable

from support.host import Failed
from support.peer import CLOSE, PING, PONG, TEXT, close, frame

WORKER_S = 120  # no process that a program starts outlives this, whatever becomes of the program

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def upgrade_request(path: str, offer: str = "") -> bytes:
    """@param offer  of extensions, or empty"""
    extensions = f"Sec-WebSocket-Extensions: {offer}\r\n" if offer else ""
    return (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{extensions}\r\n"
    ).encode()


class Member:
    """One connection of a swarm."""

    def __init__(self, swarm: "Swarm", name: str, sock: socket.socket):
        self.swarm, self.name, self.socket = swarm, name, sock
        self.open = False  # the 101 has come
        self.head = b""  # that
        self.gone = False  # no more bytes come
        self.error = ""  # what it got instead of an end in order
        self.code: int | None = None  # of the Close frame that came
        self.ponged = b""  # the payload of the last pong
        self.buffer = b""
        self.unsent: deque[bytes] = deque()

    def send(self, data: bytes) -> None:
        """What the socket does not take now goes later."""
        self.unsent.append(data)
        self.write()

    def write(self) -> None:
        had = self.swarm.writing
        try:
            while self.unsent:
                taken = self.socket.send(self.unsent[0])
                if taken < len(self.unsent[0]):
                    self.unsent[0] = self.unsent[0][taken:]
                else:
                    self.unsent.popleft()
        except BlockingIOError:
            pass
        except OSError as error:
            self.unsent.clear()
            self.error = self.error or type(error).__name__
        now = bool(self.unsent)
        if now != (self in had):
            (had.add if now else had.discard)(self)
            self.swarm.watch(self)

    def read(self) -> None:
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self.error = self.error or type(error).__name__
            data = b""
        if not data:
            self.swarm.remove(self)
            return
        self.buffer += data
        if not self.open:
            head, mark, rest = self.buffer.partition(b"\r\n\r\n")
            if not mark:
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self.error = head.decode(errors="replace").splitlines()[0]
                self.swarm.remove(self)
                return
            self.open, self.head, self.buffer = True, head, rest
            self.swarm.opened += 1
        self._frames()

    def _frames(self) -> None:
        data, at, end = self.buffer, 0, len(self.buffer)
        while end - at >= 2:
            n, start = data[at + 1], at + 2
            if n > 125:
                start += 2 if n == 126 else 8
                if end < start:
                    break
                n = int.from_bytes(data[at + 2 : start])
            if end - start < n:
                break
            self._take(data[at] & 0x0F, data[start : start + n])
            at = start + n
        self.buffer = data[at:]

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            self.swarm.hear(self, payload)
        elif opcode == PING:
            self.send(frame(PONG, payload))
        elif opcode == PONG:
            self.ponged = payload
        elif opcode == CLOSE:
            self.code = int.from_bytes(payload[:2]) if payload else 1005
            self.send(frame(CLOSE, payload[:2]))


class Swarm:
    """@param hear  called with a member and each text message that it gets, as its bytes came:
    one that is compressed is not decompressed
    """

    def __init__(self, hear=lambda member, payload: None):
        self.hear = hear
        self.members: list[Member] = []
        self.opened = 0
        self.gone = 0
        self.writing: set[Member] = set()
        self._by_fd: dict[int, Member] = {}
        self._epoll = select.epoll()

    def open(
        self,
        port: int,
        path: str,
        count: int,
        *,
        address: str = "127.0.0.1",
        sockets: list[socket.socket] | None = None,
        receive_buffer: int = 0,
        secure: Callable[[socket.socket], socket.socket] = lambda sock: sock,
        offer: str = "",
        at_once: int = 200,
        limit_s: float = 60,
    ):
        """Opens count connections to path, in which {} is the member's number.

        @param sockets         to use; None: new ones
        @param receive_buffer  of each socket, in bytes; 0: the system's
        @param secure          does the TLS handshake of a socket that is connected
        @param offer           of extensions
        @param at_once         handshakes that may be under way
        """
        end = time.monotonic() + limit_s
        goal = self.opened + count
        for number in range(count):
            sock = sockets[number] if sockets else socket.socket()
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.connect((address, port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock = secure(sock)
            sock.setblocking(False)
            name = path.format(number)
            member = Member(self, name, sock)
            self.members.append(member)
            self._by_fd[sock.fileno()] = member
            self._epoll.register(sock.fileno(), select.EPOLLIN)
            member.send(upgrade_request(name, offer))
            while number + 1 - (self.opened - goal + count) > at_once:
                self._step(end, "the handshakes")
        while self.opened < goal:
            self._step(end, "the handshakes")

    def _step(self, end: float, what: str) -> None:
        if self.gone:
            first = next(m for m in self.members if m.gone)
            raise Failed(f"{first.name} ended during {what}: {first.error or first.code}")
        if time.monotonic() > end:
            raise Failed(f"not in time: {what}")
        self.turn(0.1)

    def watch(self, member: Member) -> None:
        if not member.gone:
            events = select.EPOLLIN | (select.EPOLLOUT if member in self.writing else 0)
            self._epoll.modify(member.socket.fileno(), events)

    def turn(self, wait_s: float) -> None:
        """Reads and writes what is ready."""
        for fd, events in self._epoll.poll(wait_s):
            member = self._by_fd.get(fd)
            if member and events & select.EPOLLOUT:
                member.write()
            if member and events & ~select.EPOLLOUT and not member.gone:
                member.read()

    def run(self, until, limit_s: float) -> bool:
        """Turns until until() holds. @return false when it took too long"""
        end = time.monotonic() + limit_s
        while not until():
            if time.monotonic() > end:
                return False
            self.turn(0.05)
        return True

    def remove(self, member: Member) -> None:
        member.gone = True
        self.gone += 1
        self.writing.discard(member)
        fd = member.socket.fileno()
        self._epoll.unregister(fd)
        del self._by_fd[fd]
        member.socket.close()

    def close(self, limit_s: float = 20) -> None:
        """Ends all with 1000, by the close handshake."""
        for member in self.members:
            if not member.gone:
                member.send(close(1000))
        self.run(lambda: self.gone == len(self.members), limit_s)


class Worker:
    """A function in a process of its own: work(pipe, *args). What it returns comes last, and what
    it raises is raised by `result`."""

    def __init__(self, work, *args, nice: int = 0):
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=self._run, args=(work, theirs, nice, args), daemon=True
        )
        self.process.start()
        theirs.close()

    @staticmethod
    def _run(work, pipe, nice, args):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.alarm(WORKER_S)
        os.nice(nice)
        try:
            pipe.send(("result", work(pipe, *args)))
        except Exception:
            pipe.send(("failed", traceback.format_exc()))

    def tell(self, what) -> None:
        self.pipe.send(what)

    def hear(self, limit_s: float = 60):
        """The next that it sends. What it sends itself is a pair too: what it is, and a value."""
        if not self.pipe.poll(limit_s):
            raise Failed(f"nothing from a client process within {limit_s:g} s")
        try:
            what, value = self.pipe.recv()
        except EOFError:
            raise Failed("a client process has died") from None
        if what == "failed":
            raise Failed("a client process failed: " + value)
        return value

    result = hear

    def kill(self) -> None:
        """kill -9"""
        self.process.kill()
        self.process.join(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


class Workers(list):
    """Several, gone at the end of a `with`."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for worker in self:
            worker.process.kill()
        for worker in self:
            worker.process.join(10)
