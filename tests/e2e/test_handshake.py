"""The opening handshake as the host answers it. RFC 6455 section 4.2"""

import pytest

from wire import KEY, TEXT, Client, frame, upgrade_head

ECHO = """
return {
  open = function(conn) print("opened " .. (conn.protocol or "none")) end,
  message = function(conn, text) conn:send(text) end,
  close = function(conn, code) print("closed " .. code) end,
}
"""
PICKY = """
local ws = require "ws"
local go = false
local function upgrade(req)
  local how = req.query.how
  if how == "reject" then ws.reject(401, "who?", { ["WWW-Authenticate"] = "Basic" }) end
  if how == "false" then return false, "no such luck" end
  if how == "odd" then return 7 end
  if how == "raise" then error("secret") end
  if how == "wait" then ws.sleep(0.3) end
  if how == "hold" then
    print("held")
    while not go do ws.sleep(0.01) end
    print("went on")
  end
  if how == "late" then ws.sleep(30) end
  return { protocol = req.query.protocol, headers = { ["Set-Cookie"] = "a=b" }, data = { n = 5 } }
end
return {
  protocols = { "v2", "v1" },
  upgrade = upgrade,
  open = function(conn) print("opened") conn:send((conn.protocol or "-") .. conn.data.n) end,
  message = function(conn, text) conn:send(text) end,
  request = function(req) go = req.query.go ~= nil return 200 end,
}
"""


def ask(host, path="/echo", **fields):
    with Client(host.port) as client:
        return client.upgrade(path, **fields)


@pytest.fixture
def echo(serve):
    return serve({"echo.lua": ECHO, "api.lua": "return { request = function() return 200 end }"})


@pytest.fixture
def picky(serve):
    return serve({"picky.lua": PICKY})


