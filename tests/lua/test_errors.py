"""What it costs when a handler raises: never more than its own event."""

import pytest
from websockets.exceptions import InvalidStatus

from serving import eventually, frame

WAYS = """
    string number false table tostring tostring_raises tostring_number name_only fn coroutine
    newline escape null room long missing index arithmetic error_nil overflow wrapped waits in_pcall
    memory level_0 yields
""".split()


def state(host, **query):
    return host.get("/errors", **query).json()


def check_log(host, mark, handler):
    line = host.log_line(f"level=error.* handler={handler}", mark)
    assert "script=errors" in line and "generation=1" in line
    assert not host.log_lines("^level=error", mark), "a forged line"
    assert all(character.isprintable() for character in line)
    return line


@pytest.mark.parametrize("way", WAYS)
def test_message_loses_that_event(host, way):
    mark = host.mark()
    with host.connect(f"/errors/message/{way}") as client:
        client.send("raise")
        assert client.ask("next") == "next"
    line = check_log(host, mark, "message")
    assert "conn=" in line


@pytest.mark.parametrize("way", WAYS)
def test_open_ends_with_1011_and_close_runs(host, way):
    state(host, reset="yes")
    mark = host.mark()
    with host.connect(f"/errors/open/{way}") as client:
        assert client.rest() == ["before", {"closed": [1011, ""]}]
    check_log(host, mark, "open")
    eventually(lambda: state(host)["closes"], "close")
    assert state(host)["closes"] == [[way, 1011, "", 1]]
    assert state(host)["here"] == 0


@pytest.mark.parametrize("way", WAYS)
def test_close_is_logged(host, way):
    state(host, reset="yes")
    mark = host.mark()
    with host.connect(f"/errors/close/{way}") as client:
        assert client.ask("here") == "here"
        client.close(4000, "bye")
    check_log(host, mark, "close")
    assert state(host)["closes"] == [[way, 4000, "bye", 1]]
    assert state(host)["here"] == 0


@pytest.mark.parametrize("way", WAYS)
def test_upgrade_is_500(host, way):
    mark = host.mark()
    with pytest.raises(InvalidStatus) as raised:
        host.connect(f"/errors/upgrade/{way}")
    assert raised.value.response.status_code == 500
    check_log(host, mark, "upgrade")


@pytest.mark.parametrize("way", WAYS)
def test_request_is_500(host, way):
    mark = host.mark()
    assert host.get(f"/errors/request/{way}").status == 500
    check_log(host, mark, "request")


@pytest.mark.parametrize("way", WAYS)
def test_a_timer_loses_that_beat(host, way):
    mark = host.mark()
    state(host, timer=way)
    check_log(host, mark, "timer")


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("string", "errors.lua:[0-9]+: plain text"),
        ("number", "42"),
        ("tostring", "told by __tostring"),
        ("table", "table: 0x"),
        ("tostring_raises", "__tostring"),
        ("tostring_number", '["]1'),
        ("name_only", "my.type"),
        ("false", "false"),
        ("newline", r"line one\\nlevel=error msg=forged"),
        ("escape", r"\\x1B\[31mred\\x00\\xFF"),
        ("missing", "field 'no_such'"),
        ("waits", "after a wait"),
        ("memory", "errors.lua:[0-9]+|memory|large"),
        ("level_0", "no place"),
    ],
)
def test_the_log_says_what_was_raised_and_where(host, way, said):
    mark = host.mark()
    with host.connect(f"/errors/message/{way}") as client:
        client.send("raise")
        assert client.ask("next") == "next"
    host.log_line(f"msg=.*{said}", mark)
    if way not in ("memory",):
        host.log_line(r"stack traceback.*errors\.lua:\d+", mark)


def test_of_a_batch_only_the_message_that_raises_is_lost(host):
    with host.raw("/errors/message/table") as client:
        client.send(*(frame(1, text) for text in (b"1", b"raise", b"2", b"raise", b"raise", b"3")))
        assert [client.receive_text() for _ in range(3)] == ["1", "2", "3"]


def test_of_a_batch_with_a_wait_too(host):
    with host.raw("/errors/message/waits") as client:
        client.send(*(frame(1, text) for text in (b"1", b"raise", b"2", b"raise", b"3")))
        assert [client.receive_text() for _ in range(3)] == ["1", "2", "3"]


