"""What would run for ever is stopped: its event is lost, the log says where, the host goes on."""

import re
from pathlib import Path

import pytest

from serving import Host, frame
from support.host import Process, program

FOLDER = Path(__file__).parent / "runaway"
ECHO = "return { message = function(conn, text) conn:send(text) end }\n"
NEVER = "while true do end\n"

ESCAPES = re.findall(
    r"^function escapes\.(\w+)", (FOLDER / "escapes.lua").read_text(), re.MULTILINE
)

# What the log says of those that are not just stopped, or not always.
SAID = {
    "sort_of_long_strings": "handler_stop_s|too much to compare",
    "gmatch": "pattern takes too long|handler_stop_s",
    "timer": "handler=timer.*cpu_s|handler_stop_s.*handler=timer",
}


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runaway")
    (folder / "escapes.lua").write_text((FOLDER / "escapes.lua").read_text())
    (folder / "_never.lua").write_text(NEVER)
    (folder / "echo.lua").write_text(ECHO)
    one = Host(folder)
    yield one
    one.finish()


@pytest.mark.parametrize("escape", ESCAPES)
def test_it_is_stopped_and_all_else_goes_on(host, escape):
    mark = host.mark()
    with (
        host.connect("/escapes") as one,
        host.connect("/escapes") as same,
        host.connect("/echo") as other,
    ):
        one.send(escape)
        assert other.ask("others go on") == "others go on"
        if escape == "timer":
            assert one.receive() == "it got away"
        assert one.ask("next") == "next"
        assert same.ask("the script goes on") == "the script goes on"
        assert other.ask("still") == "still"
    line = host.log_line(f"level=error.*({SAID.get(escape, 'handler_stop_s')})", mark)
    assert "script=escapes" in line
    if "handler_stop_s" in line and escape != "require":
        assert re.search(r"msg=\"\S*escapes\.lua:\d+: stopped", line), line
    assert len(host.log_lines("level=error", mark)) == 1


@pytest.mark.parametrize("query", ["spin=1", "spin=data"])
def test_an_upgrade_that_never_ends_is_500(host, query):
    mark = host.mark()
    with pytest.raises(Exception, match="500"):
        host.connect(f"/escapes?{query}")
    assert "handler=upgrade" in host.log_line("handler_stop_s", mark)
    with host.connect("/escapes") as client:
        assert client.ask("next") == "next"


def test_a_request_that_never_ends_is_500(host):
    mark = host.mark()
    assert host.get("/escapes", spin="1").status == 500
    assert "handler=request" in host.log_line("handler_stop_s", mark)
    assert host.get("/escapes").status == 200


def test_an_open_that_never_ends_is_1011(host):
    mark = host.mark()
    with host.connect("/escapes?open=1") as client:
        assert client.closed() == (1011, "")
    assert "handler=open" in host.log_line("handler_stop_s", mark)


def test_a_close_that_never_ends_is_stopped_too(host):
    mark = host.mark()
    with host.connect("/escapes?close=1") as client:
        assert client.ask("here") == "here"
    assert "handler=close" in host.log_line("handler_stop_s", mark)
    assert host.get("/escapes").status == 200


def test_one_event_of_a_batch_is_lost_and_the_others_run(host):
    with host.raw("/escapes") as client:
        client.send(*(frame(1, text) for text in (b"1", b"loop", b"2", b"pcall", b"3")))
        assert [client.receive_text() for _ in range(3)] == ["1", "2", "3"]


def test_a_file_that_never_ends_while_loading_is_not_loaded(serve):
    never = {
        "top.lua": NEVER,
        "start.lua": "return { start = function() while true do end end }",
        "fields.lua": "return setmetatable({}, { __index = function() while true do end end })",
        "module.lua": 'require "_never" return {}',
        "_never.lua": NEVER,
        "long.lua": "return " + "a and " * 170000 + "a",
        "echo.lua": ECHO,
    }
    host = serve(never, "--limit=handler_stop_s=0.1")
    with host.connect("/echo") as client:
        assert client.ask("here") == "here"
    for name in ("top", "start", "fields", "module", "long"):
        assert host.get(f"/{name}").status == 503
        host.log_line(rf"\b{name}\.lua.*handler_stop_s|handler_stop_s.*script={name}\b")
        host.log_line(f"not loaded.*script={name}")


def test_a_configuration_that_never_ends_is_an_error(folder):
    place = folder({"perigee.lua": NEVER, "echo.lua": ECHO})
    host = Process([program(), "serve", str(place), "--port=0", "--limit=handler_stop_s=0.1"])
    assert host.end() == 1
    assert "perigee.lua:1: stopped" in host.tail()
