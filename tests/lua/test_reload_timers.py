"""Timers over a reload: named ones stay with their beat, data and id; functions end."""

import re

import pytest

from serving import eventually

ONCE = "--limit=probation_s=0"
COUNTS = """
script.timers = {
  beat = function(data) kept.beats = (kept.beats or 0) + 1 kept.by = ws.script.generation
    kept.data = data end,
  other = function() kept.others = (kept.others or 0) + 1 end,
}
"""


def test_a_named_timer_fires_once_with_its_data_in_the_generation_that_serves_then(rules):
    r = rules(COUNTS, ONCE)
    client = r.client()
    client.say("ws.after(5, 'beat', { n = { 1 << 62 }, who = conn })")
    r.save(COUNTS)
    r.save(COUNTS)
    eventually(lambda: client.say("return kept.beats"), "the timer")
    r.save(COUNTS)
    client.say("ws.sleep(0.3)")
    assert client.say("return kept.beats == 1 and kept.by == 3") is True
    assert client.say("return kept.data.n[1] == 1 << 62 and kept.data.who == conn") is True


def test_functions_end_and_the_log_says_how_many(rules):
    r = rules(COUNTS, ONCE)
    client = r.client()
    client.say("""kept.n = 0 for i = 1, 3 do ws.every(0.02, function() kept.n = kept.n + 1 end) end
        ws.after(60, function() end) ws.every(60, 'beat') ws.after(60, 'other')""")
    assert "loaded, 2 timers kept, 4 timers ended that were functions" in r.save(COUNTS)
    n = client.say("return kept.n")
    client.say("ws.sleep(0.2)")
    assert client.say("return kept.n") == n
    assert 'msg="loaded, 2 timers kept"' in r.save(COUNTS)


def test_a_function_that_runs_just_now_has_not_ended_by_the_reload(rules):
    r = rules(COUNTS, ONCE, "--limit=reload_wait_s=60")
    client = r.client()
    client.say("ws.after(0, function() conn:send 'runs' wait_for 'go' conn:send 'ran' end)")
    assert client.receive() == "runs"
    assert 'msg="loaded"' in r.save(COUNTS)
    r.let_go()
    assert client.receive() == "ran"


def test_a_name_that_is_gone_ends_and_the_log_says_how_many(rules):
    r = rules(COUNTS, ONCE)
    client = r.client()
    client.say("kept.id = ws.after(60, 'beat') ws.every(60, 'other')")
    said = r.save("script.timers = { other = function() end }")
    assert "loaded, 1 timers kept, 1 timers ended whose names are gone" in said
    assert client.say("return ws.cancel(kept.id)") is None


@pytest.mark.parametrize("begin", [
    "ws.after(60, 'beat')",
    "ws.every(60, 'beat')",
    "ws.every(60, 'beat', nil, 'key')",
    "ws.every(60, 'beat', nil, 7)",
    "ws.every(60, 'beat', nil, conn)",
])  # fmt: skip
def test_an_id_that_was_kept_in_state_stays_valid(rules, begin):
    r = rules(COUNTS, ONCE)
    client = r.client()
    client.say(f"kept.id = {begin}")
    r.save(COUNTS)
    r.save(COUNTS)
    if "every" in begin:
        assert client.say(f"return {begin} == kept.id") is True
    assert client.say("return ws.cancel(kept.id)") is True
    assert client.say("return ws.cancel(kept.id)") is None
    assert 'msg="loaded"' in r.save(COUNTS)  # none is left


def test_ids_of_another_generation_are_not_given_again(rules):
    r = rules(COUNTS, ONCE)
    client = r.client()
    client.say("kept.ids = {} for i = 1, 20 do kept.ids[i] = ws.after(60, 'beat') end")
    r.save(COUNTS)
    assert client.say("""local seen = {} for _, id in ipairs(kept.ids) do seen[id] = true end
        for i = 1, 20 do local id = ws.after(60, 'beat') assert(not seen[id]) seen[id] = true end
        return true""") is True  # fmt: skip