def test_on_error_close_ends_that_connection_with_1011(host):
    with host.connect("/strict") as one, host.connect("/strict") as other:
        assert one.ask("fine") == "fine"
        assert one.ask("caught") == "caught"
        one.send("raise")
        assert one.closed() == (1011, "")
        assert other.ask("still here") == "still here"
    assert [1011, ""] in host.get("/strict").json()["closes"]


def test_on_error_close_after_a_wait_too(host):
    with host.connect("/strict") as client:
        client.send("wait")
        assert client.closed() == (1011, "")


def test_on_error_close_runs_no_later_message_of_the_batch(host):
    with host.raw("/strict") as client:
        client.send(frame(1, b"1"), frame(1, b"raise"), frame(1, b"after the error"))
        assert client.receive_text() == "1"
        opcode, payload = client.receive()
        assert (opcode, payload) == (8, (1011).to_bytes(2))
    assert "after the error" not in host.get("/strict").json()["messages"]


# Memory


def memory(host):
    return host.get("/memory").json()


@pytest.mark.parametrize("order", ["string 4000000", "grow", "waits", "timers 10000"])
def test_a_script_past_its_memory_loses_the_event_and_goes_on(host, order):
    with host.connect("/memory") as client, host.connect("/memory") as other:
        mark = host.mark()
        for _ in range(3):
            client.send(order)
            assert client.ask("next") == "next"
        host.log_line("not enough memory.*handler=message", mark)
        assert other.ask("still here") == "still here"
        other.ask("cancel")
        assert memory(host)["members"] == 2


def test_out_of_memory_is_an_error_that_pcall_catches(host):
    with host.connect("/memory") as client:
        assert client.ask("grow_in_pcall") == "false not enough memory"


def test_garbage_does_not_count(host):
    with host.connect("/memory") as client:
        for _ in range(3):
            assert client.ask("churn") == "180 20001"


def test_room_names_and_infos_count(host):
    mark = host.mark()
    with host.connect("/memory") as client:
        others = [host.connect("/memory") for _ in range(30)]
        try:
            for one in others:
                one.send("rooms 120")
            # 30 times 120 rooms of 1.2 KiB are more than 3 MiB.
            host.log_line("not enough memory.*script=memory.*handler=message", mark)
            assert client.ask("next") == "next"
        finally:
            for one in others:
                one.close()
        assert client.ask("next") == "next"


def test_what_finds_a_script_full_rests_and_others_go_on(host):
    mark = host.mark()
    with host.connect("/memory") as failing, host.connect("/memory") as other:
        assert other.ask("keep 2950") == "nil"
        for _ in range(20):
            failing.send("grow")
        host.log_line("connections whose events fail", mark)
        assert other.ask("still here") == "still here"
        assert other.ask("let_go") == "nil"
        # Only now: each of the twenty was to pay for a collection or more.
        said = len(host.log_lines("not enough memory.*handler=message", mark))
        assert said < 20
        eventually(lambda: host.get("/memory").status == 200, "the end of the rest")
        failing.send("next")
        eventually(lambda: failing.receive() == "next", "its next event")


def test_request_past_its_memory_is_500(host):
    assert host.get("/memory?grow=yes").status == 500
    assert host.get("/memory").status == 200


def test_over_its_memory_new_ones_get_503_and_live_ones_stay(host):
    before = memory(host)["closes"]
    with host.connect("/memory") as freeing, host.connect("/memory") as live:
        assert freeing.ask("mark let_go") == "nil"
        with host.connect("/memory") as taking:
            assert taking.ask("mark take_all") == "nil"
        # Its close has the host's reserve too: what it keeps of that is over the cap.
        host.log_line("not enough memory.*script=memory.*handler=close")
        assert host.get("/memory").status == 503
        with pytest.raises(InvalidStatus) as raised:
            host.connect("/memory")
        assert raised.value.response.status_code == 503
        host.log_line("script_memory")
        assert live.all_until_pong() == []
        live.send("an event that may be lost")
        assert "closed" not in str(live.all_until_pong())
        freeing.close()
        eventually(lambda: host.get("/memory").status == 200, "memory again")
        live.all_until_pong()
        assert live.ask("next") == "next"
    eventually(lambda: memory(host)["closes"] == before + 3, "every close")
