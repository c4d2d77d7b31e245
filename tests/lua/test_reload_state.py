"""Declared state and conn.data over a reload: what stays, what is said of what can't, migrate."""

import re

import pytest

from reloading import HEAD
from serving import eventually

ONCE = "--limit=probation_s=0"


@pytest.fixture
def keeps(rules):
    """keeps(LUA, LUA): what the first has put into state is as the second says after a reload."""

    def over(before: str, after: str) -> None:
        r = rules("", ONCE)
        client = r.client()
        client.say(before)
        assert client.say(after) is True, "not even before the reload"
        r.save()
        assert client.say(after) is True
        r.save()
        assert client.say(after) is True and client.generation() == 3

    return over


def test_cycles_stay(keeps):
    keeps(
        "kept.me = kept kept.a = { b = {} } kept.a.b.a = kept.a kept[kept.a] = 'key'",
        "return kept.me == kept and kept.a.b.a == kept.a and kept[kept.a] == 'key'",
    )


def test_a_table_that_is_held_twice_stays_one(keeps):
    keeps(
        "local t = { 1 } kept.a, kept.b, kept.deep = t, t, { { t } }",
        "kept.a.n = (kept.a.n or 0) + 1 "
        "return kept.a == kept.b and kept.deep[1][1] == kept.a and kept.b.n == kept.a.n",
    )


def test_integers_stay_exact_and_floats_stay_floats(keeps):
    keeps(
        "kept.n = { math.mininteger, math.maxinteger, (1 << 53) + 1, 3.0, 1/0, -1/0, 0.1, -0.0 } "
        "kept.nan = 0/0 kept[math.mininteger] = 'integer' kept[0.5] = 'float'",
        "local n = kept.n "
        "local types = '' for i = 1, 8 do types = types .. math.type(n[i]):sub(1, 1) end "
        "return types == 'iiifffff' and n[1] == math.mininteger and n[2] == math.maxinteger "
        "and n[3] == (1 << 53) + 1 and n[4] == 3 and n[5] == 1/0 and n[6] == -1/0 and n[7] == 0.1 "
        "and 1 / n[8] == -1/0 and kept.nan ~= kept.nan "
        "and kept[math.mininteger] == 'integer' and kept[0.5] == 'float'",
    )


def test_strings_stay_byte_by_byte(keeps):
    keeps(
        "local t = {} for byte = 0, 255 do t[byte] = string.char(byte) end "
        "kept.all = table.concat(t, '', 0, 255) kept[kept.all] = 'key' kept.empty = '' "
        "kept.long = ('\\0\\255'):rep(500000)",
        "local all = kept.all for byte = 0, 255 do assert(all:byte(byte + 1) == byte) end "
        "return #all == 256 and kept[all] == 'key' and kept.empty == '' "
        "and kept.long == ('\\0\\255'):rep(500000)",
    )


def test_booleans_null_and_the_mark_of_an_array_stay(keeps):
    keeps(
        "kept.yes, kept.no, kept[true], kept.null = true, false, 'key', ws.json.null "
        "kept.list = ws.json.array {}",
        "return kept.yes == true and kept.no == false and kept[true] == 'key' "
        "and kept.null == ws.json.null and ws.json.encode(kept.list) == '[]'",
    )


def test_conns_stay_as_values_and_as_keys(keeps):
    keeps(
        "kept.who, kept.names, kept.id = conn, { [conn] = 'ann' }, conn.id",
        "return kept.who == conn and kept.names[conn] == 'ann' and kept.who.id == kept.id "
        "and kept.who.connected",
    )


def test_a_conn_that_has_ended_stays(rules):
    r = rules("", ONCE)
    client, other = r.clients(2)
    other.say("kept.who, kept.id = conn, conn.id")
    other.close()
    r.save()
    assert client.say("return kept.who.id == kept.id and not kept.who.connected") is True


def test_room_values_stay_and_so_do_members_with_what_is_known_of_them(keeps):
    keeps(
        "kept.room, kept.shared = ws.room 'tea', ws.shared 'tea' "
        "conn:join('tea', { info = { n = 1 } }) conn:join(kept.shared)",
        "return kept.room == ws.room 'tea' and kept.shared == ws.shared 'tea' "
        "and kept.room ~= kept.shared and kept.room:count() == 1 and kept.shared:count() == 1 "
        "and kept.room:presence()[1].info.n == 1 and kept.room:members()[1] == conn",
    )


def test_a_table_of_nine_thousand_within_each_other_stays(keeps):
    keeps(
        "local at = kept for i = 1, 9000 do at.next = { i = i } at = at.next end",
        "local at, n = kept.next, 0 while at do n = n + 1 assert(at.i == n) at = at.next end "
        "return n == 9000",
    )


