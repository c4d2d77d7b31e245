"""Handlers that wait while a reload comes: they finish, what has moved raises, events queue."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from reloading import HEAD
from serving import Client, eventually

ONCE = "--limit=probation_s=0"
LONG = "--limit=reload_wait_s=60"
MOVED = re.compile("moved to (generation 2|another generation) while this handler waited")


@pytest.fixture
def r(rules):
    return rules("", ONCE, LONG)


def test_a_handler_that_waits_finishes_in_the_generation_in_which_it_began(r):
    client, other = r.clients(2)
    client.wait("ws.sleep(0) return ws.script.generation")
    r.save()
    assert other.generation() == 2
    r.let_go()
    assert client.said() == 1
    assert client.generation() == 2


TOUCHES = [
    "return held.n", "held.n = 1", "return #held", "for _ in pairs(held) do end",
    "for _ in ipairs(held) do end", "return next(held)", "return rawget(held, 'n')",
    "rawset(held, 'n', 1)", "return rawlen(held)", "table.insert(held, 1)", "table.remove(held)",
    "return table.concat(held)", "return table.unpack(held)", "table.sort(held)",
    "table.move({ 1 }, 1, 1, 1, held)", "return ws.json.encode(held)",
    "return ws.json.encode { a = { held } }", "ws.all:broadcast(held)", "conn:send(held)",
    "ws.after(0, 'later', held)", "ws.log.info('x', held)",
    "ws.all:broadcast('x', { except = held })", "ws.all:broadcast('x', held)", "return held .. ''",
    "held()",
]  # fmt: skip


def test_what_has_moved_raises_however_it_is_touched(rules):
    r = rules("script.timers = { later = function() end }", ONCE, LONG)
    clients = r.clients(len(TOUCHES))
    for client, touch in zip(clients, TOUCHES, strict=True):
        client.say("kept.list = kept.list or { 'a', 'b' }")
        client.send(f"local held = kept.list conn:send 'waits' wait_for 'go' {touch}")
        assert client.receive() == "waits"
    r.save("script.timers = { later = function() end }")
    r.let_go()
    for client, touch in zip(clients, TOUCHES, strict=True):
        answer = client.receive_json()
        assert MOVED.search(answer.get("raised", "")), (touch, answer)
    assert clients[0].say("return #kept.list == 2 and kept.list.n == nil") is True


@pytest.mark.parametrize("walk", ["pairs(held)", "next, held", "ipairs(held)"])
def test_a_walk_over_what_moves_in_its_midst_raises(r, walk):
    client = r.client()
    client.say("kept.list = { 'a', 'b', 'c' }")
    client.send(f"""local held, n = kept.list, 0 for _, v in {walk} do
        n = n + 1 if n == 1 then conn:send 'waits' wait_for 'go' end end return n""")
    assert client.receive() == "waits"
    r.save()
    r.let_go()
    assert MOVED.search(client.raised())


def test_the_state_itself_raises(r):
    client = r.client()
    client.wait("kept.n = 1")
    r.save()
    r.let_go()
    assert MOVED.search(client.raised())
    assert client.say("return kept.n") is None


def test_own_data_that_nobody_has_touched_since_is_still_there_and_is_kept(r):
    client = r.client()
    client.say("conn.data.n = 1")
    client.wait("conn.data.n = conn.data.n + 1 return conn.data.n")
    r.save()
    r.let_go()
    assert client.said() == 2
    assert client.say("return conn.data.n") == 2


def test_data_that_somebody_has_touched_since_raises(r):
    client, other = r.clients(2)
    client.say("conn.data.n, kept.who = 1, conn")
    client.send("""local held = conn.data conn:send 'waits' wait_for 'go'
        local _, a = pcall(function() return held.n end)
        local _, b = pcall(function() return conn.data end)
        local _, c = pcall(function() conn.data = {} end)
        return a .. b .. c""")
    assert client.receive() == "waits"
    r.save()
    assert other.say("kept.who.data.n = kept.who.data.n + 10 return kept.who.data.n") == 11
    r.let_go()
    assert client.said().count("moved to generation 2 while this handler waited") == 3
    assert client.say("return conn.data.n") == 11


def test_a_reload_that_fails_moves_nothing(r):
    client = r.client()
    client.say("kept.t = { n = 1 } conn.data.t = kept.t")
    client.wait("kept.t.n = 2 return conn.data.t.n")
    r.save_bad(
        "function script.start() local _ = kept.t.n, ws.all:members()[1].data.t error 'no' end"
    )
    r.let_go()
    assert client.said() == 2
    assert client.say("return kept.t.n") == 2


def test_a_timer_that_a_waiting_handler_makes_lives_on(rules):
    timers = """script.timers = { later = function(data) data.who:send(
        ("later %d %s"):format(ws.script.generation, data.word)) end }"""
    r = rules(timers, ONCE, LONG)
    client = r.client()
    client.wait("local id = ws.after(0.2, 'later', { who = conn, word = 'x' }) return id ~= nil")
    r.save(timers)
    r.let_go()
    assert client.said() is True
    r.save(timers)
    assert client.receive() in ("later 2 x", "later 3 x")


def test_a_beat_that_a_waiting_handler_makes_or_ends_is_the_new_generations(rules):
    timers = "script.timers = { beat = function() end }"
    r = rules(timers, ONCE, LONG)
    one, two = r.clients(2)
    one.say("kept.id = ws.every(60, 'beat') kept.other = ws.every(60, 'beat', nil, 'other')")
    two.send("local id = kept.other conn:send 'waits' wait_for 'go' return ws.cancel(id)")
    assert two.receive() == "waits"
    one.wait("return ws.every(60, 'beat')")
    r.save(timers)
    r.let_go()
    beat = one.said()
    assert two.said() is True
    assert two.say("return kept.id") == beat
    assert "loaded, 1 timers kept" in r.save(timers)  # not the other


def test_a_waiting_handler_gives_no_function_to_a_timer(r):
    client = r.client()
    client.wait("ws.after(0, function() end)")
    r.save()
    r.let_go()
    assert "generation 2 serves by now: a function would end with this one" in client.raised()


def test_a_waiting_handlers_sends_joins_and_broadcasts_are_done(r):
    client, other = r.clients(2)
    client.wait("conn:send 'own' ws.all:broadcast 'all' conn:join 'tea' return true")
    r.save()
    other.say("return 1")
    r.let_go()
    assert [client.receive(), client.receive()] == ["own", "all"] and client.said() is True
    assert other.receive() == "all"
    assert other.say("return ws.room('tea'):count()") == 1


# Being cut ------------------------------------------------------------------------------------


@pytest.mark.parametrize("around", [
    "{}",
    "pcall(function() {} end) conn:send 'past'",
    "xpcall(function() {} end, function() conn:send 'handler' end) conn:send 'past'",
    "while true do pcall(function() {} end) conn:send 'past' end",
])  # fmt: skip
def test_a_wait_that_lasts_too_long_is_cut_past_every_pcall(rules, around):
    r = rules("", ONCE, "--limit=reload_wait_s=0.2")
    client = r.client()
    client.send("conn:send 'waits' " + around.format("while true do ws.sleep(0.01) end"))
    assert client.receive() == "waits"
    since = r.host.mark()
    r.save()
    r.host.log_line(r"the wait was cut: another generation serves by now \(reload_wait_s\)", since)
    assert client.generation() == 2  # the connection is there, and heard nothing else
    r.save()
    assert client.generation() == 3


def test_one_that_is_cut_costs_that_event_and_no_other(rules):
    r = rules("", ONCE, "--limit=reload_wait_s=0.2")
    client = r.client()
    client.send("conn.data.n = 1 conn:send 'waits' ws.sleep(60)")
    assert client.receive() == "waits"
    for n in range(5):
        client.send(f"conn.data.n = conn.data.n + 1 return {{ {n}, ws.script.generation }}")
    r.save()
    assert [client.said() for _ in range(5)] == [[n, 2] for n in range(5)]
    assert client.say("return conn.data.n") == 6


# What queues ----------------------------------------------------------------------------------


def test_events_behind_a_wait_queue_and_run_in_the_new_generation_in_order(r):
    client = r.client()
    client.wait("return 'first'")
    for n in range(200):
        client.send(f"return {{ {n}, ws.script.generation }}")
    r.save()
    r.let_go()
    assert client.said() == "first"
    assert [client.said() for _ in range(200)] == [[n, 2] for n in range(200)]


def test_the_close_of_one_who_left_meanwhile_runs_in_the_new_generation(rules):
    closes = """function script.close(conn, code)
        kept.bye = { ws.script.generation, conn.data.name, code } end"""
    r = rules(closes, ONCE, LONG)
    client, other = r.clients(2)
    client.say("conn.data.name = 'ann'")
    client.wait("")
    r.save(closes)
    threading.Thread(target=client.close, args=(4000,), daemon=True).start()
    eventually(lambda: other.say("return ws.all:count()") == 1, "its end")
    assert other.say("return kept.bye") is None
    r.let_go()
    assert eventually(lambda: other.say("return kept.bye"), "close") == [2, "ann", 4000]


OPENS = """
function script.upgrade(req)
  print "begun"
  wait_for 'go'
  if req.query.no then ws.reject(418) end
  local list = { ws.script.generation }
  return { data = { by = list, same = list } }
