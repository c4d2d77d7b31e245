"""Order and ends: what a connection's end is, what the script sees of it, and when."""

import pytest

from serving import eventually, frame


@pytest.fixture
def state(host):
    def get(**query):
        return host.get("/ends", **query).json()

    get(reset="yes")
    return get


def closed(state, count=1):
    """What close saw, once it has run that often."""
    eventually(lambda: len(state()["closes"]) >= count, f"{count} closes")
    closes = state()["closes"]
    assert len(closes) == count
    return closes


def test_a_connection_is_in_all_from_just_before_open(host, state):
    with host.connect("/ends?name=a") as client:
        assert client.ask("x") == "x"
        assert state()["seen"] == {"all": 1, "me": True}


def test_in_close_id_data_params_remote_and_rooms_answer(host, state):
    with host.connect("/ends/7?name=a") as client:
        assert client.ask("x") == "x"
        client.close(4000, "done")
    (seen,) = closed(state)
    assert len(seen.pop("id")) == 16
    assert seen == {
        "name": "a",
        "code": 4000,
        "reason": "done",
        "params": {"seat": "7"},
        "remote": "127.0.0.1",
        "connected": False,
        "rooms": ["ends", "ends shared (shared)"],
        "here": 0,
        "all": 0,
        "send": ["nil", "closed"],
        "join": ["nil", "closed"],
        "close": ["nil", "closed"],
    }


ENDS = [
    ("the peer's code", lambda c: c.send(frame(8, (4321).to_bytes(2) + b"why")), 4321, "why"),
    ("the peer without a code", lambda c: c.send(frame(8)), 1005, ""),
    ("fin", lambda c: c.half_close(), 1006, ""),
    ("rst", lambda c: c.reset(), 1006, ""),
    ("a reserved bit", lambda c: c.send(b"\xf1\x80\0\0\0\0"), 1002, None),
    ("no mask", lambda c: c.send(b"\x81\x01x"), 1002, None),
    ("bad UTF-8", lambda c: c.send(frame(1, b"\xff")), 1007, None),
    ("too large", lambda c: c.send(b"\x82\xff" + (1 << 40).to_bytes(8) + bytes(4)), 1009, None),
    ("the script's code", lambda c: c.send(frame(1, b"say_and_close")), 4002, "bye"),
]


@pytest.mark.parametrize(("end", "code", "reason"), [e[1:] for e in ENDS], ids=[e[0] for e in ENDS])
def test_close_runs_once_with_the_code(host, state, end, code, reason):
    with host.raw("/ends?name=a") as client:
        client.send(frame(1, b"here"))
        assert client.receive_text() == "here"
        end(client)
        (seen,) = closed(state)
        assert seen["code"] == code
        assert reason is None or seen["reason"] == reason
    closed(state)
    assert state()["all"] == 0


def test_after_the_scripts_close_what_was_sent_before_goes_out(host, state):
    with host.connect("/ends") as client:
        client.send("say_and_close")
        assert client.rest() == ["last words", {"closed": [4002, "bye"]}]


def test_no_further_message_runs_after_the_scripts_close(host, state):
    with host.raw("/ends") as client:
        client.send(frame(1, b"1"), frame(1, b"say_and_close"), frame(1, b"2"))
        assert client.receive_text() == "1"
        assert client.receive_text() == "last words"
        assert client.receive() == (8, (4002).to_bytes(2) + b"bye")
        client.send(frame(1, b"3"), frame(8, (4002).to_bytes(2)))
        assert client.rest() == []
    closed(state)
    assert state()["messages"] == ["1", "say_and_close"]


def test_close_does_not_wait_for_the_close_handshake(host, state):
    with host.raw("/ends") as client:
        client.send(frame(1, b"say_and_close"))
        (seen,) = closed(state)
        assert seen["code"] == 4002


def test_ended_by_its_own_handler(host, state):
    with host.connect("/ends?name=a") as client:
        client.send("close_and_look")
        assert client.closed() == (4003, "")
    closed(state)
    seen = state()["seen"]
    assert seen["connected"] is False
    assert seen["id"] is True
    assert (seen["rooms"], seen["in_room"], seen["all"], seen["found"]) == (0, 0, 0, False)
    assert seen["again"] == ["nil", "closed"]


