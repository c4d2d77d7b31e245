"""perigee connect in a pipe: against a real host, and against servers that misbehave."""

import base64
import re
import socket
import subprocess
from contextlib import suppress

import pytest

from conftest import program
from support.server import Server, answers, close, hear, hear_frame, says, upgraded
from wire import CLOSE, PING, PONG, TEXT, frame

ECHO = """
local echo = {}
function echo.message(conn, data, kind) conn:send(data, kind) end
return echo
"""

# Says on opening what the request was.
ASKED = """
local asked = { subprotocols = { "v2", "v1" } }
function asked.upgrade(req)
  local head = req.headers
  local seen = {
    tenant = head["x-tenant"], twice = head["x-twice"], auth = head["authorization"],
    origin = head["origin"], offered = head["sec-websocket-protocol"], path = req.path,
  }
  return { data = seen }
end
function asked.open(conn) conn:send(conn.data) end
return asked
"""


# --- a pipe ---


def test_lines_are_messages_and_messages_are_lines(serve, connect):
    host = serve({"echo.lua": ECHO})
    lines = b"one\n\n  two \r\n\xc3\xa4\xe2\x82\xac\nlast, without a line feed"
    assert connect(f"{host.ws}/echo", data=lines) == (0, lines + b"\n", "")


def test_nothing_is_said_where_nothing_comes(serve, connect):
    host = serve({"echo.lua": ECHO})
    assert connect(f"{host.ws}/echo") == (0, b"", "")


def test_a_large_load_comes_back_whole(serve, connect):
    host = serve({"echo.lua": ECHO})
    lines = b"".join(b"%07d %s\n" % (i, b"x" * (i % 997)) for i in range(20_000))
    status, out, err = connect(f"{host.ws}/echo", data=lines)
    assert (status, err) == (0, "")
    assert out == lines  # not in the tuple: a difference of 10 MB is no fun to read


def test_a_large_message_goes_both_ways(serve, connect):
    host = serve({"echo.lua": ECHO})
    line = b"z" * 900_000
    assert connect(f"{host.ws}/echo", data=line)[:2] == (0, line + b"\n")


def test_a_line_that_is_no_text_is_an_error(serve, connect):
    host = serve({"echo.lua": ECHO})
    status, out, err = connect(f"{host.ws}/echo", data=b"good\n\xff\nnever sent\n")
    assert (status, out) == (1, b"good\n")
    assert "not UTF-8" in err and "--binary" in err


def test_binary_goes_and_comes_as_it_is(serve, connect):
    host = serve({"echo.lua": ECHO})
    status, out, _ = connect("--binary", f"{host.ws}/echo", data=b"\xff\x00\nab\n")
    assert (status, out) == (0, b"\xff\x00ab")  # no line feed was in a message


def test_http_is_a_synonym_and_localhost_has_both_families(serve, connect):
    host = serve({"echo.lua": ECHO})
    url = f"http://localhost:{host.port}/echo"
    assert connect(url, data=b"hi") == (0, b"hi\n", "")


def test_an_ipv6_address_is_in_brackets(serve, connect):
    host = serve({"echo.lua": ECHO}, "--host", "::1")
    assert connect(f"ws://[::1]:{host.port}/echo", data=b"hi") == (0, b"hi\n", "")


# --- options ---


def test_headers_protocols_and_origin_are_sent(serve, connect):
    host = serve({"asked.lua": ASKED}, "--limit=origins=https://page.example")
    flags = ["--header", "X-Tenant: red", "--header=X-Twice:a", "--protocol", "v1"]
    flags += ["--protocol=v2", "--origin", "https://page.example", "--count=1"]
    status, out, err = connect(*flags, f"ws://me:pass@127.0.0.1:{host.port}/asked")
    assert (status, err) == (0, "")
    for part in (
        b'"tenant":"red"',
        b'"twice":"a"',
        b'"auth":"Basic bWU6cGFzcw=="',
        b'"origin":"https://page.example"',
        b'"offered":"v1, v2"',
        b'"path":"/asked"',
    ):
        assert part in out