end
function script.open(conn)
  local data = conn.data
  conn:send { by = data.by[1], one = data.by == data.same, now = ws.script.generation }
end
function script.request()
  print "begun"
  wait_for 'go'
  return 200, "by " .. ws.script.generation
end
"""


@pytest.fixture
def opening(rules):
    """A host whose `upgrade` and `request` wait; two that joined before."""
    r = rules("", ONCE, LONG)
    friend = r.client()
    r.save(OPENS)
    return r, friend


def test_data_that_upgrade_of_the_old_generation_gave_opens_in_the_new(opening):
    r, friend = opening
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(Client, r.host, "/rules")
        r.host.log_line('msg="begun"')
        r.save(OPENS)
        friend.say("conn:join 'go'")
        with coming.result(timeout=30) as client:
            assert client.receive_json() == {"by": 2, "one": True, "now": 3}


def test_an_upgrade_that_waits_is_rejected_by_the_generation_that_began_it(opening):
    r, friend = opening
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(r.host.request, "GET", "/rules?no=1", headers={
            "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="})  # fmt: skip
        r.host.log_line('msg="begun"')
        r.save(OPENS.replace("418", "419"))
        friend.say("conn:join 'go'")
        assert coming.result(timeout=30).status == 418


def test_a_request_that_waits_is_answered_by_the_generation_that_began_it(opening):
    r, friend = opening
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(r.host.get, "/rules")
        r.host.log_line('msg="begun"')
        r.save(OPENS)
        friend.say("conn:join 'go'")
        assert coming.result(timeout=30).text == "by 2"
        assert r.host.get("/rules").text == "by 3"


def test_the_next_swap_waits_for_the_end_of_the_move_and_the_newest_bytes_win(r):
    client, other = r.clients(2)
    client.wait("return ws.script.generation")
    r.save()
    since = r.host.mark()
    for n in range(3, 6):
        r.write(f"{HEAD}\nfunction script.start() kept.newest = {n} end return script")
        other.say("ws.sleep(0.3)")
    assert other.generation() == 2
    r.let_go()
    assert client.said() == 1
    r.host.log_line('msg="loaded', since)
    assert eventually(lambda: other.say("return kept.newest"), "the newest") == 5
    assert other.generation() == 3
