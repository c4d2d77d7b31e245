"""docs/reload.md: somebody does what the page says, while people are connected. Each row of its
tables of what stays, and what does not, is seen: a row without a check fails.
"""

import os
import re
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from test_reload import ANSWER, QUICK, STATE, TIMERS, ask

from conftest import program
from support.host import ROOT, environment
from support.page import BLOCK, PATH, Reader

PAGE = ROOT / "docs/reload.md"
INSTEAD = {"cp -r scripts party": f"cp -r {ROOT / 'scripts'} party"}


def test_the_chat_is_changed_as_the_page_says(tmp_path, tmp_path_factory):
    path = f"{Path(program()).resolve().parent}:{os.environ['PATH']}"
    control = tmp_path_factory.mktemp("c") / "control.sock"
    env = environment(PATH=path, PERIGEE_CONTROL=str(control))
    with Reader(PAGE, tmp_path, env, instead=INSTEAD) as reader:
        reader.follow()
        assert reader.done > 40


def test_no_block_of_the_page_is_left_out():
    for language, text in BLOCK.findall(PAGE.read_text()):
        assert language in ("console", "diff", "log", "talk") or PATH.match(text), text


# The tables -------------------------------------------------------------------------------------


def rows() -> list[str]:
    text = PAGE.read_text().split("\n## What stays, and what does not\n", 1)[1]
    cells = re.findall(r"^\| (\S.*?) \|", text.split("\n## ", 1)[0], re.MULTILINE)
    return [cell for cell in cells if not cell.startswith(("--", "what stays", "what does not"))]


CHECKS = {}


def holds(row):
    """The check of the row that begins like this."""

    def keep(check):
        CHECKS[row] = check
        return check

    return keep


@pytest.mark.parametrize("row", rows())
def test_what_the_tables_say_is_so(row, rules):
    (check,) = [check for begin, check in CHECKS.items() if row.startswith(begin)]
    check(rules)


def test_no_check_is_of_a_row_that_is_gone():
    assert len(rows()) == len(CHECKS) and all(row.startswith(tuple(CHECKS)) for row in rows())


def again(r, text: str = STATE + "-- another\n" + ANSWER) -> str:
    """Saves it, and answers the line of the log."""
    said = r.save(text)
    assert "goes on" not in said, r.host.text()
    return said


@holds("connections")
def _(rules):
    script = 'script.protocols = "v1"\n' + ANSWER
    r = rules(STATE + 'script.route = "/a/:room"\n' + script, QUICK)
    whole = "return conn.id .. conn.params.room .. conn.protocol"
    with r.host.client("/a/tea", sec_websocket_protocol="v1") as client:
        before = ask(client, whole)
        again(r, STATE + 'script.route = "/b/:other"\n' + script)
        assert ask(client, whole) == before
    assert r.host.get("/a/tea").status == 404


@holds("rooms")
def _(rules):
    r = rules(STATE + ANSWER, QUICK)
    here = """local here = {}
        for _, room in ipairs { ws.room "tea", ws.shared "lounge" } do
          for _, one in ipairs(room:presence()) do here[#here + 1] = one.info end
        end
        return table.concat(here, " ")"""
    with r.host.client("/a") as ann, r.host.client("/a") as bob:
        for client, name in ((bob, "bob"), (ann, "ann")):
            for room in ('"tea"', 'ws.shared "lounge"'):
                ask(client, f"return conn:join({room}, {{ info = '{name}' }})")
        again(r)
        assert ask(ann, here) == "bob ann bob ann"
        ask(ann, 'return ws.room("tea"):broadcast "all"')
        assert bob.hear_text() == "all"


@holds("what is on its way")
def _(rules):
    limits = "--limit=outbox_soft=32 MiB", "--limit=outbox_hard=64 MiB"
    r = rules(STATE + ANSWER, QUICK, *limits)
    buffered = "return ws.conn(kept.id).buffered"
    with r.host.client("/a") as slow, r.host.client("/a") as other:
        slow.text("kept.id = conn.id for i = 1, 6000 do conn:send(i .. (' '):rep(4000)) end")
        r.host.wait(lambda: ask(other, "return tostring(kept.id)") != "nil")
        assert int(ask(other, buffered)) > 100_000, "it is not on its way, it has gone"
        again(r)
        assert int(ask(other, buffered)) > 100_000
        assert [int(slow.hear_text()) for _ in range(6000)] == list(range(1, 6001))
        other.text("ws.sleep(4) conn:send 'waited'")
        other.text("conn:send('behind, generation ' .. ws.script.generation)")
        again(r, STATE + "-- a third\n" + ANSWER)
        assert other.hear_text() == "waited"
        assert other.hear_text() == "behind, generation 3"