@pytest.mark.parametrize("field", ["data", "params", "remote", "buffered"])
def test_after_its_end_other_fields_are_nil_until_close(host, state, field):
    with host.connect("/ends?name=a") as client:
        client.send("close_and_look")
        assert client.closed() == (4003, "")
    closed(state)
    assert state()["seen"][field] == "nil"


def test_close_inside_open(host, state):
    with host.connect("/ends?name=a&open=close") as client:
        assert client.rest() == ["hello", {"closed": [4001, "in open"]}]
    (seen,) = closed(state)
    assert (seen["code"], seen["reason"], seen["rooms"]) == (4001, "in open", ["ends"])
    assert state()["seen"] == {"all": 0, "room": 0}


def test_messages_sent_before_a_close_in_open_do_not_run(host, state):
    with host.raw("/ends?open=close", with_head=frame(1, b"early")) as client:
        assert client.receive_text() == "hello"
        assert client.receive()[0] == 8
    closed(state)
    assert state()["messages"] == []


def test_a_broadcast_that_closes_its_own_sender(host, state):
    with host.connect("/ends?name=a") as a, host.connect("/ends?name=b") as b:
        assert b.ask("x") == "x"
        a.send("broadcast_and_close")
        assert a.rest() == ["before", {"closed": [4004, ""]}]
        assert [b.receive() for _ in range(3)] == ["before", "after", "left: a"]


def test_all_of_them_closed_at_once(host, state):
    clients = [host.connect(f"/ends?name=c{i}") for i in range(5)]
    clients[2].ask("x")
    clients[2].send("close_all")
    for client in clients:
        assert client.closed() == (4005, "everybody")
        client.close()
    seen = closed(state, 5)
    assert sorted(one["name"] for one in seen) == [f"c{i}" for i in range(5)]
    assert {one["all"] for one in seen} == {0}


def test_rooms_left_while_they_are_iterated(host, state):
    clients = [host.connect(f"/ends?name=c{i}") for i in range(4)]
    clients[3].send("leave_while_iterating")
    for client in clients:
        assert client.receive() == "4 left, 0 there"
        client.close()


def test_messages_that_arrived_before_the_peers_end_still_run(host, state):
    with host.raw("/ends?name=a") as client:
        client.send(frame(1, b"1"), frame(1, b"2"), frame(8, (1000).to_bytes(2)))
        assert [client.receive() for _ in range(3)] == [
            (1, b"1"),
            (1, b"2"),
            (8, (1000).to_bytes(2)),
        ]


def test_those_left_behind_hear_it_and_see_it(host, state):
    with host.connect("/ends?name=a") as a, host.connect("/ends?name=b") as b:
        assert b.ask("x") == "x"
        a.close()
        assert b.receive() == "left: a"
        assert [one["info"] for one in state()["here"]] == ["b"]


def test_ids_are_not_used_again(host, state):
    ids = set()
    for n in range(20):
        with host.connect("/ends") as client:
            client.ask("x")
        ids |= {one["id"] for one in closed(state, n + 1)}
    assert len(ids) == 20


def test_ids_differ_over_hosts_and_restarts(serve):
    script = """
        return { open = function(conn) conn:send(conn.id) end }
    """
    seen = set()
    for _ in range(3):
        host = serve({"a.lua": script})
        with host.connect("/a") as client:
            seen.add(client.receive())
    assert len(seen) == 3


def test_the_data_of_those_who_have_gone_is_let_go(serve):
    host = serve(
        {
            "a.lua": """
                local datas = setmetatable({}, { __mode = "k" })

                local function count()
                  local n = 0
                  for _ in pairs(datas) do n = n + 1 end
                  return n
                end

                return {
                  open = function(conn) datas[conn.data] = true conn:send "open" end,
                  request = function()
                    for _ = 1, 1000 do -- garbage, so that what is let go is collected
                      local _ = { {}, {}, {}, {}, {}, {}, {}, {} }
                    end
                    return 200, { count = count() }
                  end,
                }
            """
        }
    )

    def count():
        return host.get("/a").json()["count"]

    for _ in range(20):
        with host.connect("/a") as client:
            assert client.receive() == "open"
    with host.connect("/a") as client:
        assert client.receive() == "open"
        eventually(lambda: count() == 1, "only the one who is there")
