"""A connection from the 101 to its end: frames, pings, the close handshake, and peers that break
it off in every way."""

import socket
import struct
import time

import pytest
from websockets.sync.client import connect

from wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Client,
    close_frame,
    frame,
)

ECHO = """
local ws = require "ws"
local go = false
return {
  message = function(conn, data, kind)
    if data == "sleep" then ws.sleep(1) end
    if data == "hold" then
      print("held")
      while not go do ws.sleep(0.01) end
    end
    if data == "close" then conn:close(4001, "as told") end
    if data == "flood" then while conn:send(string.rep("x", 60000)) == "ok" do end return end
    conn:send(data, kind)
  end,
  close = function(conn, code, reason) print("closed " .. code .. " <" .. reason .. ">") end,
  request = function(req)
    go = go or req.query.go ~= nil
    return 200, tostring(ws.all:count())
  end,
}
"""


@pytest.fixture
def echo(serve):
    def start(**limits):
        flags = [flag for name, value in limits.items() for flag in ("--limit", f"{name}={value}")]
        return serve({"echo.lua": ECHO}, *flags)

    return start


def peers(host) -> int:
    return int(host.get("/echo").body)


def release(host) -> None:
    """Handlers that hold go on."""
    host.get("/echo?go=1")


def check_closed(host, code: int, limit_s: float = 10) -> None:
    """`close` ran, once, with this code."""
    host.wait_log(f"closed {code} <", limit_s=limit_s)
    assert host.count('"closed ') == 1, host.text()


# Messages.


def test_messages_of_every_length_come_back(echo):
    with connect(f"ws://localhost:{echo().port}/echo", max_size=None, compression=None) as ws:
        for n in (0, 1, 125, 126, 127, 65535, 65536, 100_000, 1_048_576):
            ws.send("x" * n)
            assert ws.recv(10) == "x" * n
            ws.send(bytes(n))
            assert ws.recv(10) == bytes(n)


def test_many_messages_come_back_in_order(echo):
    with echo().client("/echo") as client:
        for i in range(0, 20_000, 1000):
            client.text(*(str(j) for j in range(i, i + 1000)))
            assert [client.hear_text() for _ in range(1000)] == [str(j) for j in range(i, i + 1000)]


def test_byte_by_byte_it_is_the_same(echo):
    with echo().client("/echo") as client:
        client.trickle(frame(TEXT, "a") + frame(PING, "b") + frame(BINARY, b"c" * 200))
        assert [client.hear() for _ in range(3)] == [
            (TEXT, b"a"),
            (PONG, b"b"),
            (BINARY, b"c" * 200),
        ]


def test_fragments_are_one_message_and_control_frames_come_between(echo):
    with echo().client("/echo") as client:
        client.send(
            frame(TEXT, "one ", fin=False),
            frame(PING, "now"),
            frame(CONTINUATION, "two ", fin=False),
            frame(CONTINUATION, "three"),
        )
        assert client.hear() == (PONG, b"now")
        assert client.hear_text() == "one two three"


@pytest.mark.parametrize("reads", [1, 2, 5])
@pytest.mark.parametrize("off", [-1, 0, 1])
def test_what_just_fills_a_read_is_the_same(echo, reads, off):
    with echo().client("/echo") as client:
        header = 14 if reads > 1 else 8  # with the mask
        data = bytes((reads << 16) + off - header)
        for _ in range(3):
            client.send(frame(BINARY, data))
            assert client.hear() == (BINARY, data)


