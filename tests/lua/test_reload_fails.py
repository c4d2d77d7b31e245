"""Reloads that fail, and rules that are taken back: the generation before serves on, untouched."""

import re
import signal
import time

import pytest

from reloading import HEAD
from serving import eventually

ONCE = "--limit=probation_s=0"
RAISES = "function script.message() error 'always' end"


# Loading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad,why", [
    ("local function", r"rules\.lua:\d+: .*expected near"),
    ("error 'at load'", r"rules\.lua:\d+: at load"),
    ("error { 'no text' }", "table"),
    ("local x = nil .. ''", "attempt to concatenate a nil value"),
    ("require 'nowhere'", "module 'nowhere' not found|nowhere"),
    ("while true do end", "stopped"),
    ("local t = {} while true do t[#t + 1] = ('x'):rep(1 << 20) .. #t end", "not enough memory"),
    ("script.on_error = 'perhaps'", "on_error"),
    ("script.message = 5", "message"),
    ("do return 5 end", "a script returns a table of handlers"),
    ("conn:send 'x'", "attempt to index a nil value"),
    ("ws.all:broadcast 'x'", "not while loading: use start"),
    ("ws.after(1, 'nobody')", "no timer 'nobody'"),
])  # fmt: skip
def test_what_fails_while_loading_leaves_the_old_generation_serving(rules, bad, why):
    r = rules("", ONCE)
    client = r.client()
    client.say("kept.n, conn.data.n = 1, 2 kept.timer = ws.after(60, function() end)")
    said = r.save_bad(bad)
    assert re.search(why, said), said
    assert "not loaded: generation 1 goes on" in said
    assert client.say("return kept.n + conn.data.n") == 3
    assert client.say("return ws.cancel(kept.timer)") is True  # not even a function has ended
    r.save()
    assert client.generation() == 2


def test_a_first_load_that_fails_answers_503_until_a_save_mends_it(rules):
    answers = "function script.request() return 200, tostring(ws.script.generation) end"
    r = rules("error 'at first'" + answers, ONCE)
    assert r.host.get("/rules").status == 503
    r.save(answers)
    assert (r.host.get("/rules").status, r.host.get("/rules").text) == (200, "1")


def test_a_save_of_the_same_bytes_is_no_reload(rules):
    r = rules("", ONCE)
    client = r.client()
    text = (r.folder / "rules.lua").read_text()
    r.write(text)
    r.write(text + "-- another")
    eventually(lambda: client.generation() == 2, "the reload")
    r.write(text + "-- another")
    client.say("ws.sleep(0.5)")
    assert client.generation() == 2


# start ----------------------------------------------------------------------------------------

DOES = """
script.timers = { beat = function() ws.all:broadcast "beat" end }
function script.start(from)
  kept.from = from
  ws.all:broadcast { from = from }
  for _, conn in ipairs(ws.all:members()) do
    conn:send("dear " .. tostring(conn.data.name))
    conn:join("tea", { info = { n = conn.data.name } })
    conn:leave("old")
    if conn.data.name == "cy" then conn:close(4000, "by start") end
  end
  ws.room("gone"):close(4001, "room by start")
  ws.every(0.05, "beat")
  kept.joined = ws.room("tea"):count()
  %s
end
"""


@pytest.fixture
def room(rules):
    r = rules("", ONCE)
    clients = r.clients(3)
    for client, name in zip(clients, ("ann", "bob", "cy"), strict=True):
        client.say(f"conn.data.name = '{name}' conn:join 'old' kept.n = 1")
    clients[1].say("conn:join 'gone'")
    return r, clients


def test_start_gets_the_version_before_and_nothing_on_a_first_load(rules):
    starts = "function script.start(...) kept.got = { n = select('#', ...), from = (...) } end"
    r = rules(starts, ONCE)
    client = r.client()
    assert client.say("return kept.got") == {"n": 1}
    r.save(starts + " script.version = 7")
    assert client.say("return kept.got.from") == 1
    r.save(starts + " script.version = 2")
    assert client.say("return kept.got.from") == 7