@holds("[`ws.state`]")
def _(rules):
    r = rules(STATE + ANSWER, QUICK)
    with r.host.client("/a") as client:
        ask(client, "kept.count, kept.new = 7, nil return 1")
        again(r)
        assert ask(client, "return kept.count .. kept.new") == "7default"


@holds("state that is no longer declared")
def _(rules):
    r = rules(STATE + ANSWER, QUICK)
    with r.host.client("/a") as client:
        ask(client, "kept.count = 7 return 1")
        again(r, STATE.replace('ws.state("kept"', 'ws.state("other"') + ANSWER)
        assert ask(client, "return kept.count") == "0"
        again(r)
        assert ask(client, "return kept.count") == "7"


@holds("`conn.data`")
def _(rules):
    r = rules(STATE + ANSWER, QUICK)
    with r.host.client("/a") as client:
        ask(client, "conn.data.name = 'ann' return 1")
        again(r)
        assert ask(client, "return conn.data.name") == "ann"


@holds("a table that is in both")
def _(rules):
    r = rules(STATE + ANSWER, QUICK)
    with r.host.client("/a") as client:
        ask(client, "kept.p = {} kept.p.me, kept.q, conn.data.p = kept.p, kept.p, kept.p return 1")
        again(r)
        same = "return tostring(rawequal(%s, conn.data.p))"
        for where in ("kept.p", "kept.q", "kept.p.me"):
            assert ask(client, same % where) == "true"


@holds("timers by name")
def _(rules):
    r = rules(STATE + TIMERS + ANSWER, QUICK)
    with r.host.client("/a") as client:
        ask(client, 'ws.after(1, "once") return ws.every(0.1, "beat", { n = 3 })')
        r.host.wait(lambda: ask(client, "return kept.data or 0") == "3")
        # What they do is said by the new rules.
        said = again(r, STATE + TIMERS.replace("data.n", "-data.n") + ANSWER)
        assert "timers kept" in said and "ended" not in said
        r.host.wait(lambda: ask(client, "return kept.data") == "-3")
        r.host.wait(lambda: ask(client, "return kept.once or 0") == "1")


@holds("ids of timers")
def _(rules):
    r = rules(STATE + TIMERS + ANSWER, QUICK)
    with r.host.client("/a") as client:
        ask(client, 'kept.a, kept.b = ws.after(60, "once"), ws.every(60, "beat") return 1')
        again(r, STATE + TIMERS + "-- another\n" + ANSWER)
        cancel = "return tostring(ws.cancel(kept.a)) .. tostring(ws.cancel(kept.b))"
        assert [ask(client, cancel), ask(client, cancel)] == ["truetrue", "nilnil"]


@holds("locals, globals, modules")
def _(rules):
    r = rules("return { message = function() end }", QUICK)
    (r.folder / "_word.lua").write_text("return { n = 0 }")
    script = """
    local ws, word, n = require "ws", require "_word", 0
    made = (made or 0) + 1
    return { message = function(conn)
      n, word.n = n + 1, word.n + 1
      conn:send(("%d %d %d"):format(n, word.n, made))
    end }"""
    again(r, script)
    with r.host.client("/a") as client:
        assert [ask(client), ask(client)] == ["1 1 1", "2 2 1"]
        again(r, script + "-- another")
        assert ask(client) == "1 1 1"


@holds("limiters")
def _(rules):
    script = """
    local ws = require "ws"
    local talk = ws.limiter { rate = 1, per = 3600 }
    return { message = function(conn) conn:send(tostring(talk:allow(conn))) end }"""
    r = rules(script, QUICK)
    with r.host.client("/a") as client:
        assert [ask(client), ask(client)] == ["true", "false"]
        again(r, script + "-- another")
        assert [ask(client), ask(client)] == ["true", "false"]


@holds("timers that are functions")
def _(rules):
    r = rules(STATE + ANSWER, QUICK)
    with r.host.client("/a") as client:
        ask(client, "ws.every(0.05, function() kept.count = kept.count + 1 end) return 1")
        assert "1 timers ended that were functions" in again(r)
        count = ask(client, "return kept.count")
        time.sleep(0.3)
        assert ask(client, "return kept.count") == count


