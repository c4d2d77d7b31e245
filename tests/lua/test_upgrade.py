"""The handler `upgrade`: who may connect, and what the others are told."""

from contextlib import contextmanager

import pytest
from websockets.exceptions import InvalidStatus

from serving import eventually


@contextmanager
def refused(host, case, **query):
    """The answer to an upgrade that is none."""
    more = "".join(f"&{name}={value}" for name, value in query.items())
    with pytest.raises(InvalidStatus) as raised:
        host.connect(f"/upgrade?case={case}{more}")
    yield raised.value.response


def state(host):
    return host.get("/upgrade").json()


@pytest.mark.parametrize("case", ["nothing", "yes", "empty"])
def test_no_value_true_and_a_table_accept(host, case):
    with host.connect(f"/upgrade?case={case}") as client:
        opened = client.receive_json()
    assert opened["data"] == {}
    assert opened["query"] == case
    assert opened["all"] == 1


@pytest.mark.parametrize("case", ["none", "no"])
def test_an_explicit_nil_or_false_is_403(host, case):
    with refused(host, case) as response:
        assert response.status_code == 403


@pytest.mark.parametrize(
    ("case", "logged"),
    [("none_why", r"the reason\\nnever sent"), ("no_why", "not today"), ("no_why_table", "table")],
)
def test_its_message_is_logged_and_not_sent(host, case, logged):
    mark = host.mark()
    with refused(host, case) as response:
        assert response.status_code == 403
        assert b"reason" not in response.body and b"today" not in response.body
    line = host.log_line(logged, mark)
    assert "script=upgrade" in line and "handler=upgrade" in line
    assert "level=error" not in line


@pytest.mark.parametrize(
    "case",
    [
        *("number", "zero", "text", "fn", "conn", "raises", "raises_object", "waits_and_raises"),
        *("data_text", "data_false", "protocol_number", "bad_header", "headers_text"),
    ],
)
def test_any_other_value_and_an_error_are_500(host, case):
    mark = host.mark()
    with refused(host, case) as response:
        assert response.status_code == 500
        assert b"secret" not in response.body
        assert "x-two" not in response.headers
    line = host.log_line("level=error", mark)
    assert "script=upgrade" in line and "handler=upgrade" in line
    assert state(host)["all"] == 0


def test_data_becomes_conn_data_itself(host):
    with host.connect("/upgrade?case=data") as client:
        opened = client.receive_json()
    assert opened["same"] is True
    assert opened["data"] == {"name": "Ann", "seats": [1, 2]}


def test_protocol_is_one_that_the_client_offered(host):
    with host.connect("/upgrade?case=protocol&take=b", subprotocols=["a", "b"]) as client:
        assert client.websocket.subprotocol == "b"
        assert client.receive_json()["protocol"] == "b"


def test_without_protocol_none_is_chosen(host):
    with host.connect("/upgrade?case=empty", subprotocols=["a", "b"]) as client:
        assert client.websocket.subprotocol is None
        assert "protocol" not in client.receive_json()


def test_a_protocol_that_was_not_offered_is_500(host):
    mark = host.mark()
    with refused(host, "protocol", take="b") as response:
        assert response.status_code == 500
    with pytest.raises(InvalidStatus) as raised:
        host.connect("/upgrade?case=protocol&take=c", subprotocols=["a", "b"])
    assert raised.value.response.status_code == 500
    words = "the client did not offer the protocol"
    eventually(lambda: len(host.log_lines(words, mark)) == 2, "both are logged")


def test_headers_are_added_to_the_101(host):
    with host.connect("/upgrade?case=headers") as client:
        headers = client.websocket.response.headers
        assert headers["x-one"] == "1"
        assert headers.get_all("set-cookie") == ["a=1", "b=2"]


def test_data_protocol_and_headers_together(host):
    with host.connect("/upgrade?case=all&take=b", subprotocols=["b"]) as client:
        opened = client.receive_json()
        assert (opened["data"], opened["protocol"]) == ({"n": 1}, "b")
        assert client.websocket.response.headers["x-one"] == "1"