def test_deeper_than_the_bound_fails_the_reload_and_is_named(rules):
    r = rules("", ONCE)
    client = r.client()
    client.say("local at = kept for i = 1, 10000 do at.n = {} at = at.n end")
    said = r.save_bad()
    assert re.search(
        r"state\.kept\.n\.n\.n.*\.\.\. can't be kept: more than 10000 tables deep", said
    )
    client.say("kept.n = nil")
    r.save()
    assert client.generation() == 2


# Declaring ------------------------------------------------------------------------------------


def test_defaults_fill_what_is_missing_and_nothing_else(rules):
    r = rules("", ONCE)
    client = r.client()
    client.say("kept.no, kept.nested, kept.count = false, { a = 1 }, 7")
    r.save(
        head=HEAD.replace(
            '("kept", {})',
            '("kept", { no = true, nested = { a = 2, b = 2 }, count = 0, fresh = { 1 } })',
        )
    )
    assert client.say("return kept.no == false and kept.count == 7 and kept.fresh[1] == 1") is True
    assert client.say("return kept.nested.a == 1 and kept.nested.b == nil") is True


def test_a_default_that_refers_to_itself_refers_to_the_state(rules):
    head = HEAD.replace(
        'ws.state("kept", {})',
        'ws.state("kept", (function() local d = {} d.me = d return d end)())',
    )
    r = rules("", ONCE, head=head)
    client = r.client()
    assert client.say("return kept.me == kept") is True
    r.save(head=head)
    assert client.say("return kept.me == kept") is True


MORE = 'local more = ws.state("more", {}) function script.request() return 200, more end\n'


def test_a_table_that_two_states_hold_stays_one(rules):
    both = HEAD + 'local more = ws.state("more", {}) function script.start() %s end\n'
    r = rules("", ONCE, head=both % "more.t = {} kept.t = more.t")
    client = r.client()
    r.save(head=both % "kept.same = more.t == kept.t")
    assert client.say("return kept.same") is True


def test_a_name_that_is_not_declared_is_parked_until_it_is_again(rules):
    r = rules(MORE + "function script.start() more.n, more.kept = 5, kept end", ONCE)
    client = r.client()
    client.say("kept.here = true")
    r.save()
    r.save()
    r.save()
    r.save(MORE + "function script.start() kept.n, kept.one = more.n, more.kept == kept end")
    assert client.say("return kept.n == 5 and kept.one and kept.here") is True


def test_what_is_parked_is_held_to_be_plain_data_too(rules):
    r = rules(MORE + "function script.start() more.f = print end", ONCE)
    assert "state.more.f can't be kept: a function" in r.save_bad()


TOUCHES = [
    "kept.n", "kept.n = 1", "#kept", "pairs(kept)", "for _ in ipairs(kept) do end", "next(kept)",
    "rawget(kept, 'n')", "rawset(kept, 'n', 1)", "rawlen(kept)", "setmetatable(kept, {})",
    "table.insert(kept, 1)",
    "table.remove(kept)", "table.concat(kept)", "table.unpack(kept)", "table.sort(kept)",
    "table.move(kept, 1, 1, 2)", "ws.json.encode(kept)", "for _ in pairs(kept) do end",
    "ws.log.info('x', kept)", "ws.state('other', kept)",
]  # fmt: skip


@pytest.mark.parametrize("touch", TOUCHES)
def test_state_raises_when_it_is_touched_before_start(serve, touch):
    reads = re.match(r"^kept\.n$|^#", touch)
    lua = f"local _ = {touch}" if reads else touch
    host = serve({"a.lua": f"{HEAD}{lua}\nreturn script"})
    host.log_line(r'msg="(not )?loaded')
    assert host.log_lines(
        r"state is not filled before start: keep the table|cannot change a protected metatable"
    )
    assert host.log_lines(r'msg="not loaded: its route answers 503"')


def test_a_state_is_declared_once_and_while_loading_only(rules):
    r = rules("", ONCE)
    client = r.client()
    assert "state 'kept' is declared already" in r.save_bad("ws.state 'kept'")
    client.send("ws.state 'late'")
    assert "ws.state belongs to loading" in client.raised()


# What can't be kept ---------------------------------------------------------------------------

PLAYERS = HEAD.replace('ws.state("kept", {})', 'ws.state("players", {})')