@holds("timers whose name is gone")
def _(rules):
    r = rules(STATE + TIMERS + ANSWER, QUICK)
    with r.host.client("/a") as client:
        ask(client, 'return ws.after(60, "once")')
        assert "1 timers ended whose names are gone" in again(r)


@holds("functions, coroutines and tables with a metatable, in state")
def _(rules):
    r = rules(STATE.replace("kept", "state") + ANSWER.replace("kept", "state"), QUICK)
    with r.host.client("/a") as client:
        for value in ("print", "coroutine.create(print)", "setmetatable({}, {})"):
            ask(client, f"state.players = {{ 1, 2, {{ on_hit = {value} }} }} return 1")
            assert "generation 1 goes on" in r.save(STATE + f"-- {value}\n" + ANSWER)
        place = "state.state.players[3].on_hit can't be kept: "
        for kind in ("a function", "a coroutine", "a table with a metatable"):
            assert r.host.count(place + kind) == 1
        assert ask(client, "return #state.players") == "3"


@holds("the same in `conn.data`")
def _(rules):
    r = rules(STATE + ANSWER, QUICK)
    with r.host.client("/a") as client:
        ask(client, "conn.data.f, conn.data.name = print, 'ann' return 1")
        again(r)
        assert ask(client, "return tostring(conn.data.f) .. conn.data.name") == "nilann"
        r.host.wait_log("conn.data.f can't be kept: a function")


@holds("handlers that wait longer")
def _(rules):
    r = rules(STATE + ANSWER, QUICK, "--limit=reload_wait_s=0.2")
    with r.host.client("/a") as client:
        client.text("conn:send 'begun' pcall(ws.sleep, 50) conn:send 'never'")
        assert client.hear_text() == "begun"
        again(r)
        assert ask(client, "return ws.script.generation") == "2"
        r.host.wait_log("the wait was cut: another generation serves by now")


# What else it says ------------------------------------------------------------------------------


def test_state_has_moved_for_a_handler_that_waited_and_a_timer_by_name_is_a_way_on(rules):
    timers = "script.timers = { done = function(data) kept.count = kept.count + data.n end }\n"
    r = rules(STATE + timers + ANSWER, QUICK)
    with r.host.client("/a") as client:
        client.text("""
            conn:send "begun" conn.data.own = 1 ws.sleep(4)
            conn:send(select(2, pcall(function() kept.count = 9 end)))
            ws.after(0, "done", { n = 1 })
            return conn.data.own""")
        assert client.hear_text() == "begun"
        again(r, STATE + timers.replace("data.n", "10 * data.n") + ANSWER)
        assert "moved to generation 2 while this handler waited" in client.hear_text()
        assert client.hear_text() == "1"  # nobody else has touched it
        r.host.wait(lambda: ask(client, "return kept.count") == "10")


def test_errors_of_no_connection_take_nothing_back(rules):
    r = rules(STATE + ANSWER)
    with ExitStack() as stack:
        clients = [stack.enter_context(r.host.client("/a")) for _ in range(3)]
        again(r, STATE + "function script.request() error 'no' end\n" + ANSWER)
        for client in clients[:2]:
            client.text("error 'no'")
        for _ in range(5):
            assert r.host.get("/a").status == 500
        assert [ask(client, "return ws.script.generation") for client in clients] == ["2"] * 3
        clients[2].text("error 'no'")
        r.host.wait(lambda: r.host.count("taken back: 8 of 11 events lost to errors, on 3 conn"))


def test_what_bad_rules_did_to_state_stays_and_to_what_they_migrated_is_lost(rules):
    declared = STATE + 'local other = ws.state("other", { n = 1 })\n'
    answer = ANSWER.replace("local kept, conn, ws", "local kept, conn, other")
    good = declared + answer.replace("(kept, conn, ws)", "(kept, conn, other)")
    bad = """
    script.version = 2
    script.migrate = { kept = function(old) return { count = old.count } end }
    function script.message(conn, text)
      kept.count, other.n = kept.count + 100, other.n + 100
      error "no"
    end
    return script
    """
    r = rules(good)
    with ExitStack() as stack:
        clients = [stack.enter_context(r.host.client("/a")) for _ in range(3)]
        ask(clients[0], "kept.count = 5 return 1")
        again(r, declared + bad)
        for client in clients:
            client.text("x")
        r.host.wait(lambda: r.host.count("taken back: 3 of 3 events lost"))
        r.host.wait(lambda: re.search(r'msg="loaded.* generation=3', r.host.text()))
        assert ask(clients[0], "return kept.count .. ' ' .. other.n") == "5 301"
