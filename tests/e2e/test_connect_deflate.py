"""perigee connect and permessage-deflate: what is offered, agreed on, and then sent."""

import zlib

import pytest

from support.server import Server, close, hear, hear_frame, upgraded
from wire import BINARY, CLOSE, CONTINUATION, TEXT, frame

RSV1 = 0x40
TAIL = b"\x00\x00\xff\xff"
FIELD = b"Sec-WebSocket-Extensions: "
PMD = b"permessage-deflate"
ECHO = "return { message = function(conn, data, kind) conn:send(data, kind) end }"
LINE = b"a line that is worth it, " * 8


def answered(head: bytes, value: bytes) -> bytes:
    return upgraded(head, FIELD + value + b"\r\n")


class Zlib:
    """A server's side, by Python's zlib alone. Contexts are kept."""

    def __init__(self, bits: int = 15):
        self.deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
        self.inflater = zlib.decompressobj(-bits)

    def pack(self, message: bytes) -> bytes:
        packed = self.deflater.compress(message) + self.deflater.flush(zlib.Z_SYNC_FLUSH)
        assert packed.endswith(TAIL)
        return packed[:-4]

    def unpack(self, payload: bytes) -> bytes:
        return self.inflater.decompress(payload + TAIL)


def compressed(opcode: int, payload: bytes) -> bytes:
    data = bytearray(frame(opcode, payload, mask=False))
    data[0] |= RSV1
    return bytes(data)


def test_it_is_offered_unless_it_is_not_wanted(connect):
    def serve(connection, head):
        connection.sendall(upgraded(head))
        hear(connection)
        connection.sendall(close(1000))

    server = Server(serve, serve)
    assert connect(server.url) == (0, b"", "")
    assert connect("--no-deflate", server.url) == (0, b"", "")
    server.end()
    offer = f"{FIELD.decode()}permessage-deflate; client_max_window_bits\r\n"
    assert offer in server.heads[0]
    assert "Extensions" not in server.heads[1]


def test_what_is_agreed_on_is_told_by_verbose(serve, connect):
    host = serve({"echo.lua": ECHO}, "--limit=deflate_takeover=true", "--limit=deflate_window=10")
    url = f"{host.ws}/echo"
    agreed = "permessage-deflate; client_max_window_bits=10"
    for flags, told in (
        ((), ""),
        (("--verbose",), f"perigee: connected to {url}, {agreed}\n"),
        (("--verbose", "--no-deflate"), f"perigee: connected to {url}, not compressed\n"),
    ):
        assert connect(*flags, url, data=b"hi") == (0, b"hi\n", told)


@pytest.mark.parametrize(
    "limits", [(), ("deflate_takeover=true",), ("deflate_takeover=true", "deflate_window=9")]
)
def test_all_sizes_go_both_ways(serve, connect, limits):
    host = serve({"echo.lua": ECHO}, *(f"--limit={limit}" for limit in limits))
    lines = b"".join(b"%06d" % i + b"x" * (i * 97 % 30_000) + b"\n" for i in range(300))
    lines += bytes(range(32, 127)) * 9000 + b"\n"
    status, out, err = connect(f"{host.ws}/echo", data=lines)
    assert (status, err) == (0, "")
    assert out == lines


def test_long_messages_are_compressed_and_short_ones_are_not(connect):
    def serve(connection, head):
        connection.sendall(answered(head, PMD))
        peer = Zlib()
        assert hear(connection) == (TEXT, b"short")
        sizes = []
        for _ in range(2):
            first, _, payload = hear_frame(connection)
            assert first == 0x80 | RSV1 | TEXT
            assert peer.unpack(payload) == LINE
            sizes.append(len(payload))
        assert sizes[1] < sizes[0] < len(LINE) / 2  # the second one by the first
        assert hear(connection) == (CLOSE, (1000).to_bytes(2))
        connection.sendall(close(1000))

    server = Server(serve)
    lines = b"short\n" + LINE + b"\n" + LINE
    assert connect(server.url, data=lines) == (0, b"", "")
    server.end()


def test_what_comes_is_decompressed_in_fragments_and_by_its_context(connect):
    def serve(connection, head):
        peer = Zlib()
        first, second, third = peer.pack(LINE), peer.pack(LINE), peer.pack(b"\xff\x00")
        assert len(second) < 16
        connection.sendall(
            answered(head, PMD)
            + compressed(TEXT, first)
            + bytes([RSV1 | TEXT, 3])
            + second[:3]
            + frame(CONTINUATION, second[3:], mask=False)
            + compressed(BINARY, third)
            + close(1000)
        )
        hear(connection)

    server = Server(serve)
    assert connect("--wait=forever", server.url) == (0, LINE + b"\n" + LINE + b"\n\xff\x00", "")
    server.end()


def test_a_window_that_the_server_wants_smaller_is_kept_to(connect):
    text = bytes(33 + i * i % 89 for i in range(1500))

    def serve(connection, head):
        connection.sendall(answered(head, PMD + b"; client_max_window_bits=9"))
        first, _, payload = hear_frame(connection)
        assert first & RSV1
        assert Zlib(bits=9).unpack(payload) == text * 2
        hear(connection)
        connection.sendall(close(1000))

    server = Server(serve)
    assert connect(server.url, data=text * 2) == (0, b"", "")
    server.end()


@pytest.mark.parametrize(
    "answer",
    [
        b"permessage-bzip2",
        PMD + b", " + PMD,
        PMD + b"; client_max_window_bits",
        PMD + b"; server_max_window_bits=16",
        PMD + b"; server_no_context_takeover; server_no_context_takeover",
        PMD + b"; unheard_of",
        b"=",
    ],
)
def test_an_answer_that_is_none_to_the_offer_is_not_believed(connect, answer):
    server = Server(lambda connection, head: connection.sendall(answered(head, answer)))
    status, out, err = connect(server.url, data=b"secret\n")
    assert (status, out) == (1, b"")
    assert "its extensions are not as they were offered" in err
    server.end()


def test_an_extension_without_an_offer_is_not_believed(connect):
    server = Server(lambda connection, head: connection.sendall(answered(head, PMD)))
    status, _, err = connect("--no-deflate", server.url)
    assert (status, "none was offered" in err) == (1, True)
    server.end()


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (Zlib().pack(bytes((16 << 20) + 1)), 1009),
        (b"\x07", 1007),
        (Zlib().pack(b"\xff"), 1007),
    ],
    ids=["bomb", "not deflated", "not UTF-8"],
)
@pytest.mark.parametrize("answer", [PMD, PMD + b"; server_no_context_takeover"])
def test_what_cannot_be_taken_ends_it(connect, payload, code, answer):
    heard = []

    def serve(connection, head):
        connection.sendall(answered(head, answer) + compressed(TEXT, payload))
        heard.append(hear(connection))

    server = Server(serve)
    status, out, err = connect("--wait=forever", server.url)
    assert (status, out) == (1, b"")
    assert "broke the protocol" in err
    server.end()
    assert heard[0][0] == CLOSE and heard[0][1][:2] == code.to_bytes(2)


def test_compressed_without_having_agreed_is_an_error(connect):
    def serve(connection, head):
        connection.sendall(upgraded(head) + compressed(TEXT, Zlib().pack(b"x")))
        assert hear(connection)[1][:2] == (1002).to_bytes(2)

    server = Server(serve)
    assert connect("--wait=forever", server.url)[0] == 1
    server.end()
