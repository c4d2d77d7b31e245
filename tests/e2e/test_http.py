"""Plain HTTP: files, `request` handlers, what each path and method gets, and what clients that
misbehave get."""

import os
import time

import pytest

from wire import TEXT, frame, head, upgrade_head

PAGE = "<!doctype html><title>here</title>"
ANSWERS = """
local ws = require "ws"
return {
  route = { "/api", "/api/:what" },
  request = function(req)
    local what = req.params.what
    if what == "table" then return 201, { n = 1 }, { ["X-Seen"] = { "a", "b" } } end
    if what == "nothing" then return end
    if what == "none" then return 204 end
    if what == "raises" then error("secret") end
    if what == "slow" then ws.sleep(0.3) return 200, "slow" end
    if what == "never" then ws.sleep(30) print("ran on") return 200 end
    if what == "big" then return 200, string.rep("x", 3000000) end
    return 200, req.method .. " " .. req.path .. " " .. (req.body or "")
  end,
}
"""
ECHO = "return { message = function(conn, text) conn:send(text) end }"


@pytest.fixture
def site(serve):
    """A host with some of everything."""

    def start(*flags):
        return serve(
            {
                "api.lua": ANSWERS,
                "echo.lua": ECHO,
                "both.lua": ECHO,
                "secret.txt": "secret",
                "public/index.html": PAGE,
                "public/both": "a file",
                "public/app.js": "1",
                "public/logo.svg": "<svg/>",
                "public/data.bin": bytes(range(256)),
                "public/a b.txt": "spaced",
                "public/.env": "secret",
                "public/sub/index.html": "sub",
                "public/sub/.git/config": "secret",
                "public/empty/.keep": "",
                "public/nothing.css": "",
            },
            *flags,
        )

    return start


# Files.


def test_a_file_comes_whole_with_its_type(site):
    host = site()
    for path, content_type, body in [
        ("/", "text/html; charset=utf-8", PAGE.encode()),
        ("/index.html", "text/html; charset=utf-8", PAGE.encode()),
        ("/app.js", "text/javascript; charset=utf-8", b"1"),
        ("/logo.svg", "image/svg+xml", b"<svg/>"),
        ("/data.bin", "application/octet-stream", bytes(range(256))),
        ("/a%20b.txt", "text/plain; charset=utf-8", b"spaced"),
        ("/app.js?v=2", "text/javascript; charset=utf-8", b"1"),
        ("/sub/", "text/html; charset=utf-8", b"sub"),
        ("/nothing.css", "text/css; charset=utf-8", b""),
    ]:
        answer = host.get(path)
        assert (answer.status, answer.body) == (200, body), path
        assert answer["content-type"] == content_type
        assert answer["x-content-type-options"] == "nosniff"


def test_a_folder_without_its_slash_is_redirected_so_that_its_links_work(site):
    answer = site().get("/sub?x=1")
    assert (answer.status, answer["location"]) == (301, "/sub/?x=1")


def test_head_is_get_without_the_body(site):
    host = site()
    with host.wire() as wire:
        answer = wire.request("/", "HEAD")
        assert (answer.status, answer["content-length"]) == (200, str(len(PAGE)))
        assert wire.request("/app.js").body == b"1"  # and nothing came in between


def test_a_file_that_has_not_changed_is_304(site):
    host = site()
    first = host.get("/app.js")
    with host.wire() as wire:
        for fields in ({"If_None_Match": first["etag"]}, {"If_None_Match": "*"},
                       {"If_None_Match": f'"x", W/{first["etag"]}'},
                       {"If_Modified_Since": first["last-modified"]}):  # fmt: skip
            wire.send(head("/app.js", **fields))
            answer = wire.answer(bodiless=True)
            assert (answer.status, answer["etag"]) == (304, first["etag"])
        assert wire.request("/app.js", If_None_Match='"x"').status == 200


def test_a_big_file_reaches_a_slow_reader_whole(serve):
    content = os.urandom(5_000_000)
    host = serve({"public/big.bin": content})
    with host.wire(receive_buffer=4096) as wire:
        wire.send(head("/big.bin"), head("/big.bin"))
        time.sleep(0.2)
        assert wire.answer().body == content
        assert wire.answer().body == content


