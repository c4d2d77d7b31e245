"""The command line: what is said, with which exit code, and how a host ends."""

import ctypes
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from conftest import program
from support.host import START_S
from wire import CLOSE, Client, close_frame, frame, upgrade_head

ECHO = "return { message = function(conn, text) conn:send(text) end }"
SLEEPS = """
local ws = require "ws"
return {
  message = function(conn) conn:send("begun"); ws.sleep(30); conn:send("done") end,
  close = function() print("closed") end,
}
"""


def test_version_and_help_go_to_stdout(run):
    status, out, err = run("--version")
    assert (status, err) == (0, "") and out.startswith("perigee ")
    for args in (["--help"], ["serve", "--help"]):
        status, out, err = run(*args)
        assert (status, err) == (0, "") and out.startswith("usage: perigee ")


def test_the_help_of_serve_lists_every_limit_with_its_default(run):
    _, out, _ = run("serve", "--help")
    assert "message_bytes" in out and "1 MiB" in out and "drain_stop_s" in out


def test_wrong_usage_is_one_line_and_2(run):
    for args in (["dance"], ["serve", "--loud"], ["serve", "--port"], ["serve", "--port", "x"],
                 ["serve", "--port", "65536"], ["serve", "a", "b"]):  # fmt: skip
        status, out, err = run(*args)
        assert (status, out) == (2, "") and err.count("\n") == 1, (args, err)


def test_routes_are_listed_behind_the_address(serve):
    host = serve({"echo.lua": ECHO, "chat/index.lua": ECHO, "bad.lua": "return {"})
    host.wait(lambda: len(host.out) == 4)
    assert host.out[0] == f"listening on http://localhost:{host.port}"
    routes = {line.split()[0]: line.split()[1:] for line in host.out[1:]}
    assert routes["/echo"] == ["echo.lua"] and routes["/chat"] == ["chat/index.lua"]
    assert routes["/bad"][0] == "bad.lua" and "503:" in routes["/bad"]


def test_localhost_is_both_loopback_addresses(serve):
    host = serve({"echo.lua": ECHO})
    for address in ("127.0.0.1", "::1"):
        with Client(host.port, address=address) as client:
            assert client.upgrade("/echo").status == 101


def test_a_host_of_ones_own(serve):
    host = serve({"echo.lua": ECHO}, "--host", "127.0.0.1")
    assert host.out[0] == f"listening on http://127.0.0.1:{host.port}"
    with host.client("/echo") as client:
        client.text("x")
        assert client.hear_text() == "x"


def test_an_ipv6_host_is_printed_in_brackets(serve):
    host = serve({"echo.lua": ECHO}, "--host", "::1")
    assert host.out[0] == f"listening on http://[::1]:{host.port}"


def test_a_syntax_error_in_one_script_leaves_the_others(serve):
    host = serve({"bad.lua": "local x = = 1\nreturn {}", "echo.lua": ECHO})
    assert host.get("/bad").status == 503
    with Client(host.port) as client:
        assert client.upgrade("/bad").status == 503
    with host.client("/echo") as client:
        client.text("x")
        assert client.hear_text() == "x"
    host.wait(lambda: any("bad.lua" in line and "1" in line for line in list(host.log)))