def test_count_ends_after_so_many(connect):
    def serve(connection, head):
        connection.sendall(upgraded(head) + b"".join(texts))
        assert hear(connection) == (CLOSE, (1000).to_bytes(2))
        connection.sendall(close(1000))

    texts = [frame(TEXT, f"{i}", mask=False) for i in range(5)]
    server = Server(serve)
    assert connect("--count", "3", server.url) == (0, b"0\n1\n2\n", "")
    server.end()


def test_a_close_that_is_not_answered_is_a_failure(connect):
    server = Server(says())
    status, out, err = connect(server.url)
    assert (status, out) == (1, b"")
    assert "did not answer our Close frame" in err
    server.end()


def test_count_waits_behind_the_end_of_stdin(serve, connect):
    script = """
    local ws = require "ws"
    local late = {}
    function late.open(conn)
      conn:send("a")
      ws.sleep(0.3)
      conn:send("b")
      conn:send("c")
    end
    return late
    """
    host = serve({"late.lua": script})
    assert connect("--count=2", f"{host.ws}/late") == (0, b"a\nb\n", "")


def test_count_that_does_not_come_true_is_a_failure(connect):
    server = Server(says(frame(TEXT, "one", mask=False) + close(1000)))
    status, out, err = connect("--count=2", server.url)
    assert (status, out) == (1, b"one\n")
    assert "1 of 2 messages came" in err
    server.end()


def test_wait_listens_on(serve, connect):
    script = """
    local ws = require "ws"
    local slow = {}
    function slow.message(conn, text)
      ws.sleep(0.3)
      conn:send(text)
      ws.sleep(0.1)
      if text == "bye" then conn:close(1000, "done") end
    end
    return slow
    """
    host = serve({"slow.lua": script})
    assert connect("--wait=forever", f"{host.ws}/slow", data=b"bye") == (0, b"bye\n", "")
    assert connect("--wait=60", f"{host.ws}/slow", data=b"bye") == (0, b"bye\n", "")
    # Not any longer than that:
    assert connect("--wait=0.01", f"{host.ws}/slow")[:2] == (0, b"")


def test_pings_are_sent_and_answered(connect):
    heard = []

    def serve(connection, head):
        connection.sendall(upgraded(head) + frame(PING, b"are you", mask=False))
        while len(heard) < 4:
            opcode, payload = hear(connection)
            heard.append((opcode, payload))
            if opcode == PING:
                connection.sendall(frame(PONG, payload, mask=False))
        connection.sendall(close(1000))
        while hear(connection)[0] != CLOSE:
            pass

    server = Server(serve)
    assert connect("--ping=1", "--wait=forever", server.url) == (0, b"", "")
    server.end()
    assert (PONG, b"are you") in heard
    pings = [payload for opcode, payload in heard if opcode == PING]
    assert len(pings) == 3 and len(set(pings)) == 3


def test_a_ping_without_an_answer_is_the_end(connect):
    server = Server(says())
    status, out, err = connect("--ping=0.05", "--wait=forever", server.url)
    assert (status, out) == (1, b"")
    assert "1006" in err and "no answer to a ping" in err
    server.end()


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("ws://a", "ws://b"),
        ("--frob", "ws://a"),
        ("ftp://a",),
        ("localhost:8000",),
        ("ws://a", "--header"),
        ("ws://a", "--header=novalue"),
        ("ws://a", "--header=A: b\nC: d"),
        ("ws://a", "--header=Connection: close"),
        ("ws://a", "--header=Sec-WebSocket-Protocol: x"),
        ("ws://a", "--protocol=a b"),
        ("ws://a", "--protocol=a", "--protocol=a"),
        ("ws://a", "--count=0"),
        ("ws://a", "--count=-1"),
        ("ws://a", "--wait=soon"),
        ("ws://a", "--wait=nan"),
        ("ws://a", "--ping=0"),
        ("ws://a", "--origin="),
        ("ws://a", "--echo", "--binary"),
        ("ws://a", "--no-deflate=yes"),
    ],
)
def test_wrong_usage_is_2(connect, args):
    status, out, err = connect(*args)
    assert (status, out) == (2, b"")
    assert err.startswith("perigee: ")


