"""What a reload keeps, what it does not, and what becomes of a bad one; test_saves.py has the ways
to save."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

QUICK = "--limit=probation_s=0"


def ask(client, text: str = "") -> str:
    client.text(text)
    return client.hear_text()


STATE = """
local ws = require "ws"
local kept = ws.state("kept", { count = 0, new = "default" })
local script = {}
"""
ANSWER = """
function script.message(conn, text)
  local answer = load("local kept, conn, ws = ... " .. text)(kept, conn, ws)
  if answer ~= nil then conn:send(tostring(answer)) end
end
return script
"""


def test_state_and_data_stay_with_all_that_plain_data_may_be(rules):
    r = rules(STATE + ANSWER, QUICK)
    with r.host.client("/a") as client, r.host.client("/a") as other:
        ask(client, "kept.id = conn.id return 1")
        ask(client, """
            kept.self, kept.int, kept.float = kept, math.mininteger, 0.5
            kept.bytes, kept.null, kept.list = "\\0\\255", ws.json.null, { 1, { 2 } }
            kept.same, kept.conn, kept.room = kept.list[2], conn, ws.room "tea"
            conn.data.same, conn.data.n, conn.data.me = kept.list[2], 1, conn.data
            conn:join "tea"
            local at = kept for i = 1, 5000 do at.next = {} at = at.next end at.last = true
            return 1""")  # fmt: skip
        ask(other, "conn.data.name = 'other' return 1")
        r.save(STATE + "-- another\n" + ANSWER)
        assert ask(client, """
            local at = kept for i = 1, 5000 do at = at.next end
            assert(at.last and kept.self == kept)
            assert(math.type(kept.int) == "integer" and kept.int == math.mininteger)
            assert(kept.float == 0.5 and kept.bytes == "\\0\\255" and kept.null == ws.json.null)
            assert(kept.same == kept.list[2] and kept.list[2][1] == 2)
            assert(kept.conn == conn and kept.room == ws.room "tea" and kept.room:count() == 1)
            assert(conn.data.same == kept.same and conn.data.me == conn.data and conn.data.n == 1)
            assert(kept.id == conn.id and kept.new == "default")
            return ws.script.generation""") == "2"  # fmt: skip
        assert ask(other, "return conn.data.name") == "other"


def test_defaults_fill_what_is_missing_and_what_is_not_declared_is_parked(rules):
    r = rules(STATE + ANSWER, QUICK)
    with r.host.client("/a") as client:
        ask(client, "kept.count = 7 return 1")
        without = 'local ws, kept = require "ws", nil\nlocal script = {}\n' + ANSWER
        r.save(without)
        assert ask(client, "return tostring(kept)") == "nil"
        r.save(STATE.replace("count = 0", "count = 0, more = 3") + ANSWER)
        assert ask(client, "return kept.count .. kept.more .. kept.new") == "73default"


@pytest.mark.parametrize("what,kind", [
    ("function() end", "a function"),
    ("coroutine.create(print)", "a coroutine"),
    ("setmetatable({}, {})", "a table with a metatable"),
])  # fmt: skip
def test_state_that_cannot_be_kept_fails_the_reload_by_its_path(rules, what, kind):
    r = rules(STATE + ANSWER, QUICK)
    with r.host.client("/a") as client:
        ask(client, f"kept.players = {{ 1, 2, {{ on_hit = {what} }} }} return 1")
        assert "not loaded: generation 1 goes on" in r.save(STATE + "-- 2\n" + ANSWER)
        assert r.host.count(f"state.kept.players[3].on_hit can't be kept: {kind}") == 1
        assert ask(client, "return ws.script.generation .. #kept.players") == "13"
        ask(client, "kept.players = nil return 1")
        r.save(STATE + "-- 3\n" + ANSWER)
        assert ask(client, "return ws.script.generation") == "2"


def test_what_data_cannot_keep_is_left_behind_and_said_once(rules):
    r = rules(STATE + ANSWER, QUICK)
    with r.host.client("/a") as one, r.host.client("/a") as two:
        for client in (one, two):
            ask(client, "conn.data.f, conn.data.n = print, 1 return 1")
        r.save(STATE + "-- 2\n" + ANSWER)
        for client in (one, two):
            assert ask(client, "return tostring(conn.data.f) .. conn.data.n") == "nil1"
        r.host.wait_log("conn.data.f can't be kept: a function")


VERSION = """
script.version = 2
script.migrate = {
  kept = function(old, from) return { all = old.count, from = from } end,
  conn = function(data, from) return { upper = data.name:upper(), from = from } end,
}
"""


def test_another_version_migrates_state_and_data(rules):
    r = rules(STATE + ANSWER, QUICK)
    with r.host.client("/a") as client, r.host.client("/a") as bare:
        ask(client, "kept.count, conn.data.name = 5, 'ann' return 1")
        ask(bare, "conn.data.other = 1 return 1")
        r.save(STATE + VERSION + ANSWER)
        assert ask(client, "return kept.all .. kept.from .. tostring(kept.count)") == "51nil"
        assert ask(client, "return conn.data.upper .. conn.data.from") == "ANN1"
        assert ask(bare, "return tostring(next(conn.data))") == "nil"  # its migrate raised
        r.host.wait(lambda: r.host.count("attempt to index a nil value (field 'name')"))


@pytest.mark.parametrize("bad", [
    "script.migrate.kept = function() error('broken') end",
    "script.migrate.kept = function() return 1 end",
    "function script.start() error('broken') end",
    "error('broken')",
    "while true do end",
    "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end",
    "return",
    "syntax error",
])  # fmt: skip
def test_a_bad_save_changes_nothing(rules, bad):
    r = rules(STATE + ANSWER, QUICK)
    with r.host.client("/a") as client:
        ask(client, "kept.count, conn.data.name = 5, 'ann' return 1")
        said = r.save(STATE + VERSION + bad + ANSWER)
        assert "not loaded: generation 1 goes on" in said
        assert ask(client, "return kept.count .. conn.data.name .. kept.new") == "5anndefault"
        r.save(STATE + VERSION + ANSWER)
        assert ask(client, "return kept.all .. conn.data.upper") == "5ANN"


def test_what_start_does_is_held_until_it_has_returned(rules):
    starts = """
    function script.start(from)
      ws.all:broadcast("from " .. tostring(from))
      for _, conn in ipairs(ws.all:members()) do
        conn:send { name = conn.data.name } conn:join "tea"
      end
      kept.joined = ws.room("tea"):count()
      %s
    end
    """
    r = rules(STATE + ANSWER, QUICK)
    with r.host.client("/a") as client:
        ask(client, "conn.data.name = 'ann' return 1")
        r.save(STATE + starts % "error 'no'" + ANSWER)
        assert ask(client, "return tostring(kept.joined) .. ws.room('tea'):count()") == "nil0"
        r.save(STATE + starts % "" + ANSWER)
        assert [client.hear_text(), client.hear_text()] == ["from 1", '{"name":"ann"}']
        assert ask(client, "return kept.joined .. ws.room('tea'):count()") == "01"


TIMERS = """
script.timers = {
  beat = function(data) kept.beats = (kept.beats or 0) + 1 kept.data = data.n end,
  once = function(data) kept.once = (kept.once or 0) + 1 end,
}
"""


def test_named_timers_stay_and_functions_end(rules):
    r = rules(STATE + TIMERS + ANSWER, QUICK)
    with r.host.client("/a") as client:
        ask(client, """
            kept.every = ws.every(0.05, "beat", { n = 3 }) kept.after = ws.after(60, "once")
            ws.after(3, "once") ws.every(0.05, function() kept.fn = (kept.fn or 0) + 1 end)
            return 1""")  # fmt: skip
        said = r.save(STATE + TIMERS + "-- 2\n" + ANSWER)
        assert "3 timers kept, 1 timers ended that were functions" in said
        ended = ask(client, "kept.before = kept.beats return tostring(kept.fn)")
        r.host.wait(lambda: ask(client, "return tostring(kept.once)") == "1")
        assert ask(client, "return tostring(kept.fn) .. tostring(kept.data)") == ended + "3"
        assert ask(client, "return tostring(kept.beats > kept.before)") == "true"
        assert ask(client, 'return ws.every(0.05, "beat", { n = 4 }) == kept.every') == "true"
        assert ask(client, "return tostring(ws.cancel(kept.every))") == "true"
        assert ask(client, "return tostring(ws.cancel(kept.after))") == "true"
        assert ask(client, "return tostring(ws.cancel(kept.after))") == "nil"


def test_a_beat_declared_at_the_top_is_one_timer_over_reloads(rules):
    declared = STATE + TIMERS + 'local id = ws.every(1, "beat", { n = 1 })\n'
    begun = time.monotonic()
    r = rules(declared + ANSWER, QUICK)
    with r.host.client("/a") as client:
        saves, loaded = 0, time.monotonic()
        while time.monotonic() < loaded + 5:  # more often than it beats
            saves += 1
            r.save(declared + f"-- {saves}\n" + ANSWER)
        beats = int(ask(client, "return kept.beats or 0"))
        assert saves > 7 and beats >= 3, "each reload has begun it anew"
        assert beats <= time.monotonic() - begun, "doubled"


WAITS = """
function script.message(conn, text)
  if text == "wait" then
    local before = conn.data
    conn:send "waiting"
    ws.sleep(%s)
    local ok, why = pcall(function() return before.n end)
    conn:send(ok and "here " .. tostring(before.n) or why)
    ws.after(0, "later", conn)
  else
    conn.data.n = (conn.data.n or 0) + 1
    conn:send(ws.script.generation .. " " .. conn.data.n)
  end
