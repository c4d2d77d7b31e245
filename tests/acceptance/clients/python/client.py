"""Python's websockets as a client of the host. The contract is in ../README.md."""

import ssl
import sys

import websockets
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

SIZES = [int(size) for size in sys.argv[4].split(",")]
PIECES = 13


def text(size: int) -> str:
    return "aé漢😀" * (size // 10) + "x" * (size % 10)


def binary(size: int) -> bytes:
    return (bytes(range(256)) * (size // 256 + 1))[:size]


def pieces(data):
    step = len(data) // PIECES + 1
    return [data[at : at + step] for at in range(0, len(data), step)] or [data]


def main(base: str, compressed: bool, ca: str) -> None:
    options = {"compression": "deflate" if compressed else None, "max_size": None}
    if ca:
        options["ssl"] = ssl.create_default_context(cafile=ca)
    print(f"version: websockets {websockets.__version__}")

    with connect(base + "/echo", **options) as socket:
        count = fragmented = 0
        for size in SIZES:
            for data in (text(size), binary(size)):
                socket.send(data)
                assert socket.recv() == data, f"{size} bytes came back otherwise"
                socket.send(iter(pieces(data)))
                assert socket.recv() == data, f"{size} bytes in fragments came back otherwise"
                count, fragmented = count + 1, fragmented + 1
        print(f"echo: {count}")
        print(f"fragments: {fragmented}")
        assert socket.ping(b"are you there").wait(20), "no pong"
        print("ping: ok")

    with connect(base + "/ends", **options) as socket:
        socket.close(4000, "client first")
        print(f"client_first: {socket.protocol.close_code}")

    with connect(base + "/ends", **options) as socket:
        socket.send("4001 server first")
        try:
            socket.recv(20)
        except ConnectionClosed as end:
            print(f"server_first: {end.rcvd.code} {end.rcvd.reason}")


main(sys.argv[1], sys.argv[2] == "compressed", sys.argv[3])
