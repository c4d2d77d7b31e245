"""perigee connect --echo: a client that tests servers."""

import os

import pytest

from support.server import Server, close, hear, upgraded
from wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame


def serves(*frames: bytes, then: bytes = close(1000)):
    """Serves: frames, then hears as many and the end. What was heard is in the list."""
    heard = []

    def serve(connection, head):
        connection.sendall(upgraded(head) + b"".join(frames))
        heard.extend(hear(connection) for _ in frames)
        connection.sendall(then)
        heard.append(hear(connection))

    return serve, heard


def plain(opcode: int, payload: bytes | str = b"", **options) -> bytes:
    return frame(opcode, payload, mask=False, **options)


def test_each_message_comes_back_as_it_came(connect):
    noise = os.urandom(70_000)
    serve, heard = serves(
        plain(TEXT, "one"), plain(BINARY, b"\xff\n"), plain(TEXT), plain(BINARY, noise)
    )
    server = Server(serve)
    assert connect("--echo", server.url, data=b"not sent\n") == (0, b"", "")
    server.end()
    assert heard[:3] == [(TEXT, b"one"), (BINARY, b"\xff\n"), (TEXT, b"")]
    assert heard[3] == (BINARY, noise)
    assert heard[4:] == [(CLOSE, (1000).to_bytes(2))]


def test_fragments_come_back_whole_and_pongs_in_their_place(connect):
    heard = []

    def serve(connection, head):
        connection.sendall(
            upgraded(head)
            + plain(TEXT, "fi", fin=False)
            + plain(PING, "a")
            + plain(CONTINUATION, "rst")
            + plain(PING, "b")
            + plain(TEXT, "second")
        )
        heard.extend(hear(connection) for _ in range(4))
        connection.sendall(close(1000))
        hear(connection)

    server = Server(serve)
    assert connect("--echo", server.url) == (0, b"", "")
    server.end()
    assert heard == [(PONG, b"a"), (TEXT, b"first"), (PONG, b"b"), (TEXT, b"second")]


def test_what_comes_right_before_the_close_comes_back_too(connect):
    large, heard = b"l" * 300_000, []

    def serve(connection, head):
        frames = plain(TEXT, large) + plain(TEXT, "small") + close(1000)
        connection.sendall(upgraded(head) + frames)
        heard.extend(hear(connection) for _ in range(3))

    server = Server(serve)
    assert connect("--echo", server.url) == (0, b"", "")
    server.end()
    assert [opcode for opcode, _ in heard] == [TEXT, TEXT, CLOSE]
    assert heard[0][1] == large and heard[1][1] == b"small"


def test_it_ends_as_the_other_side_ends_it(connect):
    for code, status in ((1000, 0), (1001, 0), (1011, 1)):
        serve, heard = serves(plain(TEXT, "x"), then=close(code))
        server = Server(serve)
        assert connect("--echo", server.url)[:2] == (status, b"")
        server.end()
        assert heard == [(TEXT, b"x"), (CLOSE, code.to_bytes(2))]


@pytest.mark.parametrize("flags", [("--count=2",), ("--wait=0.3",)])
def test_count_and_wait_end_it_too(connect, flags):
    serve, heard = serves(plain(TEXT, "a"), plain(TEXT, "b"), then=b"")

    def serve_and_close(connection, head):
        serve(connection, head)
        connection.sendall(close(1000))

    server = Server(serve_and_close)
    assert connect("--echo", *flags, server.url) == (0, b"", "")
    server.end()
    assert heard == [(TEXT, b"a"), (TEXT, b"b"), (CLOSE, (1000).to_bytes(2))]


def test_a_broken_protocol_ends_it(connect):
    serve, heard = serves(plain(TEXT, "x"), then=plain(TEXT, b"\xff"))
    server = Server(serve)
    status, out, err = connect("--echo", server.url)
    assert (status, out) == (1, b"")
    assert "not UTF-8" in err
    server.end()
    assert heard[1][0] == CLOSE and heard[1][1][:2] == (1007).to_bytes(2)