@pytest.mark.parametrize("what,kind", [
    ("print", "a function"),
    ("coroutine.create(print)", "a coroutine"),
    ("setmetatable({}, {})", "a table with a metatable"),
    ("ws.limiter { rate = 1, per = 1, burst = 1 }", r"(not plain data|a table with a metatable)"),
])  # fmt: skip
def test_what_state_cannot_keep_fails_the_reload_and_is_named_by_its_path(rules, what, kind):
    r = rules("", ONCE, head=PLAYERS)
    client = r.client()
    client.say(f"kept[1], kept[2], kept[3] = 1, {{}}, {{ on_hit = {what} }}")
    assert re.search(
        rf"state\.players\[3\]\.on_hit can't be kept: {kind}", r.save_bad(head=PLAYERS)
    )
    assert client.say("return kept[1] == 1 and kept[3].on_hit ~= nil") is True  # as it was
    client.say("kept[3].on_hit = nil")
    r.save(head=PLAYERS)
    assert client.say("return kept[3] ~= nil and kept[3].on_hit == nil") is True


@pytest.mark.parametrize("lua,path", [
    ("kept[print] = 1", r"state\.kept\[function\]"),
    ("kept['a b'] = { f = print }", r"state\.kept\[\\?\"a b\\?\"\]\.f"),
    ("kept[conn] = { [true] = { [0.5] = print } }", r"state\.kept\[conn\]\[true\]\[0\.5\]"),
])  # fmt: skip
def test_a_path_names_keys_of_any_kind(rules, lua, path):
    r = rules("", ONCE)
    r.client().say(lua)
    assert re.search(path + " can't be kept: a function", r.save_bad())


def test_what_data_cannot_keep_is_left_behind_and_logged_once_with_its_path(rules):
    r = rules("", ONCE)
    clients = r.clients(5)
    for client in clients:
        client.say("conn.data.hits = { 1, { on_hit = print } } conn.data.n = 1")
    since = r.host.mark()
    r.save()
    for client in clients:
        assert client.say("local d = conn.data return d.n + d.hits[1]") == 2
        assert client.say("return next(conn.data.hits[2]) == nil") is True
    path = r"conn\.data\.hits\[2\]\.on_hit can't be kept: a function"
    r.host.log_line(path, since)
    assert len(r.host.log_lines(path, since)) == 1
    assert client.generation() == 2


# conn.data ------------------------------------------------------------------------------------


def test_a_table_that_state_and_data_hold_stays_one(rules):
    r = rules("", ONCE)
    one, two = r.clients(2)
    one.say("kept.t = {} conn.data.t = kept.t conn.data.only = {} kept.one = conn")
    two.say("conn.data.t = kept.t conn.data.only = kept.one.data.only")
    two.say("kept.whole = conn.data")
    r.save()
    one.say("kept.t.n = 1")
    assert one.say("return conn.data.t == kept.t and conn.data.t.n == 1") is True
    assert two.say("return conn.data.t == kept.t and conn.data == kept.whole") is True
    assert two.say("return conn.data.only == kept.one.data.only") is True


def test_data_that_is_the_state_itself_stays_it(rules):
    r = rules("", ONCE)
    client = r.client()
    client.say("conn.data = kept")
    r.save()
    assert client.say("conn.data.n = 1 return kept.n == 1 and kept == conn.data") is True


def test_data_comes_over_when_another_connection_looks_at_it(rules):
    r = rules("", ONCE)
    one, two = r.clients(2)
    two.say("conn.data.name = 'two' kept.two = conn")
    r.save("function script.start() kept.at_start = kept.two.data.name end")
    assert one.say("return kept.at_start .. kept.two.data.name") == "twotwo"


def test_data_of_one_who_says_nothing_is_there_when_it_leaves_generations_later(rules):
    closes = "function script.close(conn) kept.bye = conn.data.name end"
    r = rules(closes, ONCE)
    client, quiet = r.clients(2)
    quiet.say("conn.data.name = 'quiet'")
    for _ in range(4):
        r.save(closes)
    quiet.close()
    assert eventually(lambda: client.say("return kept.bye"), "close") == "quiet"


# Versions -------------------------------------------------------------------------------------

VERSION_2 = """
script.version = 2
script.migrate = {
  kept = function(old, from) return { total = old.count, from = from, old = old } end,
  conn = function(data, from) return { upper = data.name:upper(), from = from } end,
}
"""


def test_migrate_gets_the_state_and_its_version_and_gives_the_new_one(rules):
    r = rules("", ONCE)
    client = r.client()
    client.say("kept.count = 5")
    r.save(VERSION_2)
    assert client.say("return kept.total == 5 and kept.from == 1 and kept.count == nil") is True
    r.save(VERSION_2)
    assert client.say("return kept.total == 5 and kept.from == 1") is True, "migrated twice"