end
script.timers = { later = function(conn) conn:send("later " .. ws.script.generation) end }
return script
"""


def test_a_handler_that_waits_finishes_and_events_behind_it_go_by_the_new_rules(rules):
    r = rules(STATE + WAITS % "4", QUICK)
    with r.host.client("/a") as client, r.host.client("/a") as other:
        assert ask(client) == "1 1"
        assert ask(client, "wait") == "waiting"
        client.text("behind")
        r.save(STATE + "-- 2\n" + WAITS % "4")
        assert ask(other) == "2 1"
        assert client.hear_text() == "here 1"  # nobody had touched it elsewhere
        assert sorted([client.hear_text(), client.hear_text()]) == ["2 2", "later 2"]


def test_what_has_moved_raises_where_a_handler_waited(rules):
    touching = WAITS.replace(
        'if text == "wait" then',
        """if text == "touch" then
        for _, c in ipairs(ws.all:members()) do c.data.n = (c.data.n or 0) + 10 end
        conn:send "touched"
        elseif text == "wait" then""",
    )
    r = rules(STATE + touching % "4", QUICK)
    with r.host.client("/a") as client, r.host.client("/a") as other:
        assert ask(client) == "1 1"
        assert ask(client, "wait") == "waiting"
        r.save(STATE + "-- 2\n" + touching % "4")
        assert ask(other, "touch") == "touched"
        assert "moved to generation 2 while this handler waited" in client.hear_text()
        assert client.hear_text() == "later 2"
        assert ask(client) == "2 12"


LOOKS = """
local ws = require "ws"
local state = ws.state("all", { list = { 1, 2, 3 }, named = { a = 1, b = 2 } })
local next, pairs, rawget = next, pairs, rawget
local looks = {
  index = function(t) return t[1] end,
  assign = function(t) t[1] = 9 end,
  length = function(t) return #t end,
  next = function(t) return next(t) end,
  pairs = function(t) for _ in pairs(t) do return "seen" end end,
  ipairs = function(t) for _ in ipairs(t) do return "seen" end end,
  rawget = function(t) return rawget(t, 1) end,
  rawset = function(t) return rawset(t, 1, 9) end,
  rawlen = function(t) return rawlen(t) end,
  insert = function(t) table.insert(t, 9) end,
  concat = function(t) return table.concat(t) end,
  unpack = function(t) return table.unpack(t) end,
  sort = function(t) table.sort(t) end,
  json = function(t) return ws.json.encode(t) end,
}
return {
  message = function(conn, text)
    if text ~= "wait" then
      conn:send(tostring(state.list[1]))
      return
    end
    local list, named = state.list, state.named
    local found = {}
    local walked, why = pcall(function()
      for key in pairs(named) do
        if not found.walk then
          found.walk = key
          conn:send "waiting"
          ws.sleep(4)
        end
      end
    end)
    local seen = { "walk " .. (walked and "went on" or why:match "moved" or why) }
    for name, look in pairs(looks) do
      local went, what = pcall(look, list)
      if went or not tostring(what):find "moved to .*generation.* while" then
        seen[#seen + 1] = name .. " saw " .. tostring(what)
      end
    end
    conn:send(table.concat(seen, ", "))
  end,
}
"""


def test_nothing_looks_past_that_a_table_has_moved(rules):
    r = rules(LOOKS, QUICK)
    with r.host.client("/a") as client, r.host.client("/a") as other:
        assert ask(client, "wait") == "waiting"
        r.save(LOOKS.replace("conn:send(", 'conn:send("2nd " .. ', 1))
        assert ask(other) == "2nd 1"
        assert client.hear_text() == "walk moved"


def test_a_wait_of_more_than_reload_wait_s_is_cut_past_pcall(rules):
    r = rules(STATE + WAITS % "50", QUICK, "--limit=reload_wait_s=0.2")
    with r.host.client("/a") as client:
        assert ask(client, "wait") == "waiting"
        client.text("behind")
        r.save(STATE + "-- 2\n" + WAITS % "50")
        assert client.hear_text() == "2 1"
        r.host.wait_log("the wait was cut: another generation serves by now")


def test_data_of_an_upgrade_that_waited_opens_in_the_new_generation(rules):
    script = (
        STATE
        + """
    function script.upgrade(req)
      print "asked" ws.sleep(4)
      return { data = { by = ws.script.generation } }
    end
    function script.open(conn) conn:send(conn.data.by .. " opens in " .. ws.script.generation) end
    return script
    """
    )
    r = rules(script, QUICK)
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(r.host.client, "/a")
        r.host.wait_log('msg="asked"')
        r.save(script + "-- 2")
        with opening.result(timeout=20) as client:
            assert client.hear_text() == "1 opens in 2"


RAISES = "function script.message(conn, text) error('always ' .. kept.count) end return script"


def test_rules_that_fail_on_three_connections_are_taken_back_and_not_tried_again(rules):
    r = rules(STATE + ANSWER)
    with ExitStack() as stack:
        clients = [stack.enter_context(r.host.client("/a")) for _ in range(4)]
        for client in clients:
            ask(client, "kept.count = kept.count + 1 return kept.count")
        r.save(STATE + RAISES)
        for client in clients[:3]:
            client.text("x")
        r.host.wait(lambda: re.search(r"taken back: 3 of 3 events", r.host.text()))
        r.host.wait(lambda: re.search(r'msg="loaded.* generation=3', r.host.text()))
        for client in clients:
            assert ask(client, "return kept.count .. ws.script.generation") == "43"
        (r.folder / "a.lua").write_text(STATE + "-- others\n" + ANSWER)
        r.host.wait(lambda: re.search(r'msg="loaded.* generation=4', r.host.text()))
        said = r.save(STATE + RAISES)
        assert "not loaded: generation 4 goes on" in said
        assert r.host.count("these rules were taken back") == 1


LOOPS = "function script.message(conn, text) while true do end end return script"


@pytest.mark.parametrize("bad", [RAISES, LOOPS])
def test_what_comes_after_the_third_error_waits_for_the_rules_before(rules, bad):
    r = rules(STATE + ANSWER, "--limit=handler_stop_s=0.1")
    with ExitStack() as stack:
        clients = [stack.enter_context(r.host.client("/a")) for _ in range(8)]
        for client in clients:
            ask(client, "return 1")
        r.save(STATE + bad)
        for client in clients:
            for number in range(5):  # the third loses the first of these at most
                client.text(f"kept.count = kept.count + 1 return 'answer {number}'")
        r.host.wait(lambda: re.search(r'msg="loaded.* generation=3', r.host.text()))
        lost = int(re.search(r"taken back: (\d+) of", r.host.text())[1])
        for client in clients:
            client.text("return 'last'")
        answers = 0
        for client in clients:
            numbers = []
            while (said := client.hear_text()) != "last":
                numbers.append(int(said.removeprefix("answer ")))
            assert numbers == list(range(5 - len(numbers), 5))  # in order, and nothing between
            answers += len(numbers)
        assert answers == 8 * 5 - lost and lost >= 3
        assert ask(clients[0], "return kept.count") == str(answers)


def test_a_script_that_is_deleted_while_its_rules_are_to_be_taken_back_ends(rules):
    waits = """
        function script.message(conn, text)
          if text == "wait" then conn:send "waits" ws.sleep(60) end
          conn:send(text)
        end
        return script"""
    ends = "function script.close(conn) print('closed', conn.id) end "
    r = rules(STATE + waits, "--limit=gone_s=1", "--limit=reload_wait_s=300")
    with ExitStack() as stack:
        clients = [stack.enter_context(r.host.client("/a")) for _ in range(4)]
        clients[3].text("wait")  # the way back has to wait for this one
        assert clients[3].hear_text() == "waits"
        r.save(STATE + ends + RAISES)
        for client in clients[:3]:
            client.text("x")
        r.host.wait(lambda: re.search(r"taken back: 3 of 3 events", r.host.text()))
        (r.folder / "a.lua").unlink()
        for client in clients[:3]:
            assert client.hear_close()[0] == 1001
        r.host.wait(lambda: r.host.count('msg="closed') == 3)  # the fourth has a handler to end


def test_what_was_migrated_is_restored_when_rules_are_taken_back(rules):
    r = rules(STATE + ANSWER)
    with ExitStack() as stack:
        clients = [stack.enter_context(r.host.client("/a")) for _ in range(3)]
        for n, client in enumerate(clients):
            ask(client, f"kept.count, conn.data.name = 9, 'n{n}' return 1")
        r.save(STATE + VERSION + RAISES.replace("kept.count", "conn.data.upper"))
        for client in clients:
            client.text("x")
        r.host.wait(lambda: re.search(r'msg="loaded.* generation=3', r.host.text()))
        for n, client in enumerate(clients):
            assert ask(client, "return kept.count .. conn.data.name") == f"9n{n}"


def test_data_that_idle_connections_have_and_that_cannot_be_migrated_takes_rules_back(rules):
    r = rules(STATE + ANSWER)
    with ExitStack() as stack:
        clients = [stack.enter_context(r.host.client("/a")) for _ in range(3)]
        for n, client in enumerate(clients):
            ask(client, f"conn.data.n = {n} return 1")
        r.save(STATE + VERSION + ANSWER)  # asks for a name, and nobody says anything
        r.host.wait(lambda: re.search(r"taken back: 3 of [0-9]+ events", r.host.text()))
        r.host.wait(lambda: re.search(r'msg="loaded.* generation=3', r.host.text()))
        for n, client in enumerate(clients):
            assert ask(client, "return conn.data.n") == str(n)


def test_a_route_that_clashes_is_refused_and_a_new_one_is_taken(rules):
    r = rules(STATE + ANSWER, QUICK)
    r.save("return { route = '/b', request = function() return 200 end }", "b.lua")
    said = r.save(STATE + "script.route = '/b'\n" + ANSWER)
    assert "not loaded: generation 1 goes on" in said
    both = r"(a|b)\.lua and .*(a|b)\.lua both have the route /b"
    assert re.search(both, r.host.text())
    r.save(STATE + "script.route = '/c'\n" + ANSWER)
    with r.host.client("/c") as client:
        assert ask(client, "return ws.script.generation") == "2"
    assert r.host.get("/a").status == 404
