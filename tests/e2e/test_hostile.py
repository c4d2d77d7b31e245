"""Peers that are slow, that vanish, and that want to be a burden."""

import json
import re
import shutil
import socket
import time
from contextlib import suppress

import pytest

from conftest import Host
from support import netns
from support.host import built
from wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    LIMIT_S,
    PING,
    PONG,
    TEXT,
    Client,
    close_frame,
    frame,
    upgrade_head,
)

FEED = """
local ws = require "ws"
local number, heard, member = 0, 0, nil
local drains, closes = ws.json.array {}, ws.json.array {}
return {
  open = function(conn, req)
    if req.query.feed then
      conn:join "feed"
      member = conn
    end
  end,
  message = function(conn, data, kind)
    heard = heard + 1
    if data == "flood" then
      while conn:send(("x"):rep(60000)) do end
    end
    conn:send(data, kind)
  end,
  drain = function(_, missed) drains[#drains + 1] = missed end,
  close = function(_, code) closes[#closes + 1] = code end,
  request = function(req)
    local slow, size = req.query.slow, tonumber(req.query.size or "0")
    if slow then
      number = number + 1
      ws.room("feed"):broadcast(("%06d"):format(number) .. ("x"):rep(size), { slow = slow })
    end
    return 200, {
      number = number, heard = heard, drains = drains, closes = closes, count = ws.all:count(),
      buffered = member and member.buffered or 0,
    }
  end,
}
"""

BIG = 200_000  # of a message that a socket takes only in part


@pytest.fixture
def feed(serve):
    def start(**limits):
        flags = [flag for name, value in limits.items() for flag in ("--limit", f"{name}={value}")]
        return serve({"feed.lua": FEED}, *flags)

    return start


def ask(host: Host, query: str = "") -> dict:
    return json.loads(host.get(f"/feed{query}").body)


def reader(host: Host, path: str = "/feed?feed=yes") -> Client:
    """One whose socket soon takes nothing more."""
    client = Client(host.port, receive_buffer=4096)
    assert client.upgrade(path).status == 101
    return client


def check_closes(host: Host, *codes: int) -> None:
    """`close` ran for each of these, and for nobody else."""
    host.wait(lambda: len(ask(host)["closes"]) >= len(codes), 20)
    seen = ask(host)
    assert (sorted(seen["closes"]), seen["count"]) == (sorted(codes), 0)


def fill(host: Host, slow: str, size: int) -> int:
    """Broadcasts until something waits for the slow one. Its number."""
    for _ in range(4000):
        seen = ask(host, f"?slow={slow}&size={size}")
        if seen["buffered"] > 0:
            return seen["number"]
    raise AssertionError("its socket takes everything")


def settled(host: Host) -> int:
    """What waits for the slow one once its socket takes no more: as much twice in a row."""

    def twice() -> int:
        before = ask(host)["buffered"]
        time.sleep(0.2)
        return before if ask(host)["buffered"] == before else 0

    return host.wait(twice)


def numbers(client: Client, size: int, until: int = 0) -> list[int]:
    """The numbers heard: up to one, or to the end."""
    heard = []
    while not until or heard[-1:] != [until]:
        opcode, payload = client.hear()
        if opcode != TEXT:
            assert (opcode, payload[:2]) == (CLOSE, (1013).to_bytes(2)), (opcode, payload)
            assert client.rest() == b""
            break
        assert payload[6:] == b"x" * size, f"message {payload[:6]} is not whole"
        heard.append(int(payload[:6]))
    return heard


# Slow readers. BIG frames are longer than the soft limit, and the socket has taken a part of the
# first one that waits when the policy bites.


def test_close_finishes_the_frame_on_the_wire_and_ends_with_1013(feed):
    host = feed(outbox_soft="64 KiB")
    with reader(host) as client:
        begun = fill(host, "close", BIG)
        assert ask(host, f"?slow=close&size={BIG}")["number"] == begun + 1
        assert host.wait(lambda: ask(host)["closes"]) == [1013]
        heard = numbers(client, BIG)
    assert heard == list(range(1, heard[-1] + 1)) and heard[-1] in (begun - 1, begun)
    assert ask(host)["drains"] == []


