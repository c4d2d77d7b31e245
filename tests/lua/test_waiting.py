"""Handlers that wait: one connection's events stay in order, others go on, ends are noticed."""

import pytest

from serving import eventually, frame


@pytest.fixture
def state(host):
    def get(**query):
        return host.get("/waiting", **query).json()

    get(reset="yes")
    return get


def waits(state, name, connected=True):
    """True once the handler of that connection waits; False: once it also has ended."""
    eventually(lambda: state()["waiting"].get(name) == connected, f"{name} to wait")


def test_while_one_waits_its_events_queue_and_others_go_on(host, state):
    with host.connect("/waiting?name=a") as a, host.connect("/waiting?name=b") as b:
        for text in ("wait", "1", "2"):
            a.send(text)
        waits(state, "a")
        assert b.ask("b goes on") == "b goes on"
        a.send("3")
        assert b.ask("still") == "still"
        assert [note for note in state()["notes"] if note.startswith("a ")] == ["a wait", "a waits"]
        state(go="a")
        assert [a.receive() for _ in range(4)] == ["waited", "1", "2", "3"]


def test_a_batch_with_a_wait_in_it_keeps_its_order(host, state):
    with host.raw("/waiting?name=a") as client:
        client.send(*(frame(1, text) for text in (b"1", b"wait", b"2", b"3", b"wait", b"4")))
        assert client.receive_text() == "1"
        waits(state, "a")
        client.send(frame(1, b"5"))
        state(go="a")
        got = [client.receive_text() for _ in range(6)]
        assert got == ["waited", "2", "3", "waited", "4", "5"]


def test_open_may_wait_and_messages_wait_for_it(host, state):
    with host.connect("/waiting?name=a&wait=open") as client:
        client.send("early")
        eventually(lambda: "open a" in state()["notes"], "open")
        assert state()["notes"] == ["open a"]
        state(go="a")
        assert [client.receive(), client.receive()] == ["opened", "early"]
        assert state()["notes"] == ["open a", "opened /waiting", "a early"]


def test_pings_are_answered_during_a_wait(host, state):
    with host.connect("/waiting?name=a") as client:
        client.send("wait")
        waits(state, "a")
        assert client.all_until_pong() == []
        state(go="a")
        assert client.receive() == "waited"


ENDS = {
    "close": lambda client: client.send(frame(8, (4000).to_bytes(2) + b"bye")),
    "close without a code": lambda client: client.send(frame(8)),
    "fin": lambda client: client.half_close(),
    "rst": lambda client: client.reset(),
    "rubbish": lambda client: client.send(b"\xff\xff\xff\xff"),
}
CODES = {
    "close": [4000, "bye"],
    "close without a code": [1005, ""],
    "fin": [1006, ""],
    "rst": [1006, ""],
    "rubbish": [1002, "reserved bit set"],
}


@pytest.mark.parametrize("end", ENDS)
def test_an_end_during_a_wait(host, state, end):
    """It is noticed, the handler runs to its end, its sends answer closed, then close runs."""
    with host.raw("/waiting?name=a") as client:
        client.send(frame(1, b"look"))
        waits(state, "a")
        assert state()["looked"] == 1
        ENDS[end](client)
        waits(state, "a", connected=False)
        now = state()
        assert (now["looked"], now["all"]) == (0, 0)
        assert now["closes"] == []
        state(go="a")
        eventually(lambda: state()["closes"], "close")
        now = state()
        assert now["notes"] == [
            "a look",
            "connected false",
            "send nil closed",
            "join nil closed",
            "rooms 0",
            "count 0 0",
            "close a",
        ]
        assert now["closes"] == [["a", *CODES[end], "127.0.0.1", "mine"]]


def test_messages_before_the_peers_end_still_run(host, state):
    with host.raw("/waiting?name=a") as client:
        client.send(frame(1, b"wait"), frame(1, b"1"), frame(1, b"2"), frame(8, b"\x03\xe8"))
        waits(state, "a", connected=False)
        state(go="a")
        eventually(lambda: state()["closes"], "close")
    assert state()["notes"] == ["a wait", "a waits", "a goes on", "a 1", "a 2", "close a"]


@pytest.mark.parametrize("end", ["fin", "rst"])
def test_messages_before_a_lost_connection_still_run(host, state, end):
    with host.raw("/waiting?name=a") as client:
        client.send(frame(1, b"wait"), frame(1, b"1"))
        waits(state, "a")
        ENDS[end](client)
        waits(state, "a", connected=False)
        state(go="a")
        eventually(lambda: state()["closes"], "close")
    assert state()["notes"] == ["a wait", "a waits", "a goes on", "a 1", "close a"]


def test_closed_by_the_script_during_a_wait_no_further_message_runs(host, state):
    with host.raw("/waiting?name=a") as client:
        client.send(frame(1, b"wait"), frame(1, b"1"))
        waits(state, "a")
        state(close="a")
        assert state()["closes"] == []
        state(go="a")
        eventually(lambda: state()["closes"], "close")
        assert client.receive() == (8, (4001).to_bytes(2) + b"from outside")
    now = state()
    assert now["notes"] == ["a wait", "a waits", "a goes on", "close a"]
    assert now["closes"] == [["a", 4001, "from outside", "127.0.0.1"]]


def test_a_wait_that_ends_in_an_error_loses_only_that_event(host, state):
    with host.connect("/waiting?name=a") as client:
        client.send("wait_and_raise")
        client.send("next")
        state(go="a")
        assert client.receive() == "next"


def test_a_handler_may_close_after_its_wait(host, state):
    with host.connect("/waiting?name=a") as client:
        client.send("wait_and_close")
        client.send("never seen")
        state(go="a")
        assert client.closed() == (4007, "enough")
    eventually(lambda: state()["closes"], "close")
    assert state()["closes"][0][1:3] == [4007, "enough"]
    assert state()["notes"] == ["a wait_and_close", "close a"]


def test_close_may_wait(host, state):
    with host.connect("/waiting?name=slow%20close") as client:
        assert client.ask("here") == "here"
    eventually(lambda: "closing false" in state()["notes"], "close")
    assert state()["closes"] == []
    assert state()["all"] == 0
    state(go="slow close")
    eventually(lambda: state()["closes"], "the end of close")
    assert state()["closes"][0][:2] == ["slow close", 1000]


def test_many_connections_may_wait_at_once(host, state):
    clients = [host.connect(f"/waiting?name=c{i}") for i in range(30)]
    try:
        for client in clients:
            client.send("wait")
            client.send("then")
        for i in range(30):
            waits(state, f"c{i}")
        for i in reversed(range(30)):
            state(go=f"c{i}")
        for client in clients:
            assert [client.receive(), client.receive()] == ["waited", "then"]
    finally:
        for client in clients:
            client.close()


def test_a_wait_is_cut_when_the_host_stops_past_every_pcall(serve):
    host = serve(
        {
            "a.lua": """
                local ws = require "ws"
                return {
                  message = function(conn)
                    conn:send "waits"
                    for _ = 1, 3 do
                      pcall(pcall, ws.sleep, 60)
                      ws.log.info("caught by a pcall")
                    end
                  end,
                }
            """
        },
        "--limit=drain_s=0.1",
        "--limit=drain_stop_s=0.5",
    )
    with host.connect("/a") as client:
        assert client.ask("x") == "waits"
        host.finish()
    host.log_line("wait was cut.*script=a")
    assert not host.log_lines("caught by a pcall")