def test_help_is_there(connect):
    status, out, err = connect("--help")
    assert (status, err) == (0, "")
    for option in (b"--header", b"--protocol", b"--origin", b"--binary", b"--ping", b"--count"):
        assert option in out


# --- refusals and redirects ---


def test_a_refusal_is_told_with_its_body(serve, connect):
    script = """
    local ws = require "ws"
    local no = {}
    function no.upgrade() ws.reject(403, "wrong key\\27[2J") end
    return no
    """
    host = serve({"no.lua": script})
    status, out, err = connect(f"{host.ws}/no")
    assert (status, out) == (1, b"")
    assert "refused: 403 Forbidden\n" in err
    assert "wrong key\\x1b[2J\n" in err


def test_where_nobody_listens_is_told(connect):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    status, _, err = connect(f"ws://127.0.0.1:{port}/")
    assert status == 1
    assert f"can't connect to 127.0.0.1:{port}: Connection refused" in err


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(serve, connect, status):
    host = serve({"asked.lua": ASKED})
    to = f"HTTP/1.1 {status} Go\r\nLocation: {host.http}/asked#top\r\nContent-Length: 2\r\n\r\nto"
    server = Server(answers(to))
    secrets = ["--header=Authorization: Bearer x", "--header=X-Tenant: red"]
    code, out, err = connect(*secrets, "--count=1", server.url)
    assert (code, err) == (0, "")
    assert b"Bearer" not in out and b"tenant" not in out  # another host
    assert "Authorization: Bearer x" in server.heads[0]
    server.end()


def test_a_redirect_on_the_same_host_keeps_the_headers(connect):
    def second(connection, head):
        connection.sendall(upgraded(head) + close(1000))
        hear(connection)

    go = "HTTP/1.1 302 Found\r\nLocation: ../b?c\r\nContent-Length: 0\r\n\r\n"
    server = Server(answers(go), second)
    url = server.url.replace("//", "//me:pass@") + "x/a"
    assert connect("--header=Cookie: k=v", "--wait=forever", url) == (0, b"", "")
    server.end()
    assert server.heads[1].startswith("GET /b?c HTTP/1.1\r\n")
    for head in server.heads:
        assert "Cookie: k=v\r\n" in head
        assert "Authorization: Basic bWU6cGFzcw==\r\n" in head


def test_redirects_come_to_an_end(connect):
    go = "HTTP/1.1 307 Again\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n"
    server = Server(*[answers(go)] * 6)
    status, _, err = connect(server.url)
    assert status == 1 and "more than 5" in err
    server.end()
    assert len(server.heads) == 6


def test_a_redirect_to_no_websocket_is_told(connect):
    server = Server(answers("HTTP/1.1 302 F\r\nLocation: ftp://a/\r\nContent-Length: 0\r\n\r\n"))
    status, _, err = connect(server.url)
    assert status == 1 and "no WebSocket" in err
    server.end()