def test_drop_leaves_out_what_it_says_in_drain_and_never_part_of_a_frame(feed):
    host = feed(outbox_soft="64 KiB")
    with reader(host) as client:
        begun = fill(host, "drop", BIG)
        for _ in range(5):
            ask(host, f"?slow=drop&size={BIG}")
        heard = numbers(client, BIG, begun)
        host.wait(lambda: ask(host)["drains"])
        last = ask(host, f"?slow=drop&size={BIG}")["number"]
        heard += numbers(client, BIG, last)
        drains = ask(host)["drains"]
    assert heard == [*range(1, begun + 1), last]
    assert drains == [5]
    check_closes(host, 1006)


def test_latest_spares_a_frame_on_the_wire_and_counts_what_gave_way(feed):
    host = feed(outbox_soft="64 KiB")
    with reader(host) as client:
        begun = fill(host, "latest", BIG)
        for _ in range(6):
            last = ask(host, f"?slow=latest&size={BIG}")["number"]
        heard = numbers(client, BIG, last)
        host.wait(lambda: ask(host)["drains"])
        drains = ask(host)["drains"]
    assert heard == [*range(1, begun + 1), last]
    assert drains == [last - begun - 1]
    check_closes(host, 1006)


@pytest.mark.parametrize("slow", ["close", "drop", "latest"])
def test_small_messages_are_heard_or_counted(feed, slow):
    host = feed(outbox_soft="16 KiB", outbox_hard="1 MiB")
    with reader(host) as client:
        fill(host, "drop", 60_000)
        before = ask(host)["number"]
        for _ in range(60):
            ask(host, f"?slow={slow}&size=1000")
        last = ask(host)["number"]
        client.socket.settimeout(LIMIT_S)
        heard = 0
        closed = None
        while heard < last and closed is None:
            opcode, payload = client.hear()
            if opcode == CLOSE:
                closed = int.from_bytes(payload[:2])
            else:
                heard += 1
                if sum(ask(host)["drains"]) + heard == last:
                    break
        drains = ask(host)["drains"]
    if slow == "close":
        assert (closed, drains) == (1013, [])
        assert before <= heard < last
    else:
        assert closed is None
        assert sum(drains) + heard == last


def test_over_the_hard_limit_nothing_goes_out_after_the_gap(feed):
    host = feed(outbox_soft="64 KiB", outbox_hard="256 KiB", message_bytes="200 KiB")
    with reader(host) as client:
        client.text("flood")
        host.wait(lambda: ask(host)["closes"] == [1013])
        frames = 0
        while (got := client.hear())[0] == TEXT:
            assert got[1] == b"x" * 60000
            frames += 1
        assert got == (CLOSE, (1013).to_bytes(2) + b"too slow")
        assert client.rest() == b""
        assert frames > 0


# Peers that do not read.


def test_a_pipelined_echo_of_the_largest_messages_pauses_its_reader(feed):
    host = feed()
    client = reader(host, "/feed")
    with client:
        # More than all buffers on the way hold.
        messages = [bytes([i]) * 1_048_576 for i in range(40)]
        unsent = b"".join(frame(BINARY, message) for message in messages)
        client.socket.settimeout(1)
        with pytest.raises(TimeoutError):  # nothing is read, so the host reads no more
            while unsent:
                unsent = unsent[client.socket.send(unsent[: 1 << 20]) :]
        assert unsent and ask(host)["closes"] == []
        heard = 0
        while heard < len(messages):
            client.socket.settimeout(0.05 if unsent else LIMIT_S)
            try:
                if unsent:
                    unsent = unsent[client.socket.send(unsent[: 1 << 20]) :]
                    continue
            except TimeoutError:
                client.socket.settimeout(LIMIT_S)
            assert client.hear() == (BINARY, messages[heard])
            heard += 1
    check_closes(host, 1006)


def test_an_echo_that_is_never_read_ends_after_stall_s(feed):
    host = feed(stall_s=0.5)
    with reader(host, "/feed") as client:
        message = frame(BINARY, bytes(1_000_000))
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            for _ in range(2000):  # for as long as the host would take them
                client.send(message)
        check_closes(host, 1006)
        assert ask(host)["heard"] <= 12  # what the sockets hold before it stalls, nothing after