def test_what_start_does_is_done_in_order_once_it_has_returned(room):
    r, (ann, bob, cy) = room
    r.save(DOES % "")
    assert [ann.receive(), ann.receive()] == ['{"from":1}', "dear ann"]
    assert [cy.receive(), cy.receive()] == ['{"from":1}', "dear cy"]
    assert cy.closed() == (4000, "by start")
    assert [bob.receive(), bob.receive()] == ['{"from":1}', "dear bob"]
    assert bob.closed() == (4001, "room by start")
    assert ann.receive() == "beat"
    ann.send("conn:send { kept.joined, ws.room('tea'):count(), ws.room('old'):count() }")
    while (said := ann.receive()) == "beat":
        pass
    assert said == "[0,1,0]"


@pytest.mark.parametrize("end,why", [
    ("error 'in start'", "in start"),
    ("ws.sleep(0.1)", "may not wait"),
    ("while true do end", "stopped"),
    ("ws.after(1, 'nobody')", "no timer 'nobody'"),
])  # fmt: skip
def test_what_start_did_is_dropped_when_it_raises(room, end, why):
    r, clients = room
    assert re.search(why, r.save_bad(DOES % end))
    for client in clients:
        assert client.all_until_pong() == []
        assert client.say("return kept.from == nil and kept.joined == nil and kept.n == 1") is True
        assert client.say("return ws.room('tea'):count()") == 0
        assert client.say("return ws.room('old'):count()") == 3
    clients[0].say("ws.sleep(0.2)")
    assert clients[0].all_until_pong() == []  # no beat


def test_start_that_migrates_data_and_then_raises_has_changed_none(room):
    r, (ann, _, _) = room
    r.save_bad("""script.version = 2
        script.migrate = { conn = function(data) data.name = nil return { upper = 'x' } end,
          kept = function(old) old.n = nil return {} end }
        function script.start()
          for _, conn in ipairs(ws.all:members()) do assert(conn.data.upper) end error 'no' end""")
    assert ann.say("return kept.n == 1 and conn.data.name") == "ann"


# Probation ------------------------------------------------------------------------------------


def ruin(clients) -> None:
    """As many errors on three connections as take rules back."""
    for client in clients:
        client.send("x")


def taken_back(r, since: int) -> None:
    r.host.log_line("taken back: ", since)
    r.host.log_line('msg="loaded', since)


def go_back(r, clients) -> None:
    """Ruins what serves."""
    since = r.host.mark()
    ruin(clients)
    taken_back(r, since)


def test_errors_on_three_connections_take_the_rules_back_and_state_is_kept(rules):
    r = rules()
    clients = r.clients(4)
    for client in clients:
        client.say("kept.n = (kept.n or 0) + 1 conn.data.n = kept.n")
    r.save("function script.message() kept.n = kept.n + 1 error 'always' end")
    since = r.host.mark()
    for client in clients[:2]:
        for _ in range(20):
            client.send("x")
        assert client.all_until_pong() == []
    assert not r.host.log_lines("taken back", since)  # on two, they may be as many as they like
    ruin(clients[2:3])
    taken_back(r, since)
    assert [client.say("return conn.data.n") for client in clients] == [1, 2, 3, 4]
    assert client.say("return kept.n") == 4 + 2 * 20 + 1
    assert client.generation() == 3


def test_the_same_bytes_are_not_tried_again_until_they_change(rules):
    r = rules()
    clients = r.clients(3)
    good, bad = (r.folder / "rules.lua").read_text(), f"{HEAD}{RAISES}\nreturn script"
    r.write(bad)
    r.host.log_line(r'msg="loaded.* generation=2')
    since = r.host.mark()
    ruin(clients)
    taken_back(r, since)
    since = r.host.mark()
    r.write(good + "-- good")
    r.host.log_line(r'msg="loaded.* generation=4', since)
    r.write(bad)
    r.host.log_line("these rules were taken back after errors: change them first", since)
    assert clients[0].generation() == 4
    r.write(bad + " -- changed")
    r.host.log_line(r'msg="loaded.* generation=5', since)