def test_the_proof_is_the_one_of_the_rfc(echo):
    answer = ask(echo, Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==")
    assert answer.status == 101
    assert answer["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert answer["upgrade"].lower() == "websocket" and answer["connection"].lower() == "upgrade"
    assert answer["sec-websocket-protocol"] is None


def test_field_lists_and_case_do_not_matter(echo):
    answer = ask(echo, Upgrade="h2c, WebSocket", Connection="keep-alive, upgrade")
    assert answer.status == 101


@pytest.mark.parametrize(
    "fields, status",
    [
        ({"method": "POST"}, 405),
        ({"version": "1.0"}, 400),
        ({"Host": None}, 400),
        ({"Host": ""}, 400),
        ({"Upgrade": None}, 400),
        ({"Upgrade": "websockets"}, 400),
        ({"Connection": None}, 400),
        ({"Connection": "keep-alive"}, 400),
        ({"Sec_WebSocket_Version": None}, 426),
        ({"Sec_WebSocket_Version": "12"}, 426),
        ({"Sec_WebSocket_Version": "13, 8"}, 426),
        ({"Sec_WebSocket_Key": None}, 400),
        ({"Sec_WebSocket_Key": "c2hvcnQ="}, 400),
        ({"Sec_WebSocket_Key": KEY[:-1]}, 400),
        ({"Sec_WebSocket_Protocol": "v 1"}, 400),
        ({"path": "/nowhere"}, 404),
        ({"path": "/%2F"}, 400),
        ({"path": "/api"}, 404),  # no handler of a WebSocket
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_each_wrong_handshake_gets_its_own_answer_and_the_end(echo, fields, status):
    with Client(echo.port) as client:
        answer = client.upgrade(**({"path": "/echo"} | fields))
        assert answer.status == status
        assert answer["connection"] in ("close", "Upgrade")
        if status == 426:
            assert answer["sec-websocket-version"] == "13"
        if status == 405:
            assert answer["allow"] == "GET"
        assert client.rest() == b""
    assert echo.count("opened") == 0


def test_the_same_origin_may_connect_and_others_when_they_are_named(echo, serve):
    assert ask(echo, Origin="http://localhost").status == 101
    host = serve({"echo.lua": ECHO}, "--limit", "origins=https://app.example same")
    assert ask(host, Origin="https://app.example").status == 101
    assert ask(host, Origin="http://localhost").status == 101
    assert ask(host, Origin="https://app.example.evil").status == 403


def test_byte_by_byte_it_is_the_same(echo):
    with Client(echo.port) as client:
        client.trickle(upgrade_head("/echo") + frame(TEXT, "slow"))
        assert client.answer().status == 101
        assert client.hear_text() == "slow"


def test_a_frame_sent_before_the_101_is_handled_after_it(echo):
    with Client(echo.port) as client:
        client.send(upgrade_head("/echo"), *(frame(TEXT, str(i)) for i in range(100)))
        assert client.answer().status == 101
        assert [client.hear_text() for _ in range(100)] == [str(i) for i in range(100)]


def test_an_upgrade_may_follow_requests_on_the_same_connection(echo):
    with Client(echo.port) as client:
        assert client.request("/api").status == 200
        assert client.upgrade("/echo").status == 101
        client.text("x")
        assert client.hear_text() == "x"


def test_subprotocols_one_choice_the_scripts_best_or_none(picky):
    for offered, chosen in [("v1, v2", "v2"), ("v1", "v1"), ("v3", None), (None, None)]:
        with Client(picky.port) as client:
            answer = client.upgrade("/picky", Sec_WebSocket_Protocol=offered)
            assert (answer.status, answer["sec-websocket-protocol"]) == (101, chosen)
            assert client.hear_text() == (chosen or "-") + "5"


def test_upgrade_may_choose_the_protocol_and_add_fields(picky):
    answer = ask(picky, "/picky?protocol=v1", Sec_WebSocket_Protocol="v2, v1")
    assert (answer.status, answer["sec-websocket-protocol"]) == (101, "v1")
    assert answer["set-cookie"] == "a=b"


def test_a_script_sets_no_field_of_the_handshake_itself(serve):
    fields = '["Sec-WebSocket-Extensions"] = "x", ["Sec-WebSocket-Accept"] = "y", Upgrade = "z"'
    host = serve({"own.lua": f"return {{ upgrade = function() return {{ headers = {{ {fields} }} }}"
                  " end, message = print }"})  # fmt: skip
    with Client(host.port) as client:
        client.send(upgrade_head("/own"))
        while b"\r\n\r\n" not in client.buffer:
            assert client.more()
        head = client.buffer.decode().lower()
    assert "sec-websocket-extensions" not in head
    assert head.count("sec-websocket-accept:") == head.count("upgrade:") == 1
    assert "websocket-accept: y" not in head and "upgrade: z" not in head


def test_upgrade_fails_closed(picky):
    answer = ask(picky, "/picky?how=reject")
    assert (answer.status, answer["www-authenticate"], answer.body) == (401, "Basic", b"who?")
    for how, status in (("false", 403), ("odd", 500), ("raise", 500)):
        answer = ask(picky, f"/picky?how={how}")
        assert answer.status == status and b"secret" not in answer.body
    assert picky.count("opened") == 0


def test_frames_wait_while_upgrade_waits(picky):
    with Client(picky.port) as client:
        client.send(upgrade_head("/picky?how=wait"), frame(TEXT, "one"))
        client.trickle(frame(TEXT, "two"))
        assert client.answer().status == 101
        assert [client.hear_text() for _ in range(3)] == ["-5", "one", "two"]


def test_who_leaves_while_upgrade_waits_is_never_opened(picky):
    for n, end in enumerate(("half_close", "reset"), 1):
        picky.get("/picky")
        with Client(picky.port) as client:
            client.send(upgrade_head("/picky?how=hold"))
            picky.wait_log("held", times=n)
            getattr(client, end)()
        picky.get("/picky?go=1")
        picky.wait_log("went on", times=n)
    assert picky.count("opened") == 0
    assert ask(picky, "/picky").status == 101


def test_an_upgrade_that_takes_too_long_is_504(serve):
    host = serve({"picky.lua": PICKY}, "--limit", "handler_wait_s=0.3")
    assert ask(host, "/picky?how=late").status == 504
    assert host.count("opened") == 0


def test_a_script_that_is_not_loaded_is_503(serve):
    host = serve({"bad.lua": "return"})
    assert ask(host, "/bad").status == 503