def test_pongs_that_are_never_read_give_way_and_are_no_burden(feed):
    host = feed(stall_s=30)
    with reader(host) as client:
        fill(host, "drop", 60_000)
        before = settled(host)
        client.send(*(frame(PING, f"{i:0125}") for i in range(20_000)))
        host.wait(lambda: ask(host)["buffered"] > before)
        assert ask(host)["buffered"] <= before + 2 * 127
        while (got := client.hear())[0] == TEXT:
            pass
        while got[0] == PONG and int(got[1]) < 19_999:
            got = client.hear()
        assert got == (PONG, f"{19_999:0125}".encode())
    check_closes(host, 1006)


# Peers that take their time.


def test_a_frame_byte_by_byte_is_heard_however_long_it_takes(feed):
    host = feed(ping_s=1.6, pong_s=1.2)  # in all less than the frame takes
    with host.client("/feed") as client:
        for byte in frame(TEXT, "slowly, " * 3):
            client.send(bytes([byte]))
            time.sleep(0.1)
        assert client.hear_text() == "slowly, " * 3


@pytest.mark.parametrize(
    "begin",
    [b"GET /feed HTTP/1.1\r\nX: ", b"POST /feed HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n"],
    ids=["head", "body"],
)
def test_a_request_byte_by_byte_is_answered_408(feed, begin):
    host = feed(head_s=0.5, body_s=0.5)
    with host.wire() as wire:
        wire.send(begin)
        wire.socket.settimeout(0.1)
        end = time.monotonic() + LIMIT_S
        while not wire.buffer and time.monotonic() < end:
            wire.send(b"x")
            with suppress(TimeoutError):
                assert wire.more()
        wire.socket.settimeout(LIMIT_S)
        assert wire.answer().status == 408
        assert wire.rest() == b""


# Peers that leave.


def test_who_half_closes_behind_a_full_socket_gets_all_that_was_sent(feed):
    host = feed()
    with reader(host, "/feed") as client:
        message = "x" * 500_000
        client.socket.settimeout(LIMIT_S)
        client.text(*([message] * 8))
        client.half_close()
        for _ in range(8):
            assert client.hear_text() == message
        assert client.rest() == b""
    check_closes(host, 1006)


@pytest.mark.parametrize("cut", [1, 5, 100, 70_000])
def test_a_reset_in_the_midst_of_frames_both_ways_costs_that_connection(feed, cut):
    host = feed()
    with host.client("/feed") as other:
        client = reader(host)
        fill(host, "drop", BIG)  # a frame to it is half written
        client.send(frame(BINARY, bytes(100_000))[:cut])
        client.reset()
        host.wait(lambda: ask(host)["closes"] == [1006])
        other.text("not touched")
        assert other.hear_text() == "not touched"
    check_closes(host, 1006, 1006)


GONE = """
local ws = require "ws"
return {
  message = function(conn)
    for _ = 1, 4 do ws.all:broadcast(("x"):rep(70000), { except = conn }) end
  end,
  drain = function() print "drains" end,
  close = function(_, code) print("ended with " .. code) end,
}
"""


def test_one_that_is_found_gone_by_a_broadcast_is_not_a_slow_one(serve):
    host = serve({"gone.lua": GONE}, "--limit", "outbox_soft=64 KiB")
    with host.client("/gone") as other:
        gone = host.client("/gone")
        with host.stopped():  # so that the message is read first, and then the reset
            other.text("go")
            gone.reset()
        host.wait(lambda: host.count("ended with"))
        assert 'msg="ended with 1006"' in host.text() and "drains" not in host.text()
        assert "slow" not in host.text()
        other.send(frame(PING, "still"))
        assert other.hear() == (PONG, b"still")


FLOODS = """
local ws = require "ws"
local function flood(conn, size)
  while conn:send(("x"):rep(size)) == "ok" do end
  local _, why = conn:send "x"
  print("it ends: " .. tostring(why))
end
return {
  upgrade = function(req)
    local clock = ws.now()
    while req.query.size and ws.now() < clock + 0.2 do end
    return { data = { size = req.query.size } }
  end,
  open = function(conn)
    if conn.data.size then flood(conn, tonumber(conn.data.size)) end
  end,
  message = function(conn, text)
    flood(conn, tonumber(text))
    conn.data.told = true -- its last event is like any other
  end,
  close = function(_, code) print("ended with " .. code) end,
}
"""


@pytest.mark.parametrize("size", [1000, 60_000])
def test_a_script_that_sends_for_as_long_as_it_can_hears_of_a_reset(serve, size):
    host = serve({"floods.lua": FLOODS})
    gone = host.client("/floods")
    with host.stopped():
        gone.text(str(size))
        gone.reset()
    host.wait_log("ended with 1006")
    assert 'msg="it ends: closed"' in host.text() and host.complaints() == []


