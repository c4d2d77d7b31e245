"""Who waits for whom: a connection with a full read buffer leaves others their turn, a body that
is too large is stopped as soon as that is known."""

import pytest

from wire import TEXT, close_frame, frame, head

BUSY = """
local done = 0
local function work()
  local x = 0
  for i = 1, 20000 do x = x + i % 7 end
  done = done + 1
end
return {
  message = function(conn, text)
    if text == "?" then conn:send("done " .. done) return end
    work()
    conn:send("x")
  end,
  request = function(req)
    if req.query.how then return 200, tostring(done) end
    work()
    return 200, "x"
  end,
}
"""
SMALL = """
return {
  limits = { body_bytes = 1000 },
  request = function(req) return 200, tostring(#(req.body or "")) end,
}
"""
NOW = """
local ws = require "ws"
local beats = 0
local function again() beats = beats + 1; ws.after(0, again) end
return {
  message = function(conn, text)
    if text == "timer" then again() end
    while text == "sleep" do ws.sleep(0); beats = beats + 1 end
    if text == "beat" then
      for i = 1, 5000 do ws.every(0.001, function() beats = beats + 1 end) end
    end
    conn:send("x")
  end,
  request = function() return 200, tostring(beats) end,
}
"""
TIMERS = """
local ws = require "ws"
local beats = 0
local function beat()
  beats = beats + 1
  local until_s = ws.monotonic() + 0.004
  while ws.monotonic() < until_s do end
end
return {
  start = function() for _ = 1, 3 do ws.every(0.001, function() beat() end) end end,
  message = function(conn) conn:send(tostring(beats)) end,
}
"""
MANY = 4000


def test_messages_of_one_read_leave_others_their_turn(serve):
    host = serve({"busy.lua": BUSY})
    with host.client("/busy") as busy, host.client("/busy") as other:
        with host.stopped():  # so that both are there when it goes on
            busy.text(*["x"] * MANY)
            other.text("?")
        done = int(other.hear_text().split()[1])
        assert done < MANY // 2
        for _ in range(MANY):
            assert busy.hear_text() == "x"


def test_requests_of_one_read_leave_others_their_turn(serve):
    host = serve({"busy.lua": BUSY}, "--limit", "keepalive_requests=100000")
    with host.wire() as busy, host.wire() as other:
        with host.stopped():
            busy.send(head("/busy") * 1500)
            other.send(head("/busy?how=1"))
        done = int(other.answer().body)
        assert done < 1000
        for _ in range(1500):
            assert busy.answer().body == b"x"


@pytest.mark.parametrize("way", ["timer", "sleep", "beat"])
def test_a_script_that_always_has_something_due_leaves_others_their_turn(serve, way):
    """libuv before 1.45 stays among its timers while one is due, and so did the host for ever."""
    host = serve({"now.lua": NOW})
    with host.client("/now") as busy, host.client("/now") as other:
        busy.text(way)
        host.wait(lambda: int(host.get("/now").body) > 20_000, 30)
        other.text("x")
        assert other.hear_text() == "x"
    # Of what it says of late timers, a few lines a second: each timer once had its own.
    if way == "beat":
        host.wait(lambda: host.count("skipped") > 0)
        assert host.count("skipped") < 2000
    else:
        assert host.count("skipped") == 0


def test_what_waits_for_its_turn_is_run_before_the_end(serve):
    host = serve({"busy.lua": BUSY})
    for i, end in enumerate(("half_close", "reset", "close_frame")):
        wanted = 500 * (i + 1)
        with host.client("/busy") as client:
            client.text(*["x"] * 500)
            if end == "close_frame":
                client.send(close_frame(1000))
                for _ in range(500):
                    assert client.hear_text() == "x"
                assert client.hear_close()[0] == 1000
            else:
                assert client.hear_text() == "x"
                getattr(client, end)()
            host.wait(lambda n=wanted: int(host.get("/busy?how=1").body) >= n, 30)


def test_timers_that_are_always_late_leave_the_sockets_and_signals_their_turn(serve):
    """On libuv before 1.45 nothing else ever came: a timer that is due at once runs at once."""
    host = serve({"timers.lua": TIMERS})
    with host.client("/timers") as client:
        heard = []
        for _ in range(5):
            client.text("x")
            heard.append(int(client.hear_text()))
        assert heard[-1] > heard[0] > 0  # and they go on beating
        host.signal()
        assert client.hear_close()[0] == 1001
        client.send(close_frame(1001))
    assert host.end() == 0


def test_a_body_over_the_scripts_own_limit_is_refused_before_it_comes(serve):
    host = serve({"small.lua": SMALL})
    with host.wire() as wire:
        assert wire.request("/small", "POST", b"x" * 1000).body == b"1000"
        wire.send(head("/small", "POST", Content_Length=1001, Expect="100-continue"))
        assert wire.answer().status == 413  # and no 100 before it
        assert wire.rest() == b""
    with host.wire() as wire:
        wire.send(head("/small", "POST", Content_Length=1001))
        assert wire.answer().status == 413
        assert wire.rest() == b""
    with host.wire() as wire:  # in chunks: with the first byte too many
        wire.send(head("/small", "POST", Transfer_Encoding="chunked"))
        wire.send(b"3e8\r\n", b"x" * 1000, b"\r\n10\r\nx")
        assert wire.answer().status == 413
    with host.wire() as wire:  # all of it in one read
        wire.send(head("/small", "POST", Content_Length=1001) + b"x" * 1001)
        assert wire.answer().status == 413
    with host.wire() as wire:  # the limit is this route's only
        wire.send(head("/elsewhere", "POST", Content_Length=1001))
        wire.send(b"x" * 1001)
        assert wire.answer().status == 404
        assert wire.request("/small", "POST", b"x" * 1000).body == b"1000"
    host.wait(lambda: host.count("body_bytes") >= 4)


def test_a_frame_behind_a_full_budget_keeps_its_order(serve):
    host = serve({"busy.lua": BUSY})
    with host.client("/busy") as client:
        client.send(*[frame(TEXT, "x")] * 300, frame(TEXT, "?"), *[frame(TEXT, "x")] * 300)
        for _ in range(300):
            assert client.hear_text() == "x"
        assert client.hear_text() == "done 300"
        for _ in range(300):
            assert client.hear_text() == "x"
