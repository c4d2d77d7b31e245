"""Requests that two servers could read differently: each is refused, its connection closed, and
nothing that stood behind it is ever taken for a request."""

from contextlib import suppress

import pytest

from wire import head

ECHO = """
return { request = function(req) return 200, req.method .. " " .. (req.body or "") end }
"""
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"


def post(*fields: str, body: bytes = b"") -> bytes:
    lines = ["POST /echo HTTP/1.1", "Host: a", *fields]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chunked(body: bytes) -> bytes:
    return post("Transfer-Encoding: chunked", body=body)


@pytest.fixture
def host(serve):
    return serve({"echo.lua": ECHO, "hidden.lua": ECHO})


def refusal(host, data: bytes) -> int:
    """The status of the only answer to it."""
    with host.wire() as wire:
        wire.send(data)
        answer = wire.answer()
        assert answer["connection"] == "close", answer
        assert wire.rest() == b"", answer
    return answer.status


LENGTHS = [
    ["Content-Length: 4", "Content-Length: 4"],
    ["Content-Length: 4", "Content-Length: 5"],
    ["Content-Length: 4", "content-length: 0"],
    ["Content-Length: 4, 4"],
    ["Content-Length: +4"],
    ["Content-Length: -4"],
    ["Content-Length: 0x4"],
    ["Content-Length: 4 4"],
    ["Content-Length: 4;"],
    ["Content-Length: 4.0"],
    ["Content-Length: four"],
    ["Content-Length:"],
    ["Content-Length: 18446744073709551620"],
    ["Content-Length: 99999999999999999999999999"],
]


@pytest.mark.parametrize("fields", LENGTHS, ids=lambda fields: " ".join(fields))
def test_a_length_that_is_not_one_plain_number_is_400(host, fields):
    assert refusal(host, post(*fields, body=b"0\r\n\r\n" + HIDDEN)) == 400


CODINGS = [
    ["Content-Length: 4", "Transfer-Encoding: chunked"],
    ["Transfer-Encoding: chunked", "Content-Length: 4"],
    ["Transfer-Encoding: chunked", "Content-Length: 0"],
    ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
    ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
    ["Transfer-Encoding: chunked, identity"],
    ["Transfer-Encoding: chunked, chunked"],
    ["Transfer-Encoding:"],
    ["Transfer-Encoding: ,"],
    ["Transfer-Encoding:\r\n chunked"],
    ["Transfer-Encoding : chunked"],
    ["Transfer-Encoding\t: chunked"],
    [" Transfer-Encoding: chunked"],
    ["Transfer-Encoding: chunked\r\n "],
    ["X: a\r\n Transfer-Encoding: chunked"],
    ["X: a\nTransfer-Encoding: chunked"],
    ["X: a\rTransfer-Encoding: chunked"],
    ["X: a\r\r\nTransfer-Encoding: chunked"],
    ["X: \0", "Transfer-Encoding: chunked"],
    ["X\0: a", "Transfer-Encoding: chunked"],
    ["Transfer-Encoding: \x0bchunked"],
    ["Transfer-Encoding: chunked\0"],
    [": a", "Transfer-Encoding: chunked"],
    ["X", "Transfer-Encoding: chunked"],
]


@pytest.mark.parametrize("fields", CODINGS, ids=lambda fields: repr(" ".join(fields)))
def test_a_coding_that_does_not_say_chunked_once_and_alone_is_400(host, fields):
    assert refusal(host, post(*fields, body=b"0\r\n\r\n" + HIDDEN)) in (400, 501)


@pytest.mark.parametrize(
    "fields",
    [
        ["Transfer-Encoding: xchunked"],
        ["Transfer-Encoding: identity"],
        ["Transfer-Encoding: gzip"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: \"chunked\""],
        ["Transfer-Encoding: chunked;q=1"],
    ],
    ids=lambda fields: fields[0],
)  # fmt: skip
def test_a_coding_that_nobody_speaks_here_is_501(host, fields):
    assert refusal(host, post(*fields, body=b"0\r\n\r\n" + HIDDEN)) == 501


def test_chunked_with_http_1_0_is_400(host):
    data = chunked(b"0\r\n\r\n" + HIDDEN).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    assert refusal(host, data) == 400