@pytest.mark.parametrize(
    "path",
    "/../secret.txt /sub/../../secret.txt /%2e%2e/secret.txt /.%2e/secret.txt /sub/%2e%2e/app.js"
    " /.env /%2eenv /sub/.git/config /./app.js /empty/ /empty //app.js /app.js/ /app.js/x"
    " /sub//index.html /api.lua /public/app.js /nowhere/app.js /link.txt /links/secret.txt"
    " /..\\secret.txt".split(),
)
def test_no_path_leads_out_of_the_folder(site, tmp_path, path):
    host = site()
    (tmp_path / "public/link.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "public/links").symlink_to(tmp_path)
    answer = host.get(path)
    assert answer.status == 404 and b"secret" not in answer.body


@pytest.mark.parametrize("path", "/a%2Fb /..%2fsecret.txt /%00 /app.js%00.txt /%zz /%ff /%".split())
def test_a_path_that_cannot_be_decoded_is_400(site, path):
    assert site().get(path).status == 400


def test_a_pipe_among_the_files_is_no_file(site, tmp_path):
    host = site()
    os.mkfifo(tmp_path / "public/pipe")
    assert host.get("/pipe").status == 404


def test_other_methods_on_a_file_are_405(site):
    host = site()
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        answer = host.get("/app.js", method)
        assert (answer.status, answer["allow"]) == (405, "GET, HEAD")
    assert host.get("/nowhere", "POST").status == 404


def test_public_need_not_exist_at_the_start(serve, folder):
    host = serve({"echo.lua": ECHO})
    assert host.get("/app.js").status == 404
    folder({"public/app.js": "1"})
    assert host.get("/app.js").body == b"1"


# Routes.


def test_a_route_that_is_a_websocket_is_426(site):
    answer = site().get("/echo")
    assert answer.status == 426
    assert (answer["upgrade"], answer["connection"]) == ("websocket", "Upgrade")


def test_a_file_comes_before_what_is_said_of_a_route(site):
    assert site().get("/both").body == b"a file"


def test_request_answers_every_method(site):
    host = site()
    assert host.get("/api").body == b"GET /api "
    with host.wire() as wire:
        assert wire.request("/api", "POST", b"body").body == b"POST /api body"
        assert wire.request("/api", "DELETE").body == b"DELETE /api "
        answer = wire.request("/api", "HEAD")
        assert (answer.status, answer["content-length"]) == (200, "10")
        wire.send(
            head("/api", "POST", Transfer_Encoding="chunked"), b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
        )
        assert wire.answer().body == b"POST /api abc"


def test_what_request_returns_is_what_is_answered(site):
    host = site()
    answer = host.get("/api/table")
    assert (answer.status, answer.body) == (201, b'{"n":1}')
    assert answer["content-type"].startswith("application/json")
    with host.wire() as wire:
        wire.send(head("/api/none"), head("/api"))
        none = wire.answer()
        assert none.status == 204 and none["content-length"] is None
        assert wire.answer().body == b"GET /api "
    raised = host.get("/api/raises")
    assert raised.status == 500 and b"secret" not in raised.body
    assert len(host.get("/api/big").body) == 3_000_000


def test_request_without_a_value_is_as_if_there_were_none(site, tmp_path):
    host = site()
    assert host.get("/api/nothing").status == 426
    (tmp_path / "public/api").mkdir()
    (tmp_path / "public/api/nothing").write_text("file")
    assert host.get("/api/nothing").body == b"file"


def test_a_waiting_request_holds_up_its_own_connection_only(site):
    host = site()
    with host.wire() as slow, host.wire() as quick:
        slow.send(head("/api/slow"), head("/api"))
        assert quick.request("/api").body == b"GET /api "
        assert slow.answer().body == b"slow"
        assert slow.answer().body == b"GET /api "


def test_a_handler_that_takes_too_long_is_504(site):
    host = site("--limit", "handler_wait_s=0.3")
    with host.wire() as wire:
        assert wire.request("/api/never").status == 504
        assert wire.request("/api").status == 200


def test_a_client_that_leaves_during_a_wait_harms_nobody(site):
    host = site()
    with host.wire() as wire:
        wire.send(head("/api/slow"))
        time.sleep(0.1)
        wire.reset()
    with host.wire() as wire:
        wire.send(head("/api/slow"))
    time.sleep(0.4)
    assert host.get("/api").status == 200


def test_half_closing_behind_a_request_still_gets_the_answer(site):
    host = site()
    for path, body in (("/app.js", b"1"), ("/api/slow", b"slow")):
        with host.wire() as wire:
            wire.send(head(path))
            wire.half_close()
            assert wire.answer().body == body
            assert wire.rest() == b""


# Connections.


def test_pipelined_requests_are_answered_in_order(site):
    host = site()
    with host.wire() as wire:
        wire.send(*(head(f"/api/{i}") for i in range(500)))
        for i in range(500):
            assert wire.answer().body == f"GET /api/{i} ".encode()


def test_what_lies_behind_the_last_request_is_dropped(site):
    host = site()
    with host.wire() as wire:
        wire.send(head("/api/slow", Connection="close") + head("/api/other") * 100)
        assert wire.answer().body == b"slow"
        wire.send(head("/api/other"))
        assert wire.rest() == b""


def test_byte_by_byte_a_request_is_the_same(site):
    host = site()
    with host.wire() as wire:
        wire.trickle(head("/api", "POST", Content_Length="3") + b"abc" + head("/app.js"))
        assert wire.answer().body == b"POST /api abc"
        assert wire.answer().body == b"1"


def test_a_connection_is_kept_or_closed_as_asked(site):
    host = site()
    with host.wire() as wire:
        assert wire.request("/app.js")["connection"] is None
        assert wire.request("/app.js", Connection="close")["connection"] == "close"
        assert wire.rest() == b""
    with host.wire() as wire:
        wire.send(head("/app.js", version="1.0"))
        assert wire.answer()["connection"] == "close"
        assert wire.rest() == b""
    with host.wire() as wire:
        wire.send(head("/app.js", version="1.0", Connection="keep-alive"))
        assert wire.answer()["connection"] == "keep-alive"
        assert wire.request("/app.js").status == 200


def test_keepalive_ends_by_number_and_by_time(site):
    with site("--limit", "keepalive_requests=2").wire() as wire:
        assert wire.request("/app.js")["connection"] is None
        assert wire.request("/app.js")["connection"] == "close"
        assert wire.rest() == b""
    with site("--limit", "keepalive_s=0.3").wire() as wire:
        assert wire.request("/app.js").status == 200
        assert wire.rest() == b""  # no 408: nothing was asked


def test_a_body_is_asked_for_when_the_client_waits_for_that(site):
    host = site()
    with host.wire() as wire:
        wire.send(head("/api", "POST", Content_Length="3", Expect="100-continue"))
        assert wire.answer().status == 100
        wire.send(b"abc")
        assert wire.answer().body == b"POST /api abc"


@pytest.mark.parametrize(
    "bytes_, status",
    [
        (b"rubbish\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # TLS
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (head("/api", "POST", Content_Length="1", Transfer_Encoding="chunked"), 400),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
        (head("/", **{f"X-{i}": "1" for i in range(101)}), 431),
        (head("/api", "POST", Content_Length="1048577"), 413),
        (b"GET / HTTP/3.7\r\nHost: a\r\n\r\n", 505),
    ],
)  # fmt: skip
def test_what_is_no_request_is_told_so_and_closed(site, bytes_, status):
    host = site()
    with host.wire() as wire:
        wire.send(bytes_)
        answer = wire.answer()
        assert (answer.status, answer["connection"]) == (status, "close")
        assert wire.rest() == b""
    assert host.get("/app.js").status == 200


def test_rubbish_that_waited_behind_a_request_is_told_so_too(site):
    host = site()
    with host.wire() as wire:
        wire.send(head("/api/slow"), b"rubbish\r\n\r\n", b"and more" * 1000)
        assert wire.answer().body == b"slow"
        assert wire.answer().status == 400
        assert wire.rest() == b""


def test_an_error_answer_survives_the_bytes_that_come_after_it(site):
    host = site()
    with host.wire() as wire:
        wire.send(head("/api", "POST", Content_Length="3000000"))
        wire.send(b"x" * 1_000_000)
        assert wire.answer().status == 413


def test_a_late_head_and_a_late_body_are_408(site):
    host = site("--limit", "head_s=0.3", "--limit", "body_s=0.3")
    for start in (b"", b"GET / HT", head("/api", "POST", Content_Length="3") + b"a"):
        with host.wire() as wire:
            wire.send(start)
            assert wire.answer().status == 408
            assert wire.rest() == b""


def test_a_reader_that_stalls_is_closed(serve):
    host = serve({"public/big.bin": b"x" * 20_000_000}, "--limit", "stall_s=0.3")
    with host.wire(receive_buffer=4096) as wire:
        wire.send(head("/big.bin"))
        host.wait_log("an answer is not taken (stall_s)")
        try:
            got = len(wire.rest())
        except ConnectionResetError:
            got = 0
        assert got < 20_000_000


def test_clients_that_vanish_at_any_point_leave_the_host_alone(site):
    host = site()
    whole = head("/api", "POST", Content_Length="5") + b"abcde"
    for n in range(0, len(whole) + 1, 3):
        for end in ("close", "half_close", "reset"):
            with host.wire() as wire:
                wire.send(whole[:n])
                if end != "close":
                    getattr(wire, end)()
    assert host.get("/app.js").status == 200


def test_over_the_limit_of_connections_is_503_and_room_again_is_room(site):
    host = site("--limit", "connections=3")
    clients = [host.client("/echo") for _ in range(3)]
    with host.wire() as wire:
        wire.send(upgrade_head("/echo"))
        answer = wire.answer()
        assert answer.status == 503 and answer["retry-after"]
        assert wire.rest() == b""
    clients.pop().socket.close()
    host.wait(lambda: host.get("/app.js").status == 200)
    clients[0].send(frame(TEXT, "x"))
    assert clients[0].hear_text() == "x"


def test_refusals_are_named_in_the_log(site):
    host = site()
    assert host.get("/", **{"X": "x" * 9000}).status == 431
    host.wait(lambda: any("status=431" in line and "127.0.0.1" in line for line in host.log))