def test_migrate_may_change_the_state_in_its_place(rules):
    r = rules("", ONCE)
    client = r.client()
    client.say("kept.count, kept.me = 5, kept")
    r.save(
        "script.version = 2 script.migrate = { kept = function(old) old.more = 1 return old end }"
    )
    assert client.say("return kept.count + kept.more == 6 and kept.me == kept") is True


def test_defaults_fill_what_migrate_left_out_before_it_runs_or_not_at_all(rules):
    head = HEAD.replace("{})", "{ fresh = 'default' })", 1)
    r = rules("", ONCE)
    client = r.client()
    r.save(VERSION_2.replace("old = old", "fresh = old.fresh"), head=head)
    assert client.say("return kept.fresh") == "default"


def test_a_state_of_which_migrate_says_nothing_stays_as_it_is(rules):
    r = rules("", ONCE)
    client = r.client()
    client.say("kept.count = 5")
    r.save("script.version = 2")
    assert client.say("return kept.count") == 5


def test_what_was_parked_is_migrated_from_the_version_that_it_has(rules):
    r = rules(MORE + "function script.start() more.n = 5 end", ONCE)
    client = r.client()
    r.save("script.version = 2")
    r.save(
        MORE
        + """script.version = 2 script.migrate = { more = function(old, from)
        return { n = old.n * 10, from = from } end }
        function script.start(from) kept.n, kept.from, kept.before = more.n, more.from, from end"""
    )
    assert client.say("return kept.n") == 50
    assert client.say("return kept.from") == 1
    assert client.say("return kept.before") == 2


def test_migrate_conn_gets_the_data_of_each_and_its_version(rules):
    r = rules("", ONCE)
    one, two = r.clients(2)
    one.say("kept.count, conn.data.name = 5, 'ann'")
    two.say("conn.data.name = 'bob' kept.two = conn")
    r.save(VERSION_2.replace("old = old", "two = old.two"))
    assert one.say("return conn.data.upper .. conn.data.from .. kept.two.data.upper") == "ANN1BOB"
    assert two.say("return conn.data.upper") == "BOB"


@pytest.mark.parametrize("bad,why", [
    ("error 'no'", "no"),
    ("return 5", "migrate.conn must return a table"),
    ("return nil", "migrate.conn must return a table"),
    ("while true do end", "stopped"),
])  # fmt: skip
def test_a_migrate_conn_that_fails_leaves_the_data_empty_and_is_logged(rules, bad, why):
    r = rules("", ONCE)
    client = r.client()
    client.say("conn.data.name = 'ann'")
    since = r.host.mark()
    r.save(f"script.version = 2 script.migrate = {{ conn = function(data) {bad} end }}")
    assert client.say("return next(conn.data) == nil") is True
    r.host.log_line(why, since)
    assert client.say("conn.data.n = 1 return conn.data.n") == 1


@pytest.mark.parametrize("bad,why", [
    ("error 'not like this'", "not like this"),
    ("old.count = 9 error 'half done'", "half done"),
    ("return 5", r"migrate\.kept must return the new state, a table, not a number"),
    ("ws.sleep(1)", "not while loading"),
    ("while true do end", "stopped"),
])  # fmt: skip
def test_a_migrate_that_fails_leaves_the_old_generation_untouched(rules, bad, why):
    r = rules("", ONCE)
    client = r.client()
    client.say("kept.count, kept.t, conn.data.t = 5, {}, kept.t conn.data.t = kept.t")
    said = r.save_bad(f"script.version = 2 script.migrate = {{ kept = function(old) {bad} end }}")
    assert re.search(why, said)
    assert client.generation() == 1
    assert client.say("return kept.count == 5 and conn.data.t == kept.t") is True


# A fresh Lua state ----------------------------------------------------------------------------


def test_nothing_that_is_not_declared_survives(rules):
    r = rules("""
        local n = 0
        function string.shout(s) return s:upper() end
        _G.left = true
        function script.start()
          n, kept.fn_was_there = 1, string.shout ~= nil
        end""", ONCE)  # fmt: skip
    client = r.client()
    assert client.say("return kept.fn_was_there and left") is True
    r.save("function script.start(from) kept.from = from end")
    assert client.say("return string.shout == nil and rawget(_G, 'left') == nil") is True
    assert client.say("return kept.from") == 1


def test_a_limiter_starts_full_in_each_generation(rules):
    limits = """local limiter = ws.limiter { rate = 1, per = 3600, burst = 1 }
        script.timers = {} function script.request() return 200, tostring(limiter:allow 'a') end"""
    r = rules(limits, ONCE)
    assert [r.host.get("/rules").text for _ in range(2)] == ["true", "false"]
    r.save(limits)
    assert [r.host.get("/rules").text for _ in range(2)] == ["true", "false"]
