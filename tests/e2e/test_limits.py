"""Every limit by its name: just below it and at it all is well, just above it comes what the table
says, and the log names it."""

import re
import socket
import time
from pathlib import Path

import pytest

from wire import CONTINUATION, PING, PONG, TEXT, Client, close_frame, frame, head

DOCS = Path(__file__).resolve().parents[2] / "docs/configuration.md"

SCRIPT = """
local ws = require "ws"
local limiter = ws.limiter { rate = 0.001, burst = 2 }
local hoard = {}
local orders = {}

function orders.join(conn, name) return conn:join(name) end
function orders.allow(_, key) return (limiter:allow(key)) end
function orders.send(conn, n) return conn:send(("x"):rep(n)) end
function orders.close(conn) conn:close(4000, "as told") end
function orders.hoard(_, kib)
  hoard[#hoard + 1] = ("x"):rep(kib * 1024)
  return #hoard
end

function orders.compute(_, s)
  local began = os.clock()
  while os.clock() - began < tonumber(s) do end
  return s
end

function orders.timers(_, n)
  local made, why = 0, nil
  for _ = 1, n do
    local id, message = ws.after(60, "beat")
    made, why = made + (id and 1 or 0), message
  end
  return made, why
end

-- Sends until the socket takes no more, then so much that n bytes wait.
local function fill(conn, n)
  while conn.buffered == 0 do
    conn:send(("f"):rep(20000))
  end
  local left = n - conn.buffered
  return conn:send(("f"):rep(left - (left > 65545 and 10 or 4))) -- less the frame's header
end
function orders.fill(conn, n) print("filled " .. tostring(fill(conn, n))) end

function orders.gap(conn, n, policy)
  orders.fill(conn, n)
  ws.all:broadcast("over the gap", { slow = policy })
end

local script = {
  limits = { --[[limits]] },
  timers = { beat = function() end },
}

function script.upgrade(req)
  ws.sleep(tonumber(req.query.upgrade) or 0)
end

function script.request(req)
  ws.sleep(tonumber(req.query.sleep) or 0)
  return 200, ("x"):rep(tonumber(req.query.size) or 2)
end

function script.message(conn, text)
  local words = {}
  for word in text:gmatch "%S+" do
    words[#words + 1] = word
  end
  local order = orders[words[1]]
  if not order then
    return conn:send(tostring(#text))
  end
  local answer = table.pack(order(conn, table.unpack(words, 2)))
  if answer.n > 0 then
    conn:send(tostring(answer[1]) .. " " .. tostring(answer[2]))
  end
end

function script.drain(conn, missed) conn:send("missed " .. missed) end
function script.close(_, code) print("closed " .. code) end

return script
"""

MIB = 1 << 20
WAYS = ["flag", "perigee.lua", "script"]


def lua_of(limits) -> str:
    return ", ".join(f'{name} = "{value}"' for name, value in limits.items())


@pytest.fixture
def limited(serve):
    """Serves SCRIPT at /s under limits, which are set in the way that is named."""

    def start(way="flag", *more, **limits):
        files, flags = {"s.lua": SCRIPT}, []
        if way == "flag":
            flags = [f"--limit={name}={value}" for name, value in limits.items()]
        elif way == "perigee.lua":
            files["perigee.lua"] = f"return {{ limits = {{ {lua_of(limits)} }} }}"
        else:
            files["s.lua"] = SCRIPT.replace("--[[limits]]", lua_of(limits))
        return serve(files, *flags, *more)

    return start


def ask(client, order: str) -> str:
    client.text(order)
    return client.hear_text()


def documented() -> dict[str, bool]:
    """Limits by name, and whether a script may set them."""
    table = DOCS.read_text().split("\n## Limits\n", 1)[1]
    rows = re.findall(r"^\| `(\w+)` (\*?) *\|", table, re.MULTILINE)
    return {name: star == "*" for name, star in rows}