CHUNKS = [
    b"0x4\r\nabcd\r\n0\r\n\r\n",
    b"+4\r\nabcd\r\n0\r\n\r\n",
    b"-4\r\nabcd\r\n0\r\n\r\n",
    b" 4\r\nabcd\r\n0\r\n\r\n",
    b"4 \r\nabcd\r\n0\r\n\r\n",
    b"4\nabcd\r\n0\r\n\r\n",
    b"4\rabcd\r\n0\r\n\r\n",
    b"4\r\nabcd\n0\r\n\r\n",
    b"4\r\nabcd0\r\n\r\n",
    b"4\r\nabcdX\r\n0\r\n\r\n",
    b"4;a=\n\r\nabcd\r\n0\r\n\r\n",
    b"4;a\nabcd\r\n0\r\n\r\n",
    b"4\r\nabcd\r\n0\n\n",
    b"4\r\nabcd\r\n0\r\n\n",
    b"\r\nabcd\r\n0\r\n\r\n",
    b"g\r\nabcd\r\n0\r\n\r\n",
    b"10000000000000004\r\nabcd\r\n0\r\n\r\n",
    b"4\r\nabcd\r\n0\r\nX: a\nY: b\r\n\r\n",
    b"4\r\nabcd\r\n0\r\n X: a\r\n\r\n",
    b"4\r\nabcd\r\n0\r\nContent-Length: 30\r\n\r\n",
]


@pytest.mark.parametrize("body", CHUNKS, ids=repr)
def test_a_chunk_that_is_not_as_it_should_be_is_400(host, body):
    assert refusal(host, chunked(body + HIDDEN)) == 400


HEADS = [
    b"GET  /echo HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /echo  HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET\t/echo HTTP/1.1\r\nHost: a\r\n\r\n",
    b" GET /echo HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /echo HTTP/1.1 \r\nHost: a\r\n\r\n",
    b"GET /ec ho HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /echo HTTP/1.1\nHost: a\n\n",
    b"GET /echo HTTP/1.1\r\nHost: a\r\n\n",
    b"GET /echo HTTP/1.1\r\nHost: a\n\r\n",
    b"GET /echo\r\nHost: a\r\n\r\n",
    b"GET /echo http/1.1\r\nHost: a\r\n\r\n",
    b"GET /echo HTTP/1.1\r\n\r\n",
    b"GET /echo HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    b"GET /echo HTTP/1.1\r\nHost: a, b\r\n\r\n",
    b"GET /echo HTTP/1.1\r\nHost: a b\r\n\r\n",
    b"GET /echo HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET /echo HTTP/1.1\r\n Host: a\r\n\r\n",
    b"GET /echo HTTP/1.1\r\nHost: a@b\r\n\r\n",
    b"GET echo HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /echo#x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"get /echo HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /ec\x00ho HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
]


@pytest.mark.parametrize("bytes_", HEADS, ids=repr)
def test_a_head_that_bends_the_grammar_is_400(host, bytes_):
    assert refusal(host, bytes_ + HIDDEN) == 400


def test_what_only_looks_like_framing_frames_nothing(host):
    with host.wire() as wire:
        # Another name, a trailer's value, an extension, a chunk that holds a request.
        wire.send(head("/echo", **{"X-Content-Length": "5", "Transfer.Encoding": "chunked"}))
        assert wire.answer().body == b"GET "
        wire.send(chunked(b"4;Content-Length=9\r\nabcd\r\n0\r\nX: Content-Length: 30\r\n\r\n"))
        assert wire.answer().body == b"POST abcd"
        wire.send(chunked(b"%x\r\n%s\r\n00000\r\n\r\n" % (len(HIDDEN), HIDDEN)))
        assert wire.answer().body == b"POST " + HIDDEN
        wire.send(post(f"Content-Length: {len(HIDDEN)}", body=HIDDEN))
        assert wire.answer().body == b"POST " + HIDDEN
        wire.send(head("/echo", Connection="close"))
        assert wire.answer().body == b"GET " and wire.rest() == b""


def test_a_get_with_a_body_keeps_its_frame(host):
    with host.wire() as wire:
        wire.send(head("/echo", Content_Length=len(HIDDEN)), HIDDEN, head("/echo"))
        assert wire.answer().body == b"GET " + HIDDEN
        assert wire.answer().body == b"GET "


def test_after_a_refusal_nothing_that_follows_is_read_as_a_request(host):
    with host.wire() as wire:
        wire.send(post("Content-Length: x"))
        assert wire.answer().status == 400
        wire.send(HIDDEN)
        with suppress(ConnectionResetError):
            assert wire.rest() == b""