def test_a_beat_is_neither_lost_nor_doubled_by_reloads_between(rules):
    counts = """script.timers = { beat = function()
        kept.at = kept.at or {} kept.at[#kept.at + 1] = ws.monotonic() end }
        """
    r = rules(counts, ONCE)
    client = r.client()
    client.say("kept.begun = ws.monotonic() ws.every(0.25, 'beat')")
    for _ in range(12):
        r.save(counts)
    eventually(lambda: client.say("return kept.at and #kept.at >= 4"), "beats")
    # In step with the first: a beat may be late on a busy machine, but never early, and each has a
    # place of its own in time.
    assert client.say("""local last = 0 for i, at in ipairs(kept.at) do
        local place = (at - kept.begun) // 0.25
        assert(place > last, ('beat %d at place %d after %d'):format(i, place, last))
        last = place end return true""") is True  # fmt: skip


def test_every_at_the_top_with_the_same_period_keeps_its_beat_and_takes_the_new_data(rules):
    top = "local id = ws.every({}, 'beat', {{ n = {} }})"
    r = rules(COUNTS + top.format(1, 1), ONCE)
    client = r.client()
    for n in range(2, 8):
        assert "loaded, 1 timers kept" in r.save(COUNTS + top.format(1, n))
    eventually(lambda: client.say("return kept.data and kept.data.n == 7"), "the new data")
    assert "loaded, 1 timers kept" in r.save(COUNTS)  # it was one


def test_every_with_another_period_starts_anew(rules):
    r = rules(COUNTS + "ws.every(3600, 'beat')", ONCE)
    client = r.client()
    r.save(COUNTS + "ws.every(0.05, 'beat')")
    eventually(lambda: client.say("return (kept.beats or 0) > 1"), "beats of the new period")
    r.save(COUNTS + "function script.start() ws.every(3600, 'beat') end")
    beats = client.say("return kept.beats")
    client.say("ws.sleep(0.3)")
    assert client.say("return kept.beats") == beats
    assert "loaded, 1 timers kept" in r.save(COUNTS)


def test_after_at_the_top_always_adds_one(rules):
    r = rules(COUNTS + "ws.after(3600, 'beat')", ONCE)
    assert "loaded, 1 timers kept" in r.save(COUNTS + "ws.after(3600, 'beat')")
    assert "loaded, 2 timers kept" in r.save(COUNTS)


def test_data_that_state_holds_too_stays_one(rules):
    beat = """script.timers = { beat = function(data)
        kept.data = kept.data or data data.n = data.n + 1 end }"""
    r = rules(beat, ONCE)
    client = r.client()
    client.say("ws.every(0.02, 'beat', { n = 0 })")
    eventually(lambda: client.say("return kept.data"), "a beat")
    r.save(beat)
    n = client.say("return kept.data.n")
    eventually(lambda: client.say("return kept.data.n") > n, "the beat's own table to count on")


# A beat whose handler waits ------------------------------------------------------------------

WAITS = """
script.timers = { beat = function()
  kept.beats = (kept.beats or 0) + 1
  ws.all:broadcast("beat " .. ws.script.generation)
  if kept.beats == 1 then wait_for 'go' ws.all:broadcast "done" end
end }
"""


@pytest.fixture
def waits(rules):
    """A beat that waits in generation 1 while 2 serves, and its client."""
    r = rules(WAITS, ONCE, "--limit=reload_wait_s=60")
    client = r.client()
    client.say("kept.id = ws.every(0.05, 'beat')")
    assert client.receive() == "beat 1"
    r.save(WAITS)
    return r, client


def test_a_beat_that_still_waits_in_the_old_generation_is_not_overlapped(waits):
    r, client = waits
    client.say("ws.sleep(0.3)")
    assert client.say("return kept.beats") == 1
    r.let_go()
    assert client.receive() == "done"
    assert client.receive() == "beat 2"
    r.host.log_line("a timer skipped beats")


def test_a_beat_that_waits_in_the_old_generation_can_be_cancelled_in_the_new(waits):
    r, client = waits
    assert client.say("return ws.cancel(kept.id)") is True
    r.let_go()
    assert client.receive() == "done"
    client.say("ws.sleep(0.2)")
    assert client.say("return kept.beats == 1 and ws.cancel(kept.id) == nil") is True
    assert 'msg="loaded"' in r.save(WAITS)


def test_a_beat_that_waits_in_the_old_generation_can_be_cancelled_and_begun_anew(waits):
    r, client = waits
    client.say("ws.cancel(kept.id) assert(ws.every(0.05, 'beat') == kept.id)")
    client.say("for i = 1, 200 do local t = {} for j = 1, 1000 do t[j] = {} end end")  # collects
    r.let_go()
    assert client.receive() == "done"
    assert client.receive() == "beat 2"
    assert re.search("loaded, 1 timers kept", r.save(WAITS))