def test_modules_are_taken_back_with_their_script(rules):
    r = rules()
    (r.folder / "lib").mkdir()
    (r.folder / "lib/word.lua").write_text("return { say = function() return 'one' end }")
    says = "local word = require 'word' function script.message(conn) conn:send(word.say()) end"
    r.save(says)
    clients = r.clients(3)
    assert [client.ask("x") for client in clients] == ["one"] * 3
    since = r.host.mark()
    r.write("return { say = function() error 'always' end }", "lib/word.lua")
    r.host.log_line('msg="loaded', since)
    since = r.host.mark()
    ruin(clients)
    taken_back(r, since)
    assert [client.ask("x") for client in clients] == ["one"] * 3


def test_what_failed_before_as_often_is_not_taken_back(rules):
    half = """function script.message(conn, text)
        if text == 'bad' then error 'bad' end conn:send 'good' end"""
    r = rules(half)
    clients = r.clients(4)

    def half_fails():
        for client in clients:
            client.send("bad")
            assert client.ask("good") == "good"

    half_fails()
    r.save(half)
    since = r.host.mark()
    for _ in range(3):
        half_fails()
    assert not r.host.log_lines("taken back", since)


def test_errors_after_probation_take_nothing_back(rules):
    r = rules("", "--limit=probation_s=0.2")
    clients = r.clients(4)
    r.save(RAISES)
    time.sleep(1)
    since = r.host.mark()
    ruin(clients)
    for client in clients:
        assert client.all_until_pong() == []
    assert not r.host.log_lines("taken back", since)


def migration(version: int) -> str:
    return f"""script.version = {version}
        script.migrate = {{
          kept = function(old, from) return {{ n = old.n * 10, shared = old.shared }} end,
          conn = function(data, from) return {{ n = data.n * 10, shared = data.shared }} end }}
        """


@pytest.fixture
def migrated(rules):
    """State and data that are served by rules of version 1."""
    r = rules()
    clients = r.clients(3)
    for n, client in enumerate(clients, 1):
        client.say(f"conn.data.n = {n} kept.n = 7 kept.shared = kept.shared or {{}}"
                   " conn.data.shared = kept.shared")  # fmt: skip
    return r, clients


def as_before(clients, factor: int = 1) -> None:
    for n, client in enumerate(clients, 1):
        assert client.say("return kept.n") == 7 * factor
        assert client.say("return conn.data.n") == n * factor
        assert client.say("return conn.data.shared == kept.shared") is True


def test_what_was_migrated_is_as_before_when_the_rules_are_taken_back(migrated):
    r, clients = migrated
    r.save(migration(2) + RAISES)
    go_back(r, clients)
    as_before(clients)


def test_going_back_does_not_migrate(migrated):
    r, clients = migrated
    r.save(migration(2))
    as_before(clients, 10)
    r.save("script.version = 3 " + RAISES)  # migrates nothing
    go_back(r, clients)
    as_before(clients, 10)
    r.save(migration(3) + RAISES)
    go_back(r, clients)
    as_before(clients, 10)


def test_what_was_migrated_is_as_before_though_the_rules_were_loaded_twice(migrated):
    r, clients = migrated
    bad = f"{HEAD}{migration(2)}{RAISES}\nreturn script"
    since = r.host.mark()
    r.write(bad)
    r.host.log_line(r'msg="loaded.* generation=2', since)
    r.host.signal(signal.SIGHUP)
    r.host.log_line(r'msg="loaded.* generation=3', since)
    go_back(r, clients)
    as_before(clients)


def test_what_was_migrated_is_as_before_though_a_bad_mend_was_saved(migrated):
    r, clients = migrated
    r.save(migration(2) + RAISES)
    clients[0].send("x")  # an error: not the rules to go back to
    r.host.log_line("always")
    r.save(migration(2) + RAISES + "-- no better")
    go_back(r, clients)
    as_before(clients)


def test_a_script_that_goes_while_what_it_migrated_is_kept_ends_well(serve, rules):
    r = rules("", "--limit=gone_s=0.2")
    client = r.client()
    client.say("kept.n, conn.data.n = 1, 2")
    r.save(migration(2))
    assert client.say("return kept.n + conn.data.n") == 30
    (r.folder / "rules.lua").unlink()
    assert client.closed() == (1001, "")
    r.host.log_line("rules.lua is gone")