# Names.


def told_by_help(run) -> dict[str, str]:
    text = run("serve", "--help")[1].split("limits (", 1)[1]
    return dict(re.findall(r"^  (\w+) +(\S+(?: [KMG]iB)?)  ", text, re.MULTILINE))


def test_the_documented_limits_are_those_there_are(run):
    assert set(documented()) == set(told_by_help(run))


@pytest.mark.parametrize("way", WAYS[:2])
def test_every_limit_is_set_by_its_name(limited, run, way):
    defaults = told_by_help(run)
    assert len(defaults) > 25
    host = limited(way, **defaults)
    assert host.get("/s").status == 200


def test_a_script_sets_those_that_are_a_scripts(limited, run):
    defaults = told_by_help(run)
    host = limited("script", **{k: v for k, v in defaults.items() if documented()[k]})
    assert host.get("/s").status == 200


@pytest.mark.parametrize("name", [name for name, star in documented().items() if not star])
def test_a_script_does_not_set_those_that_are_the_hosts(limited, run, name):
    host = limited("script", **{name: told_by_help(run)[name]})
    assert host.get("/s").status == 503
    host.wait_log(f"limit {name} is the host's")


def test_a_script_does_not_widen(limited):
    host = limited("script", message_bytes="2 MiB")
    assert host.get("/s").status == 503
    host.wait_log("limit message_bytes: 2 MiB is above the host's")


# Where it listens.


def test_it_listens_on_both_loopback_addresses(limited):
    host = limited()
    for address in ("127.0.0.1", "::1"):
        with host.wire(address=address) as wire:
            assert wire.request("/s").status == 200


def test_the_port_is_the_one_asked_for(serve, run, folder):
    with socket.socket() as picked:
        picked.bind(("127.0.0.1", 0))
        port = picked.getsockname()[1]
    host = serve({"s.lua": SCRIPT}, f"--port={port}", "--host=127.0.0.1")
    assert host.port == port
    status, _, error = run("serve", str(folder({})), "--host=127.0.0.1", f"--port={port}")
    assert status == 1 and f"port {port}: the port is in use" in error
    for wrong in ("65536", "-1", "http"):
        status, _, error = run("serve", str(folder({})), "--port", wrong)
        assert status == 2 and "--port" in error


# Requests.


def head_of(n: int) -> bytes:
    """A request of n bytes."""
    bare = head("/s", A="")
    return head("/s", A="x" * (n - len(bare)))


@pytest.mark.parametrize("way", WAYS[:2])
def test_head_bytes(limited, way):
    host = limited(way, head_bytes=300)
    for n, status in ((299, 200), (300, 200), (301, 431)):
        with host.wire() as wire:
            wire.send(head_of(n))
            assert wire.answer().status == status, n
    host.wait_log("head_bytes")


def test_head_fields(limited):
    host = limited(head_fields=5)
    for n, status in ((4, 200), (5, 200), (6, 431)):  # Host is one
        assert host.get("/s", **{f"A{i}": "x" for i in range(n - 1)}).status == status, n
    host.wait_log("head_fields")


def test_head_s(limited):
    host = limited(head_s=2.5)
    request = head("/s")
    with host.wire() as wire:
        wire.send(request[:20])
        time.sleep(0.2)
        wire.send(request[20:])
        assert wire.answer().status == 200
    with host.wire() as late, host.wire() as silent:
        late.send(request[:20])
        assert late.answer().status == 408
        assert silent.answer().status == 408  # from the accept
    host.wait_log("head_s", times=2)


def chunked(n: int) -> bytes:
    request = head("/s", "POST", Transfer_Encoding="chunked")
    return request + b"%x\r\n%s\r\n0\r\n\r\n" % (n, b"x" * n)