def test_a_port_in_use_is_one_line_and_1(run, folder):
    where = folder({"echo.lua": ECHO})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        status, out, err = run("serve", str(where), "--port", port)
    assert (status, out) == (1, "")
    assert err.count("\n") == 1 and port in err and "in use" in err and "--port" in err


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_a_standard_descriptor_that_is_closed_is_no_sockets(folder, closed):
    """The loop's own descriptors once took its place, and heard the log; closing them aborted."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [program(), "serve", str(folder({"echo.lua": ECHO})), "--port", str(port)]
    process = subprocess.Popen(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        end = time.monotonic() + START_S
        while True:
            assert process.poll() is None and time.monotonic() < end
            try:
                client = Client(port)
                break
            except ConnectionRefusedError:
                time.sleep(0.02)
        with client:
            assert client.upgrade("/echo").status == 101
            for number in range(3):
                where = Path(f"/proc/{process.pid}/fd/{number}").readlink()
                assert where == Path("/dev/null"), (number, where)
            client.text("x")
            assert client.hear_text() == "x"
        process.send_signal(signal.SIGTERM)
        assert process.wait(START_S) == 0
    finally:
        process.kill()
        process.wait()


def who_has_sockets(pid: int) -> list[int]:
    """The threads in whose table of descriptors there is one."""
    having = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            places = [str(fd.readlink()) for fd in (task / "fd").iterdir()]
        except (FileNotFoundError, PermissionError):
            continue  # a thread that looks at the folder comes and goes
        if any(place.startswith("socket:") for place in places):
            having.append(int(task.name))
    return having


def has_close_range() -> bool:
    """Linux before 5.9 has not, and some containers refuse it."""
    libc = ctypes.CDLL(None)
    none = ctypes.c_uint(0xFFFFFFFF)
    return hasattr(libc, "close_range") and libc.close_range(none, none, 0) == 0


@pytest.mark.skipif(not has_close_range(), reason="no close_range: threads share descriptors")
def test_the_loop_alone_has_sockets(serve):
    """Where two threads have them, the kernel counts who uses one, at each call."""
    host = serve({"echo.lua": ECHO})
    pid = host.process.pid
    with Client(host.port) as client:
        assert client.upgrade("/echo").status == 101
        end = time.monotonic() + START_S
        while (having := who_has_sockets(pid)) != [pid] and time.monotonic() < end:
            time.sleep(0.02)
        assert having == [pid]


def test_a_missing_folder_is_one_line_and_1(run, tmp_path):
    status, _, err = run("serve", str(tmp_path / "nowhere"))
    assert status == 1 and err.count("\n") == 1 and "nowhere" in err


def test_a_file_is_no_folder(run, folder):
    status, _, err = run("serve", str(folder({"a.lua": ECHO}) / "a.lua"))
    assert status == 1 and err.count("\n") == 1 and "a.lua" in err


def test_an_unknown_host_is_one_line_and_1(run, folder):
    status, _, err = run("serve", str(folder({})), "--host", "999.1.1.1", "--port", "0")
    assert status == 1 and err.count("\n") == 1 and "999.1.1.1" in err


def test_an_unknown_limit_suggests_the_nearest(run, folder):
    status, _, err = run("serve", str(folder({})), "--limit", "mesage_bytes=5")
    assert status == 2 and err.count("\n") == 1 and "message_bytes" in err


def test_a_limit_needs_a_value_that_fits(run, folder):
    for limit in ("message_bytes=much", "message_bytes", "message_bytes=0"):
        status, _, err = run("serve", str(folder({})), "--limit", limit)
        assert status == 2 and err.count("\n") == 1, err


def test_an_unknown_limit_in_perigee_lua_is_1(run, folder):
    where = folder({"perigee.lua": "return { limits = { mesage_bytes = 5 } }"})
    status, _, err = run("serve", str(where), "--port", "0")
    assert status == 1 and "message_bytes" in err, err


def test_two_scripts_on_one_route_are_both_named(run, folder):
    where = folder({"a.lua": "return { route = '/x' }", "b.lua": "return { route = '/x' }"})
    status, out, err = run("serve", str(where), "--port", "0")
    assert (status, out) == (1, "") and "a.lua" in err and "b.lua" in err


def test_flags_win_over_perigee_lua_and_that_over_defaults(serve):
    files = {"echo.lua": ECHO, "perigee.lua": "return { limits = { message_bytes = 10 } }"}
    host = serve(files)
    with host.client("/echo") as client:
        client.text("x" * 11)
        assert client.hear_close()[0] == 1009
    host = serve(files, "--limit", "message_bytes=11")
    with host.client("/echo") as client:
        client.text("x" * 11)
        assert client.hear_text() == "x" * 11


def end_of(host, number=signal.SIGTERM) -> float:
    begun = time.monotonic()
    host.signal(number)
    assert host.end() == 0
    return time.monotonic() - begun


def test_without_connections_it_ends_at_once(serve):
    for number in (signal.SIGTERM, signal.SIGINT):
        host = serve({"echo.lua": ECHO})
        with host.wire():  # idle, before any request
            assert end_of(host, number) < 5


def test_live_connections_get_1001_and_few_get_it_at_once(serve):
    files = {"echo.lua": ECHO.replace("return {", "return { close = function(_, code)"
                                                  ' print("closed " .. code) end,')}  # fmt: skip
    host = serve(files, "--limit", "close_s=60")
    clients = [host.client("/echo") for _ in range(50)]
    host.signal()
    for client in clients:
        assert client.hear_close()[0] == 1001
        client.send(close_frame(1001))
        assert client.rest() == b""
    assert host.end() == 0
    assert host.count("closed 1001") == 50


def test_a_peer_that_ignores_1001_is_gone_after_close_s(serve):
    host = serve({"echo.lua": ECHO}, "--limit", "close_s=0.3")
    with host.client("/echo") as client:
        host.signal()
        assert client.hear_close()[0] == 1001
        assert host.end() == 0


def test_while_it_drains_new_requests_get_503(serve):
    host = serve({"sleeps.lua": SLEEPS, "echo.lua": ECHO, "public/a.txt": "a"})
    with host.client("/sleeps") as client:
        client.text("x")
        assert client.hear_text() == "begun"
        host.signal()
        assert client.hear_close()[0] == 1001
        with Client(host.port) as late:
            answer = late.upgrade("/echo")
            assert answer.status == 503 and answer["retry-after"]
        assert host.get("/a.txt").status == 503


def test_who_connects_while_it_drains_may_take_a_moment_to_ask(serve):
    """It was closed without a word when its request came later than a tick of the drain."""
    host = serve({"sleeps.lua": SLEEPS})
    with host.client("/sleeps") as client, host.wire() as idle:
        client.text("x")
        assert client.hear_text() == "begun"
        assert idle.request("/").status == 404
        time.sleep(0.05)  # later by the host's clock, too
        host.signal()
        assert idle.rest() == b""
        with Client(host.port) as late:
            time.sleep(0.3)
            assert late.upgrade("/sleeps").status == 503


def test_a_waiting_handler_is_cut_at_drain_stop_s(serve):
    host = serve({"sleeps.lua": SLEEPS}, "--limit", "drain_stop_s=0.5")
    with host.client("/sleeps") as client:
        client.text("x")
        assert client.hear_text() == "begun"
        assert end_of(host) < 10
    assert host.count('"closed"') == 1, host.text()


def test_a_second_signal_ends_it_at_once(serve):
    host = serve({"sleeps.lua": SLEEPS})
    with host.client("/sleeps") as client:
        client.text("x")
        assert client.hear_text() == "begun"
        host.signal()
        host.wait_log("SIGTERM: stopping")
        assert end_of(host) < 10


def test_drain_is_spread_over_drain_s(serve):
    host = serve({"echo.lua": ECHO}, "--limit", "drain_s=5")
    clients = [host.client("/echo") for _ in range(300)]
    host.signal()
    told = []
    for client in clients:
        assert client.hear()[0] == CLOSE
        client.send(close_frame(1001))
        told.append(time.monotonic())
    assert host.end() == 0
    assert told[-1] - told[0] > 0.1


def test_a_frame_behind_the_handshake_is_not_lost_when_it_drains(serve):
    host = serve({"echo.lua": ECHO})
    with Client(host.port) as client:
        client.send(upgrade_head("/echo"), frame(1, "x"))
        assert client.answer().status == 101
        assert client.hear_text() == "x"
        host.signal()
        assert client.hear_close()[0] == 1001
