"""The handler `request`: what it is given, and what becomes of what it returns."""

import http.client
import socket
import struct

import pytest

from serving import PATIENCE_S, eventually

PLAIN = "text/plain; charset=utf-8"


def answer(host, case, method="GET", **options):
    return host.request(method, f"/echoes?case={case}", **options)


@pytest.mark.parametrize(
    ("case", "status", "body", "content_type"),
    [
        ("text", 200, b"plain", PLAIN),
        ("json", 200, b'{"a":1}', "application/json"),
        ("empty_object", 200, b"{}", "application/json"),
        ("list", 200, b"[1,2]", "application/json"),
        ("status", 204, b"", None),
        ("typed", 200, b"<p>", "text/html"),
        ("Typed", 200, b"<p>", "text/html"),
        ("typed_json", 200, b"{}", "application/ld+json"),
        ("bytes", 200, b"\0\xff\r\n", "x/y"),
        ("large", 200, b"x" * 4096, PLAIN),
        ("not_utf8", 200, b"\xff", PLAIN),
    ],
)
def test_what_it_returns_is_the_answer(host, case, status, body, content_type):
    got = answer(host, case)
    assert (got.status, got.body) == (status, body)
    assert got.headers.get_all("content-type") == (content_type and [content_type])


def test_a_status_alone_has_no_body_of_the_script(host):
    got = answer(host, "no_body")
    assert got.status == 404
    assert got.headers["content-length"] == str(len(got.body))


def test_a_header_is_a_string_or_a_list(host):
    got = answer(host, "headers")
    assert got.headers["x-one"] == "1"
    assert got.headers.get_all("x-list") == ["a", "b"]


@pytest.mark.parametrize(
    "case",
    [
        *("cr", "lf", "nul", "lf_in_list", "lf_in_name", "no_name"),
        *("header_table", "header_bool", "headers_string"),
        *("low", "informational", "high", "word", "yes", "bad_body", "bad_json"),
        *("too_large", "too_large_json"),
        *("raises", "raises_table", "raises_nil", "waits_and_raises"),
    ],
)
def test_what_cant_be_an_answer_is_500_and_tells_nothing(host, case):
    mark = host.mark()
    got = answer(host, case)
    assert got.status == 500
    assert b"lua" not in got.body and b"secret" not in got.body
    assert got.headers["x-a"] is None
    line = host.log_line(r"level=error", mark)
    assert "script=echoes" in line and "handler=request" in line and "generation=1" in line


def test_an_error_is_logged_with_its_line_and_traceback(host):
    mark = host.mark()
    answer(host, "raises")
    line = host.log_line(r"level=error", mark)
    assert "secret of the script" in line
    assert "echoes.lua:" in line.split("msg=")[1]
    assert "stack traceback" in line and r"\n" in line


@pytest.mark.parametrize("case", ["nothing", "explicit_nil"])
def test_no_value_goes_on_as_if_there_were_no_request(host, case):
    got = answer(host, case)
    assert (got.status, got.body) == (200, b"a file\n")
    assert answer(host, case, "POST", body=b"x").status == 405
    assert host.request("GET", f"/echoes/a/b?case={case}").status == 426


def test_head_drops_the_body(host):
    got = answer(host, "text", "HEAD")
    assert (got.status, got.body) == (200, b"")
    assert got.headers["content-length"] == "5"


@pytest.mark.parametrize("method", "GET POST PUT DELETE PATCH OPTIONS".split())
def test_all_methods_reach_it(host, method):
    got = host.request(method, "/echoes", body=b"data" if method in ("POST", "PUT") else None)
    assert got.json()["method"] == method


def test_what_a_req_holds(host):
    got = host.request(
        "POST",
        "/echoes/a%20b/%C3%A9?x=1&y=a+b%21&x=2&empty=&bare",
        body=b"the body",
        headers={"X-One": "Mixed Case", "Cookie": 'a=1; b="two"; bare; a=3', "X-Empty": ""},
    ).json()
    assert got["method"] == "POST"
    assert got["path"] == "/echoes/a%20b/%C3%A9"
    assert got["query"] == {"x": "2", "y": "a b!", "empty": "", "bare": ""}
    assert got["headers"]["x-one"] == "Mixed Case"
    assert got["headers"]["x-empty"] == ""
    assert got["headers"]["content-length"] == "8"
    assert got["cookies"] == {"a": "1", "b": "two"}
    assert got["params"] == {"one": "a b", "two": "é"}
    assert got["remote"] == "127.0.0.1"
    assert got["body"] == "the body"
    assert "bearer" not in got and "no_such" not in got


def test_params_of_the_rest(host):
    assert host.get("/echoes/a/b/c").json()["params"] == {"*": "a/b/c"}
    assert host.get("/echoes").json()["params"] == {}


def test_repeated_fields_are_joined(host):
    connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=PATIENCE_S)
    connection.putrequest("GET", "/echoes")
    for name, value in (("X-Many", "a"), ("x-many", "b, c"), ("X-MANY", "d")):
        connection.putheader(name, value)
    connection.endheaders()
    headers = http.client.HTTPConnection.getresponse(connection).read().decode()
    connection.close()
    assert '"x-many":"a, b, c, d"' in headers