@pytest.mark.parametrize("way", WAYS)
def test_body_bytes(limited, way):
    host = limited(way, body_bytes=100)
    for n, status in ((99, 200), (100, 200), (101, 413)):
        assert host.get("/s", "POST", body=b"x" * n).status == status, n
        with host.wire() as wire:
            wire.send(chunked(n))
            assert wire.answer().status == status, n
    host.wait_log("body_bytes", times=2)


def test_body_s(limited):
    host = limited(body_s=2.5)
    with host.wire() as wire:
        wire.send(head("/s", "POST", Content_Length=4), b"ab")
        time.sleep(0.2)
        wire.send(b"cd")
        assert wire.answer().status == 200
    for late in (head("/s", "POST", Content_Length=4) + b"ab", chunked(4)[:-9]):
        with host.wire() as wire:
            wire.send(late)
            assert wire.answer().status == 408
    host.wait_log("body_s", times=2)


@pytest.mark.parametrize("way", ["flag", "script"])
def test_handler_wait_s(limited, way):
    host = limited(way, handler_wait_s=2.5)
    assert host.get("/s?sleep=0.1").status == 200
    host.client("/s?upgrade=0.1").socket.close()
    assert host.get("/s?sleep=30").status == 504
    with Client(host.port) as client:
        assert client.upgrade("/s?upgrade=30").status == 504
    host.wait_log("handler_wait_s", times=2)


@pytest.mark.parametrize("way", WAYS)
def test_response_bytes(limited, way):
    host = limited(way, response_bytes=1000)
    for n, status in ((999, 200), (1000, 200), (1001, 500)):
        assert host.get(f"/s?size={n}").status == status, n
    host.wait_log("response_bytes")


def test_keepalive_s(limited):
    host = limited("flag", "--log-level=debug", keepalive_s=2.5)
    with host.wire() as wire:
        for _ in range(2):
            assert wire.request("/s").status == 200
            time.sleep(0.2)
        assert wire.rest() == b""
    host.wait_log("(keepalive_s)")


def test_keepalive_requests(limited):
    host = limited("flag", "--log-level=debug", keepalive_requests=3)
    with host.wire() as wire:
        for closing in (None, None, "close"):
            assert wire.request("/s")["connection"] == closing
        assert wire.rest() == b""
    host.wait_log("(keepalive_requests)")


# Connections.


@pytest.mark.parametrize("way", WAYS)
def test_message_bytes(limited, way):
    host = limited(way, message_bytes=1000)
    for split in (False, True):
        with host.client("/s") as client:
            for n in (999, 1000, 1001):
                if split:
                    client.send(frame(TEXT, "x" * 500, fin=False))
                    client.send(frame(CONTINUATION, "x" * (n - 500)))
                else:
                    client.send(frame(TEXT, "x" * n))
                if n <= 1000:
                    assert client.hear_text() == str(n)
            assert client.hear_close()[0] == 1009
    host.wait_log("message_bytes", times=2)


@pytest.mark.parametrize("way", WAYS)
def test_fragments(limited, way):
    host = limited(way, fragments=3)
    with host.client("/s") as client:
        for n in (2, 3, 4):
            client.send(
                frame(TEXT, "x", fin=False),
                *[frame(CONTINUATION, "x", fin=False)] * (n - 2),
                frame(CONTINUATION, "x"),
            )
            if n <= 3:
                assert client.hear_text() == str(n)
        assert client.hear_close()[0] == 1008
    host.wait_log("(fragments)")


def test_ping_s_and_pong_s(limited):
    host = limited(ping_s=0.3, pong_s=2.5)
    with host.client("/s") as client:
        for _ in range(2):  # an answer within pong_s, twice
            opcode, payload = client.hear()
            assert opcode == PING
            time.sleep(0.2)
            client.send(frame(PONG, payload))
        assert client.hear()[0] == PING
        assert client.rest() == b""  # no Close frame: nothing more can be said
    host.wait_log("pong_s")
    host.wait_log("closed 1006")