# --- servers that misbehave ---


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.replace(b"Accept: ", b"Accept: A"), "Sec-WebSocket-Accept"),
        (lambda a: a.replace(b"Upgrade: websocket", b"Upgrade: h2c"), "Upgrade"),
        (lambda a: a.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: x\r\n\r\n"), "offered"),
        (lambda a: b"SSH-2.0-OpenSSH\r\n", "not HTTP"),
        (lambda a: b"", "without an answer"),
        (lambda a: a[:40], "midst"),
        (lambda a: b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 300 + b"\r\n", "too many fields"),
    ],
)
def test_a_bad_handshake_is_refused(connect, change, words):
    def serve(connection, head):
        connection.sendall(change(upgraded(head)))

    server = Server(serve)
    status, out, err = connect(server.url, data=b"secret\n")
    assert (status, out) == (1, b"")
    assert words in err
    server.end()


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        (1000, 0, ""),
        (1001, 0, ""),
        (1002, 1, "protocol error"),
        (1008, 1, "against its policy"),
        (1011, 1, "an error of its own"),
        (1013, 1, "try again later"),
        (3000, 1, "registered by a library or framework"),
        (4001, 1, "the application's own"),
    ],
)
def test_a_close_code_is_told_in_words(connect, code, status, words):
    heard = []

    def serve(connection, head):
        connection.sendall(upgraded(head) + frame(TEXT, "x", mask=False) + close(code, "so"))
        heard.append(hear(connection))

    server = Server(serve)
    code_seen, out, err = connect("--wait=forever", server.url)
    assert (code_seen, out) == (status, b"x\n")
    assert err == (f"perigee: closed: {code} ({words}): so\n" if status else "")
    server.end()
    assert heard == [(CLOSE, code.to_bytes(2))]


def test_a_close_without_a_code_is_an_end_like_any(connect):
    def serve(connection, head):
        connection.sendall(upgraded(head) + frame(CLOSE, mask=False))
        assert hear(connection) == (CLOSE, b"")

    server = Server(serve)
    assert connect("--wait=forever", server.url) == (0, b"", "")
    server.end()


def test_each_connection_and_each_frame_has_a_key_of_its_own(connect):
    keys = []

    def serve(connection, head):
        connection.sendall(upgraded(head))
        keys.extend(hear_frame(connection)[1] for _ in range(20))

    server = Server(serve, serve)
    for _ in range(2):
        connect(server.url, data=b"the same\n" * 19)
    server.end()
    assert len(set(keys)) >= 39  # of 40: two of 2^32 may be the same, three hardly
    nonces = [re.search(r"Sec-WebSocket-Key: (\S+)", head)[1] for head in server.heads]
    assert nonces[0] != nonces[1]
    assert [len(base64.b64decode(nonce, validate=True)) for nonce in nonces] == [16, 16]


def test_after_both_close_frames_the_host_closes_first(connect):
    gone_first = []

    def serve(connection, head):
        connection.sendall(upgraded(head) + close(1000, ""))
        assert hear(connection)[0] == CLOSE
        connection.settimeout(0.3)
        with suppress(TimeoutError):
            gone_first.append(connection.recv(1))

    server = Server(serve)
    assert connect("--wait=forever", server.url) == (0, b"", "")
    server.end()
    assert gone_first == []


def test_a_lost_connection_is_1006(connect):
    def serve(connection, head):
        connection.sendall(upgraded(head) + frame(TEXT, "x", mask=False))

    server = Server(serve)
    status, out, err = connect("--wait=forever", server.url)
    assert (status, out) == (1, b"x\n")
    assert "closed: 1006 (the connection was lost)" in err
    server.end()


def test_a_broken_protocol_is_answered_and_told(connect):
    heard = []

    def serve(connection, head):
        connection.sendall(upgraded(head) + frame(TEXT, "x"))  # masked
        heard.append(hear(connection))

    server = Server(serve)
    status, out, err = connect("--wait=forever", server.url)
    assert (status, out) == (1, b"")
    assert "broke the protocol: masked frame" in err
    server.end()
    assert heard[0][0] == CLOSE and heard[0][1][:2] == (1002).to_bytes(2)


def test_standard_descriptors_that_are_closed_do_no_harm(serve):
    host = serve({"echo.lua": ECHO})
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" connect "$1" <&- >&-', program(), f"{host.ws}/echo"],
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