@pytest.mark.parametrize("status", [300, 302, 400, 401, 429, 500, 599])
def test_reject_ends_it_with_status_body_and_headers(host, status):
    mark = host.mark()
    with refused(host, "reject", status=status, body="no") as response:
        assert response.status_code == status
        assert response.body == b"no"
        assert response.headers["x-why"] == "because"
        assert response.headers["content-type"].startswith("text/plain")
    assert not host.log_lines("level=error", mark)


def test_reject_with_a_table_goes_as_json(host):
    with refused(host, "reject", status=403, json=1) as response:
        assert response.body == b'{"why":"json"}'
        assert response.headers["content-type"] == "application/json"


def test_reject_with_a_status_alone(host):
    with refused(host, "reject_bare") as response:
        assert response.status_code == 404


def test_reject_may_be_returned(host):
    with refused(host, "returned_reject") as response:
        assert (response.status_code, response.body) == (401, b"who?")


@pytest.mark.parametrize(
    ("case", "body"),
    [
        ("reject_in_pcall", b"pcall"),
        ("reject_in_xpcall", b"xpcall"),
        ("reject_in_coroutine", b"coroutine"),
        ("reject_in_wrap", b"wrap"),
        ("reject_in_close", b"close"),
        ("reject_while_closing", b"while closing"),
        ("reject_after_wait", b"after wait"),
    ],
)
def test_nothing_undoes_a_reject(host, case, body):
    mark = host.mark()
    with refused(host, case) as response:
        assert (response.status_code, response.body) == (402, body)
    assert state(host)["after"] is None
    assert not host.log_lines("level=error", mark)


def test_closing_variables_close_on_a_reject(host):
    with refused(host, "reject_while_closing"):
        pass
    assert state(host)["closed"] is True


@pytest.mark.parametrize("what", ["low", "high", "nothing", "text", "body", "header"])
def test_a_reject_that_is_none_raises_in_the_script(host, what):
    with host.connect(f"/upgrade?case=bad_reject&what={what}"):
        ok, message = state(host)["after"]
    assert not ok
    assert "upgrade.lua:" in message


def test_reject_elsewhere_raises(host):
    ok, message = state(host)["reject"]
    assert not ok and "upgrade" in message


def test_it_may_wait(host):
    with host.connect("/upgrade?case=waits") as client:
        assert client.receive_json()["data"] == {"same": True}


def test_over_handler_wait_s_it_is_504(host):
    with refused(host, "waits_too_long") as response:
        assert response.status_code == 504
    assert state(host)["all"] == 0


def test_frames_sent_before_the_101_are_handled_after_it(host):
    from serving import frame

    with host.raw("/echo", with_head=frame(1, b"early")) as client:
        assert client.receive_text() == "early"


def test_what_its_req_holds(host):
    headers = {"Cookie": "a=1", "Authorization": "Bearer token", "X-One": "1"}
    path = "/upgrade/caf%C3%A9?case=fields&x=a+b"
    with host.connect(path, additional_headers=headers) as client:
        opened = client.receive_json()
    got = opened["data"]
    assert (got["method"], got["path"], got["remote"]) == ("GET", "/upgrade/caf%C3%A9", "127.0.0.1")
    assert got["query"] == {"case": "fields", "x": "a b"}
    assert got["headers"]["x-one"] == "1"
    assert got["cookies"] == {"a": "1"}
    assert got["params"] == {"name": "café"}
    assert (got["bearer"], got["body"]) == ("token", "")
    assert opened["params"] == {"name": "café"}
    assert opened["path"] == "/upgrade/caf%C3%A9"


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        (["feed.v1", "feed.v2"], "feed.v2"),
        (["other", "feed.v1"], "feed.v1"),
        (["other"], None),
        (None, None),
    ],
)
def test_of_the_scripts_protocols_the_best_that_is_offered_is_taken(host, offered, taken):
    with host.connect("/subprotocols", subprotocols=offered) as client:
        assert client.websocket.subprotocol == taken
        assert client.receive_json().get("protocol") == taken


def test_without_upgrade_open_and_message_it_is_404(host):
    with pytest.raises(InvalidStatus) as raised:
        host.connect("/plain_only")
    assert raised.value.response.status_code == 404
    assert host.get("/plain_only").text == "only this"