def test_stall_s(limited):
    host = limited(stall_s=2.5, outbox_hard="64 MiB", response_bytes="64 MiB")
    with Client(host.port, receive_buffer=8192) as client:
        assert client.upgrade("/s").status == 101
        fill(host, client, "fill 2000000")
        time.sleep(0.2)
        assert hear_all(client) == [b"missed 0"]
        fill(host, client, "fill 20000000")
        host.wait_log("it takes nothing (stall_s)")
        host.wait_log("closed 1006")
    with host.wire(receive_buffer=8192) as wire:
        wire.send(head("/s?size=30000000"))
        host.wait_log("an answer is not taken (stall_s)")


def stuck(host) -> Client:
    """A client that will read when the test does."""
    client = Client(host.port, receive_buffer=8192)
    assert client.upgrade("/s").status == 101
    return client


def fill(host, client, order: str) -> None:
    """Until the script has filled its socket: from then on the test may read."""
    before = host.count("filled")
    client.text(order)
    host.wait(lambda: host.count("filled") > before)


def hear_all(client) -> list[bytes]:
    """What it hears, less what only filled the socket, until it has drained or is closed."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MIB)
    heard = []
    while not heard or not (heard[-1].startswith(b"missed") or heard[-1][:2] == b"\x03\xf5"):
        _, payload = client.hear()
        if payload.strip(b"f"):
            heard.append(payload)
    return heard


@pytest.mark.parametrize("way", WAYS)
def test_outbox_soft(limited, way):
    host = limited(way, outbox_soft=60_000)
    for n, answer, times in ((59_999, "ok", 1), (60_000, "ok", 2), (60_001, "slow", 1)):
        with stuck(host) as client:
            fill(host, client, f"fill {n}")
            host.wait_log(f"filled {answer}", times)


@pytest.mark.parametrize(
    ("policy", "heard"),
    [
        ("drop", [b"missed 1"]),
        ("latest", [b"over the gap", b"missed 0"]),  # there was none that it could replace
        ("close", [b"\x03\xf5too slow"]),
    ],
)
def test_the_slow_policy_is_for_members_over_outbox_soft(limited, policy, heard):
    host = limited(outbox_soft=60_000)
    for n in (59_999, 60_000):
        with stuck(host) as client:
            fill(host, client, f"gap {n} {policy}")
            assert hear_all(client) == [b"over the gap", b"missed 0"], n
        host.wait_log("closed 1006", times=n - 59_998)  # ws.all is empty again
    with stuck(host) as client:
        fill(host, client, f"gap 60001 {policy}")
        assert hear_all(client) == heard
    if policy != "latest":
        host.wait_log("limit=outbox_soft")


@pytest.mark.parametrize("way", WAYS)
def test_outbox_hard(limited, way):
    host = limited(way, outbox_hard=600_000, message_bytes=100_000)
    for n in (599_999, 600_000):
        with stuck(host) as client:
            fill(host, client, f"fill {n}")
            assert hear_all(client) == [b"missed 0"], n
    with stuck(host) as client:
        fill(host, client, "fill 600001")
        assert hear_all(client) == [b"\x03\xf5too slow"]
    host.wait_log("filled slow", times=2)
    host.wait_log("filled nil")
    host.wait_log("limit=outbox_hard")
    host.wait_log("closed 1013")


def test_outbox_hard_is_never_below_one_largest_message(limited):
    host = limited(outbox_hard=1000, outbox_soft=1000, message_bytes=100_000)
    with host.client("/s") as client:
        client.text("send 100004", "send 100005")  # and a header of 10 bytes: 100,014 may be
        assert len(client.hear()[1]) == 100_004
        assert client.hear_text() == "ok nil"
        assert client.hear_text() == "nil too large"


def test_outbox_total(limited):
    host = limited(outbox_total="8 MiB", outbox_hard="7 MiB")
    with stuck(host) as most, stuck(host) as less, stuck(host) as last:
        fill(host, most, f"fill {5 * MIB}")
        fill(host, less, f"fill {2 * MIB}")
        assert host.count("outbox_total") == 0
        fill(host, last, f"fill {2 * MIB}")
        host.wait_log("limit=outbox_total")
        host.wait_log("closed 1013")
        assert hear_all(most) == [b"\x03\xf5too slow"]
        for one in (less, last):
            assert hear_all(one) == [b"missed 0"]


def test_outbox_total_of_answers_that_nobody_takes(limited):
    host = limited(outbox_total="10 MiB")
    with Client(host.port, receive_buffer=4096) as deaf:
        deaf.send(head(f"/s?size={6 * MIB}"))
        deaf.take(100)  # it has begun
        assert host.get(f"/s?size={4 * MIB}").status == 200
        assert host.get(f"/s?size={4 * MIB + 1}").status == 503
        assert host.get("/s").status == 200
        host.wait_log("outbox_total")
    host.wait(lambda: host.get(f"/s?size={6 * MIB}").status == 200)


def test_close_s(limited):
    host = limited(close_s=2.5)
    with host.client("/s") as client:
        client.text("close")
        assert client.hear_close()[0] == 4000
        time.sleep(0.2)
        client.send(close_frame(4000))
        assert client.rest() == b""
    with host.client("/s") as client:
        assert host.count("close_s") == 0
        client.text("close")
        assert client.hear_close()[0] == 4000
        assert client.rest() == b""  # without an answer from here
    host.wait_log("close_s")


@pytest.mark.parametrize("way", WAYS[:2])
def test_connections(limited, way):
    host = limited(way, connections=3)
    with host.client("/s"), host.client("/s"):
        third = host.client("/s")
        answer = host.get("/s")
        assert answer.status == 503 and answer["retry-after"]
        host.wait_log("connections are refused (limit: connections)")
        third.socket.close()
        host.wait(lambda: host.get("/s").status == 200)


# Who may.


@pytest.mark.parametrize(
    ("way", "origins", "origin", "status"),
    [
        ("flag", "same", None, 101),
        ("flag", "same", "http://localhost", 101),
        ("flag", "same", "http://localhost:1", 403),
        ("flag", "same", "null", 403),
        ("flag", "*", "https://else.example", 101),
        ("flag", "https://a.example https://b.example:8", "https://b.example:8", 101),
        ("perigee.lua", "https://a.example https://b.example:8", "https://a.example", 101),
        ("perigee.lua", "https://a.example https://b.example:8", "https://b.example", 403),
        ("perigee.lua", "https://a.example", "http://a.example", 403),
        ("perigee.lua", "https://a.example", None, 101),
    ],
)
def test_origins(limited, way, origins, origin, status):
    host = limited(way, origins=origins)
    with Client(host.port) as client:
        assert client.upgrade("/s", Origin=origin).status == status
    if status == 403:
        host.wait_log("(origins)")


# What a script takes.


@pytest.mark.parametrize("way", WAYS)
def test_conn_rooms(limited, way):
    host = limited(way, conn_rooms=3)
    with host.client("/s") as client:
        assert [ask(client, f"join {i}") for i in range(3)] == ["true nil"] * 3
        assert ask(client, "join 0") == "true nil"  # it is in it
        assert ask(client, "join 3") == "nil over the limit conn_rooms"
    host.wait_log("conn_rooms")


@pytest.mark.parametrize("way", WAYS)
def test_room_name_bytes(limited, way):
    host = limited(way, room_name_bytes=10)
    with host.client("/s") as client:
        assert ask(client, "join " + "x" * 9) == "true nil"
        assert ask(client, "join " + "x" * 10) == "true nil"
        assert ask(client, "join " + "x" * 11) == "nil over the limit room_name_bytes"
    host.wait_log("room_name_bytes")


@pytest.mark.parametrize("way", WAYS)
def test_rooms(limited, way):
    host = limited(way, rooms=3)
    with host.client("/s") as client, host.client("/s") as other:
        assert [ask(client, f"join {i}") for i in range(3)] == ["true nil"] * 3
        assert ask(other, "join 0") == "true nil"  # it is there
        assert ask(other, "join 3") == "nil over the limit rooms"
    host.wait_log("over the limit rooms")


@pytest.mark.parametrize("way", WAYS)
def test_timers(limited, way):
    host = limited(way, timers=3)
    with host.client("/s") as client:
        assert ask(client, "timers 2") == "2 nil"
        assert ask(client, "timers 1") == "1 nil"
        assert ask(client, "timers 1") == "0 timers: a script has at most 3"
    host.wait_log("timers: a script has at most 3")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("keys", "forgotten"), [(4, False), (3, False), (2, True)])
def test_limiter_keys(limited, way, keys, forgotten):
    host = limited(way, limiter_keys=keys)
    with host.client("/s") as client:
        for key in "aab":  # nothing is left of a, one of b
            assert ask(client, f"allow {key}") == "true nil"
        assert ask(client, "allow a") == "false nil"
        assert ask(client, "allow c") == "true nil"  # the third: b was the fullest
        assert ask(client, "allow b") == "true nil"
        assert ask(client, "allow b") == ("true nil" if forgotten else "false nil")
        assert ask(client, "allow a") == "false nil"
    if forgotten:
        host.wait(lambda: host.count("limiter_keys") > 0)
    else:
        assert host.count("limiter_keys") == 0


@pytest.mark.parametrize("way", WAYS)
def test_handler_warn_s(limited, way):
    host = limited(way, handler_warn_s=0.02, handler_stop_s=0.5)
    with host.client("/s") as client:
        assert ask(client, "compute 0") == "0 nil"
        assert host.count("handler_warn_s") == 0
        assert ask(client, "compute 0.2") == "0.2 nil"
    host.wait_log("handler_warn_s")
    line = next(line for line in list(host.log) if "handler_warn_s" in line)
    for field in ("level=warn", "script=s", "handler=message", "conn=", "cpu_s=0."):
        assert field in line


@pytest.mark.parametrize("way", WAYS)
def test_handler_stop_s(limited, way):
    host = limited(way, handler_warn_s=0.02, handler_stop_s=0.1)
    with host.client("/s") as client:
        client.text("compute 1000")
        assert ask(client, "go on") == "5"  # that event is lost
    host.wait_log("handler_stop_s")
    line = next(line for line in list(host.log) if "handler_stop_s" in line)
    for field in ("level=error", "script=s", "handler=message", "conn=", "/s.lua:", "traceback="):
        assert field in line


@pytest.mark.parametrize("way", WAYS)
def test_script_memory(limited, way):
    host = limited(way, script_memory="3 MiB")
    with host.client("/s") as client:
        assert ask(client, "hoard 1024") == "1 nil"
        client.text("hoard 2048")  # with what a VM has anyway
        assert ask(client, "go on") == "5"
    host.wait_log("limit=script_memory")
    assert host.get("/s").status == 200


# The host's end.


def test_drain_s(limited):
    host = limited(drain_s=0.5)
    with host.client("/s") as client, host.client("/s") as other:
        host.signal()
        for one in (client, other):
            assert one.hear_close()[0] == 1001
            one.send(close_frame(1001))
        assert host.end() == 0
    host.wait_log("(drain_s)")
    assert host.count("drain_stop_s") == 0


def test_drain_stop_s(limited):
    host = limited("perigee.lua", drain_s=0, drain_stop_s=2.5, close_s=60)
    with host.client("/s") as client:
        host.signal()
        assert client.hear_close()[0] == 1001
        assert client.rest() == b""  # without an answer from here
        assert host.end() == 0
    host.wait_log("drain_stop_s")