def test_an_empty_body_is_an_empty_string(host):
    assert host.get("/echoes").json()["body"] == ""


def test_query_bytes_need_not_be_utf8(host):
    assert host.get("/echoes?case=bytes_of&text=%FF%00%zz+").json() == [6, 255, 0, 37, 122, 122, 32]


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc.def", "abc.def"),
        ("bearer abc", "abc"),
        ("BEARER   abc", "abc"),
        ("Basic abc", None),
        ("Bearer", None),
        ("Bearerabc", None),
    ],
)
def test_bearer(host, header, token):
    got = host.request("GET", "/echoes", headers={"Authorization": header}).json()
    assert got.get("bearer") == token


def test_a_req_is_readable_until_its_handler_ends(host):
    assert answer(host, "keeps").text == "kept"
    ok, message, as_text = answer(host, "reads_kept").json()
    assert not ok and "until its handler ends" in message
    assert isinstance(as_text, str)
    ok, message = answer(host, "kept_bearer").json()
    assert not ok and "until its handler ends" in message


def test_a_req_is_the_same_after_a_wait(host):
    assert answer(host, "waits").json() == [True, "waits"]


def test_a_reqs_own_fields_cant_be_set(host):
    extra, ok, path = answer(host, "changed").json()
    assert (extra, ok, path) == ("kept while the handler runs", False, "/echoes")


def test_while_one_waits_others_are_answered(host):
    slow = http.client.HTTPConnection("127.0.0.1", host.port, timeout=PATIENCE_S)
    slow.request("GET", "/echoes?case=holds&name=slow")
    assert answer(host, "text").text == "plain"
    assert "slow" not in answer(host, "finished").json()
    assert answer(host, "releases&name=slow").status == 200
    assert slow.getresponse().read() == b"slow"
    slow.close()


def test_while_it_waits_later_requests_on_the_connection_stay_unread(host):
    with socket.create_connection(("127.0.0.1", host.port), timeout=PATIENCE_S) as client:
        for case in ("waits_long&name=first", "text"):
            client.sendall(f"GET /echoes?case={case} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        received = b""
        while not received.endswith(b"\r\n\r\nplain"):
            more = client.recv(4096)
            assert more, received
            received += more
    assert b"\r\n\r\nfirst" in received


def test_if_the_client_leaves_it_runs_to_its_end(host):
    client = socket.create_connection(("127.0.0.1", host.port), timeout=PATIENCE_S)
    client.sendall(b"GET /echoes?case=waits_long&name=left HTTP/1.1\r\nHost: a\r\n\r\n")
    answer(host, "text")
    client.close()
    eventually(lambda: "left" in answer(host, "finished").json(), "the end of the handler")


def test_over_handler_wait_s_it_is_504(host):
    assert answer(host, "waits_too_long").status == 504


def test_a_scripts_own_body_bytes(host):
    assert host.request("POST", "/echoes", body=b"x" * 1000).status == 200
    assert host.request("POST", "/echoes", body=b"x" * 1001).status == 413


def test_without_request_a_route_answers_426_and_a_file_goes_before(host):
    assert host.get("/bare").status == 426
    assert host.get("/plain.txt").text == "in public\n"
    assert host.get("/nowhere").status == 404


LATE_PARAMS = """
    local ws = require "ws"
    local go, seen, waiting = {}, {}, {}

    local function late(req)
      local name = req.query.name
      if req.query.state then
        return 200, { seen = seen, waiting = waiting }
      elseif req.query.go then
        go[req.query.go] = true
        return 200
      end
      waiting[name] = true
      while not go[name] do
        ws.sleep(0.01)
      end
      seen[name] = req.params.room
      return 200
    end

    return {
      route = "/late/:room",
      limits = { handler_wait_s = HANDLER_WAIT },
      upgrade = late,
      request = late,
      message = function() end,
    }
"""


UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.mark.parametrize("fields", ["", UPGRADE], ids=["request", "upgrade"])
@pytest.mark.parametrize("gone", ["reset", "504"])
def test_params_first_read_after_the_client_has_left(serve, fields, gone):
    """They were freed with the client's socket, or with the 504."""
    wait_s = "0.05" if gone == "504" else "60"
    host = serve({"late.lua": LATE_PARAMS.replace("HANDLER_WAIT", wait_s)})
    client = socket.create_connection(("127.0.0.1", host.port), timeout=PATIENCE_S)
    client.sendall(f"GET /late/tea?name=a HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode())
    eventually(lambda: host.get("/late/any?state=1").json()["waiting"], "the handler to wait")
    if gone == "504":
        assert client.recv(65536).startswith(b"HTTP/1.1 504 ")
    else:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    host.get("/late/any?go=a")
    eventually(lambda: host.get("/late/any?state=1").json()["seen"] == {"a": "tea"}, "its end")
