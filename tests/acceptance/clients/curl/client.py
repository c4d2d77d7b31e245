"""libcurl, in the wheel of curl_cffi, as a client of the host. The contract is in ../README.md."""

import select
import sys
from functools import partial

from curl_cffi import Curl, CurlError, CurlInfo, CurlOpt, CurlWsFlag

AGAIN = 81  # CURLE_AGAIN
LIMIT_S = 20
PIECES = 13
SIZES = [int(size) for size in sys.argv[4].split(",")]
KINDS = CurlWsFlag.TEXT | CurlWsFlag.BINARY | CurlWsFlag.CLOSE | CurlWsFlag.PONG


def text(size: int) -> bytes:
    return ("aé漢😀" * (size // 10) + "x" * (size % 10)).encode()


def binary(size: int) -> bytes:
    return (bytes(range(256)) * (size // 256 + 1))[:size]


class Socket:
    def __init__(self, url: str, ca: str):
        self.curl = Curl()
        self.curl.setopt(CurlOpt.URL, url.encode())
        self.curl.setopt(CurlOpt.CONNECT_ONLY, 2)  # to the 101
        if ca:
            self.curl.setopt(CurlOpt.CAINFO, ca.encode())
        self.curl.perform()
        self.fd = self.curl.getinfo(CurlInfo.ACTIVESOCKET)

    def _until_ready(self, call, reads: bool):
        while True:
            try:
                return call()
            except CurlError as error:
                if error.code != AGAIN:
                    raise
            waiting = ([self.fd], [], []) if reads else ([], [self.fd], [])
            assert any(select.select(*waiting, LIMIT_S)), "the host does nothing"

    def send(self, data: bytes, flags: int) -> None:
        """One frame."""
        left = memoryview(data)
        while True:
            left = left[self._until_ready(partial(self.curl.ws_send, left, flags), False) :]
            if not left:
                return

    def receive(self) -> tuple[int, bytes]:
        """A message or a control frame."""
        got, kind = b"", 0
        while True:
            piece, meta = self._until_ready(self.curl.ws_recv, True)
            got += piece
            kind = kind or meta.flags & KINDS
            if meta.bytesleft == 0 and not meta.flags & CurlWsFlag.CONT:
                return kind, got


def echo(socket: Socket, kind: int, data: bytes) -> None:
    socket.send(data, kind)
    assert socket.receive() == (kind, data), f"{len(data)} bytes came back otherwise"
    step = len(data) // PIECES + 1
    pieces = [data[at : at + step] for at in range(0, len(data), step)] or [data]
    for piece in pieces[:-1]:
        socket.send(piece, kind | CurlWsFlag.CONT)
    socket.send(pieces[-1], kind)
    assert socket.receive() == (kind, data), f"{len(data)} bytes in fragments came back otherwise"


def end(socket: Socket) -> str:
    kind, payload = socket.receive()
    assert kind == CurlWsFlag.CLOSE, "no Close frame"
    return f"{int.from_bytes(payload[:2])} {payload[2:].decode()}"


def main(base: str, ca: str) -> None:
    socket = Socket(base + "/echo", ca)
    print(f"version: {socket.curl.version().decode().split()[0].replace('/', ' ')}")
    count = 0
    for size in SIZES:
        echo(socket, CurlWsFlag.TEXT, text(size))
        echo(socket, CurlWsFlag.BINARY, binary(size))
        count += 2
    print(f"echo: {count}")
    print(f"fragments: {count}")
    socket.send(b"are you there", CurlWsFlag.PING)
    assert socket.receive() == (CurlWsFlag.PONG, b"are you there"), "another pong"
    print("ping: ok")
    socket.curl.close()

    socket = Socket(base + "/ends", ca)
    socket.curl.ws_close(4000, b"client first")
    print(f"client_first: {end(socket).rstrip()}")
    socket.curl.close()

    socket = Socket(base + "/ends", ca)
    socket.send(b"4001 server first", CurlWsFlag.TEXT)
    print(f"server_first: {end(socket)}")
    socket.curl.ws_close(4001)
    socket.curl.close()


main(sys.argv[1], sys.argv[3])