@pytest.mark.parametrize("size", [1000, 60_000])
def test_so_does_one_that_sends_from_the_beginning(serve, size):
    host = serve({"floods.lua": FLOODS})
    with host.wire() as gone:
        gone.send(upgrade_head(f"/floods?size={size}"))
        time.sleep(0.1)  # its upgrade is still computed
        gone.reset()
    host.wait_log("ended with 1006")
    assert host.complaints() == []


def test_the_vanished_are_noticed_by_their_missing_pongs(folder):
    if why := netns.why_not():
        pytest.skip(why)
    limits = ("--limit", "ping_s=0.3", "--limit", "pong_s=3")
    with (
        netns.Cable() as cable,
        Host(folder({"feed.lua": FEED}), ("--host", cable.near, *limits)) as host,
    ):
        near = Client(host.port, address=cable.near)
        assert near.upgrade("/feed").status == 101
        far = []
        for sock in cable.sockets(5):
            client = Client.__new__(Client)
            client.socket, client.buffer = sock, b""
            sock.connect((cable.near, host.port))
            assert client.upgrade("/feed").status == 101
            far.append(client)
        cable.cut()
        closes = []
        while len(closes) < 5:
            opcode, payload = near.hear()  # its own pings, which it answers
            near.send(frame(PONG, payload))
            assert opcode == PING
            with socket.create_connection((cable.near, host.port)) as sock:
                sock.sendall(b"GET /feed HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer = b""
                while data := sock.recv(65536):
                    answer += data
            closes = json.loads(answer.partition(b"\r\n\r\n")[2])["closes"]
        assert closes == [1006] * 5
        near.text("still here")
        while (got := near.hear())[0] == PING:
            near.send(frame(PONG, got[1]))
        assert got == (TEXT, b"still here")
        for client in (near, *far):
            client.socket.close()


def test_churn_leaves_the_descriptors_as_they_were(feed):
    host = feed()
    ask(host)
    before = host.descriptors()
    for i in range(300):
        client = host.client("/feed")
        match i % 6:
            case 0:
                client.send(close_frame(1000))
                assert client.hear_close()[0] == 1000
            case 1:
                client.half_close()
            case 2:
                client.send(frame(TEXT, "broken off")[:5])
            case 3:
                client.send(frame(TEXT, "a", fin=False), frame(CONTINUATION, "b", fin=False))
            case 4:
                client.reset()
            case 5:
                client.text("x" * 100_000)
        client.socket.close()
        with host.wire() as wire:
            wire.send(b"GET / HT" if i % 2 else b"")
    host.wait(lambda: ask(host)["count"] == 0)
    host.wait(lambda: host.descriptors() <= before)
    assert sorted(set(ask(host)["closes"])) == [1000, 1006]
    assert len(ask(host)["closes"]) == 300


@pytest.mark.timeout(600)  # it may have to be built
def test_the_end_is_clean_to_valgrind(folder, tmp_path):
    """No byte is lost, and no descriptor is left open but the three that it got."""
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed")
    report = tmp_path / "valgrind.txt"
    flags = ("--leak-check=full", "--track-fds=yes", "--error-exitcode=99", f"--log-file={report}")
    public = {"public/page.html": "<p>a page", "feed.lua": FEED}
    with Host(folder(public), (), ("valgrind", *flags), str(built("debug"))) as host:
        clients = [host.client("/feed?feed=yes") for _ in range(10)]
        for i, client in enumerate(clients):
            client.text("hello", "x" * 70_000)
            assert client.hear_text() == "hello"
            if i % 3 == 0:
                client.send(frame(TEXT, "cut")[:4])
                client.reset()
        ask(host, "?slow=drop&size=1000")
        assert host.get("/page.html").status == 200
        assert host.get("/nothing").status == 404
        idle = host.wire()
        host.signal()
        for i, client in enumerate(clients):
            if i % 3:
                client.socket.close()
        status = host.end(60)
        idle.socket.close()
    text = report.read_text()
    assert status == 0, text
    assert "ERROR SUMMARY: 0 errors" in text, text
    for line in re.findall(r"Open .* descriptor .*\n.*", text):
        assert "<inherited from parent>" in line, text
    assert "All heap blocks were freed" in text, text