def test_what_waits_in_the_socket_while_a_handler_holds_up_reading_is_read_then(echo):
    host = echo()
    messages = [f"{i} ".ljust(500, "x") for i in range(3000)]
    with host.client("/echo") as client:
        client.text("hold")
        host.wait_log("held")
        client.socket.setblocking(False)
        text = b"".join(frame(TEXT, message) for message in messages)
        sent = client.socket.send(text)  # as much as fits
        client.socket.setblocking(True)
        release(host)
        assert client.hear_text() == "hold"
        heard = [client.hear_text() for _ in range(sent // (len(text) // len(messages)))]
        assert len(heard) > 200
        assert heard == messages[: len(heard)]


def test_a_slow_reader_of_much_gets_all_of_it_in_order(echo):
    host = echo()
    client = Client(host.port, receive_buffer=8192)
    with client:
        assert client.upgrade("/echo").status == 101
        messages = [f"{i:05}" + "x" * 50_000 for i in range(200)]  # 10 MB, ten times outbox_hard
        client.socket.settimeout(0.5)
        sent = b"".join(frame(TEXT, message) for message in messages)
        heard = 0
        while heard < len(messages):  # writes when it can, reads when it can't
            if sent:
                try:
                    sent = sent[client.socket.send(sent) :]
                    continue
                except TimeoutError:
                    pass
            client.socket.settimeout(15)
            assert client.hear_text() == messages[heard]
            heard += 1
            client.socket.settimeout(0.02)
    check_closed(host, 1006)


# Pings.


def test_a_quiet_peer_is_pinged_and_lives_while_it_answers(echo):
    host = echo(ping_s=0.2, pong_s=5)
    with host.client("/echo") as client:
        for _ in range(4):
            opcode, payload = client.hear()
            assert opcode == PING
            client.send(frame(PONG, payload))
        client.text("still here")
        assert client.hear_text() == "still here"
        assert peers(host) == 1


def test_a_missed_pong_is_the_end(echo):
    host = echo(ping_s=0.2, pong_s=0.3)
    with host.client("/echo") as client:
        assert client.hear()[0] == PING
        assert client.rest() == b""
    check_closed(host, 1006)


def test_the_pong_clock_stands_while_a_handler_holds_up_reading(echo):
    host = echo(ping_s=0.5, pong_s=0.4)
    sent = b"".join(frame(TEXT, text) for text in ("sleep", *(str(i) for i in range(5000))))
    with host.client("/echo") as client:
        client.send(sent)
        assert client.hear_text() == "sleep"
        assert [client.hear_text() for _ in range(5000)] == [str(i) for i in range(5000)]


def test_a_pong_that_lies_behind_what_is_not_read_is_not_missed(echo):
    host = echo(ping_s=0.2, pong_s=3)
    flood = b"".join(frame(TEXT, str(i)) for i in range(5000))
    with host.client("/echo") as client:
        opcode, payload = client.hear()
        assert opcode == PING
        client.send(frame(TEXT, "hold") + flood + frame(PONG, payload))
        host.wait_log("held")
        time.sleep(3.2)  # over pong_s, which does not count while nothing is read
        release(host)
        assert client.hear_text() == "hold"
        assert [client.hear_text() for _ in range(5000)] == [str(i) for i in range(5000)]
        assert host.count("pong_s") == 0


def test_pings_are_answered_while_a_handler_waits(echo):
    host = echo()
    with host.client("/echo") as client:
        client.text("hold")
        client.send(frame(PING, "x"))
        assert client.hear() == (PONG, b"x")
        release(host)
        assert client.hear_text() == "hold"


# The close handshake.


def test_the_peers_close_is_answered_with_its_code_and_the_host_closes_first(echo):
    host = echo()
    with host.client("/echo") as client:
        client.text("last")
        client.send(close_frame(4321, "bye"))
        assert client.hear_text() == "last"
        assert client.hear_close()[0] == 4321
        assert client.rest() == b""
    host.wait_log("closed 4321 <bye>")


def segments_in(client) -> int:
    """How many have come, by linux/tcp.h's tcp_info."""
    info = client.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 144)
    return struct.unpack_from("I", info, 140)[0]


def test_the_last_close_frame_and_the_fin_come_in_one_segment(echo):
    host, counts = echo(), []
    while 1 not in counts and len(counts) < 50:
        with host.client("/echo") as client:
            before = segments_in(client)
            client.send(close_frame(1000))
            assert client.hear_close() == (1000, "")
            assert client.rest() == b""
            counts.append(segments_in(client) - before)
    assert 1 in counts, counts  # now and then the system sends an ACK of its own


def test_a_close_without_a_code_is_1005(echo):
    host = echo()
    with host.client("/echo") as client:
        client.send(frame(CLOSE))
        assert client.hear_close() == (1005, "")
        assert client.rest() == b""
    check_closed(host, 1005)


def test_the_scripts_close_waits_for_the_peers(echo):
    host = echo()
    with host.client("/echo") as client:
        client.text("close", "never run")
        assert client.hear_close() == (4001, "as told")
        client.text("never run")
        client.send(close_frame(4001))
        assert client.rest() == b""
    host.wait_log("closed 4001 <as told>")


def test_a_peer_that_does_not_answer_a_close_is_cut_off_after_close_s(echo):
    host = echo(close_s=0.3)
    with host.client("/echo") as client:
        client.text("close")
        assert client.hear_close()[0] == 4001
        assert client.rest() == b""
    check_closed(host, 4001)


def test_what_follows_a_close_is_dropped(echo):
    host = echo()
    with host.client("/echo") as client:
        client.send(close_frame(1000), frame(TEXT, "never"), b"\xff" * 100_000)
        assert client.hear_close()[0] == 1000
        assert client.rest() == b""
    check_closed(host, 1000)


def test_a_pong_behind_the_peers_close_is_no_reason_for_a_reset(echo):
    host = echo(ping_s=0.1, close_s=60)
    with host.client("/echo") as client:
        opcode, payload = client.hear()
        assert opcode == PING
        client.send(close_frame(1000))
        assert client.hear_close() == (1000, "")
        for i in range(len(payload)):  # the first would bring a reset, and then one fails
            client.send(frame(PONG, payload)[i : i + 1])
            time.sleep(0.02)
        assert client.rest() == b""
    check_closed(host, 1000)


def test_what_the_peer_has_not_yet_read_is_not_lost_by_a_ping_behind_its_close(echo):
    host = echo(close_s=60)
    with host.client("/echo") as client:
        client.text(*["x" * 10_000] * 50)
        time.sleep(0.3)
        client.send(close_frame(1000))
        time.sleep(0.1)
        client.send(frame(PING))  # RFC 6455 section 5.5.2 allows it until the connection is closed
        time.sleep(0.1)
        assert [len(client.hear_text()) for _ in range(50)] == [10_000] * 50
        assert client.hear_close() == (1000, "")
        assert client.rest() == b""
    check_closed(host, 1000)


def test_an_unsolicited_pong_is_no_news(echo):
    with echo().client("/echo") as client:
        client.send(frame(PONG), frame(PONG, "x" * 8), frame(TEXT, "still there"))
        assert client.hear_text() == "still there"
        client.send(close_frame(1000))
        assert client.hear_close()[0] == 1000


# What is not WebSocket.

INVALID = [
    (b"\xff" * 64, 1002),
    (b"GET / HTTP/1.1\r\n\r\n", 1002),
    (frame(TEXT, "unmasked", mask=False), 1002),
    (frame(3, "reserved"), 1002),
    (b"\xc1" + frame(TEXT, "rsv")[1:], 1002),
    (frame(PING, "x" * 126), 1002),
    (frame(PING, "x", fin=False), 1002),
    (frame(CONTINUATION, "of nothing"), 1002),
    (frame(TEXT, "a", fin=False) + frame(TEXT, "b"), 1002),
    (b"\x81\xfe\x00\x05" + b"\0" * 9, 1002),  # a length not in its shortest form
    (b"\x81\xff" + b"\xff" * 8, 1002),
    (frame(CLOSE, b"\x03"), 1002),
    (close_frame(1006), 1002),
    (frame(CLOSE, b"\x03\xe8\xff"), 1007),
    (frame(TEXT, b"\xff"), 1007),
    (frame(TEXT, b"\xed\xa0\x80"), 1007),
    (frame(TEXT, b"\xce", fin=False) + frame(CONTINUATION, b"x"), 1007),
    (b"\x82\xff" + (2**20 + 1).to_bytes(8), 1009),
    (frame(TEXT, "x", fin=False) + frame(CONTINUATION, "", fin=False) * 1024, 1008),
]


@pytest.mark.parametrize("split", [False, True], ids=["whole", "byte by byte"])
def test_each_failing_ends_with_its_code_and_close_runs_once(echo, split):
    host = echo(close_s=60)
    for i, (wrong, code) in enumerate(INVALID):
        with host.client("/echo") as client, host.client("/echo") as other:
            client.text("before")
            assert client.hear_text() == "before"
            try:
                (client.trickle if split else client.send)(wrong)
                client.send(b"more rubbish" * 1000)
            except (BrokenPipeError, ConnectionResetError):
                pytest.fail("cut off before the Close frame could be read")
            got = client.hear_close()[0]
            assert got == code, (wrong[:40], got)
            client.half_close()
            assert client.rest() == b""
            other.text("nothing noticed")
            assert other.hear_text() == "nothing noticed"
            other.send(close_frame(3000))
            assert other.hear_close()[0] == 3000
        host.wait(lambda n=2 * (i + 1): host.count('"closed ') == n)
    assert peers(host) == 0


def test_a_failed_connection_is_in_the_log(echo):
    host = echo()
    with host.client("/echo") as client:
        client.send(frame(TEXT, "unmasked", mask=False))
        assert client.hear_close()[0] == 1002
    host.wait_log('msg="connection failed" code=1002 why="unmasked frame" remote=127.0.0.1')


def test_a_peer_that_fails_and_goes_on_sending_is_cut_off(echo):
    host = echo(close_s=0.3)
    with host.client("/echo") as client:
        client.send(b"\xff" * 10)
        assert client.hear_close()[0] == 1002
        begun = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - begun < 10:
                client.send(b"x")
                time.sleep(0.01)
    check_closed(host, 1002)


# Peers that leave.


def test_a_peer_that_half_closes_gets_what_it_asked_for(echo):
    host = echo()
    with host.client("/echo") as client:
        client.text(*(str(i) for i in range(2000)))
        client.half_close()
        assert [client.hear_text() for _ in range(2000)] == [str(i) for i in range(2000)]
        assert client.rest() == b""
    check_closed(host, 1006)


@pytest.mark.parametrize("end", ["half_close", "reset", "close"])
@pytest.mark.parametrize("n", [0, 1, 3, 7])
def test_a_peer_that_stops_in_the_midst_of_a_frame_is_1006(echo, end, n):
    host = echo()
    client = host.client("/echo")
    client.send(frame(TEXT, "whole"))
    assert client.hear_text() == "whole"
    client.send(frame(TEXT, "broken off")[:n])
    client.socket.close() if end == "close" else getattr(client, end)()
    check_closed(host, 1006)
    client.socket.close()
    assert peers(host) == 0


@pytest.mark.parametrize("end", ["half_close", "reset"])
@pytest.mark.parametrize("more", [0, 5000])
def test_leaving_during_a_wait_is_noticed_at_once(echo, end, more):
    host = echo()
    client = host.client("/echo")
    client.text("hold", *("x" * 20 for _ in range(more)))
    host.wait_log("held")
    assert peers(host) == 1
    getattr(client, end)()
    host.wait(lambda: peers(host) == 0)
    assert host.count('"closed ') == 0  # `close` comes after the handler
    release(host)
    check_closed(host, 1006)
    client.socket.close()


def test_messages_that_came_before_a_fin_still_run(serve):
    host = serve({
        "count.lua": """
            local ws = require "ws"
            local n = 0
            return {
              message = function() if n == 0 then ws.sleep(0.3) end n = n + 1 end,
              close = function(_, code) print("closed " .. code .. " after " .. n) end,
            }"""
    })  # fmt: skip
    with host.client("/count") as client:
        client.text(*(str(i) for i in range(20_000)))
        client.half_close()
        assert client.rest() == b""
    host.wait_log("closed 1006 after 20000")


def test_a_close_frame_found_behind_a_fin_counts(echo):
    host = echo()
    client = host.client("/echo")
    client.text("sleep", *("x" for _ in range(3000)))
    client.send(close_frame(4000))
    client.half_close()
    check_closed(host, 4000)
    client.socket.close()


def test_a_reader_that_stalls_is_lost(echo):
    host = echo(stall_s=0.5)
    client = Client(host.port, receive_buffer=4096)
    assert client.upgrade("/echo").status == 101
    client.text("flood")
    check_closed(host, 1006)
    assert peers(host) == 0
    client.socket.close()


def test_a_slow_reader_that_never_stops_reading_is_no_stalled_one(echo):
    host = echo(stall_s=2)
    client = Client(host.port, receive_buffer=4096)
    assert client.upgrade("/echo").status == 101
    client.text("flood")
    for _ in range(120):  # 6 s, in which the socket may well never take more
        client.take(2000)
        time.sleep(0.05)
    assert peers(host) == 1
    client.socket.close()


def test_many_that_come_and_go_leave_nothing(echo):
    host = echo()
    for _ in range(20):
        clients = [host.client("/echo") for _ in range(20)]
        for i, client in enumerate(clients):
            client.text("a", "sleep") if i % 4 == 0 else client.text("a")
            client.reset() if i % 2 else client.socket.close()
    host.wait(lambda: peers(host) == 0)
    host.wait(lambda: host.count("closed 1006 <") == 400)
