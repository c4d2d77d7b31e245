"""The log as it is read: by a program, at a terminal, and by nobody."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from datetime import datetime

import pytest

from support.host import START_S, program
from wire import TEXT, Client, close_frame, frame

# Says whatever its peers say, in every way that a script has.
SAYS = """
local ws = require "ws"
return {
  upgrade = function(req) if req.query.no then return false, req.query.no end end,
  message = function(conn, text)
    if text:sub(1, 5) == "many " then
      for _ = 1, tonumber(text:sub(6)) do print "again" end
      conn:send "said"
      return
    end
    print(text)
    ws.log.warn("said", { text = text, level = "error", [text] = text })
    if text ~= "fine" then error(text) end
  end,
  close = function(_, code, reason) ws.log.info("closed", { code = code, reason = reason }) end,
}
"""

HOSTILE = [
    'x\nlevel=error msg="forged"',
    "x\r\n\x1b[2J\x1b]0;title\x07",
    "x\u2028level=error\u2029\u0085\u202eback",
    '"}\n{"level":"error","msg":"forged"}',
    '\\" \\n \x00\x7f',
]

# Control characters but the newline, and what else ends a line or turns its direction.
UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def talk(host, text: str) -> None:
    with host.client("/says") as client:
        client.text(text)
        client.send(close_frame(4000, text[:100]))
        client.rest()


def say_all_that_is_hostile(host) -> None:
    for text in HOSTILE:
        talk(host, text)
    for path in ("/\x1b[31m", "/a\u2028b\u0085", '/x\\"', "/%0alevel=error"):
        host.get(path.encode().decode("latin-1"))
    host.get("/x", Host="a\x1b[2Jb", User_Agent='"\x0b')
    host.get("/says?no=%0Alevel=error%1B%5B2J", Connection="Upgrade", Upgrade="websocket",
             Sec_WebSocket_Version="13", Sec_WebSocket_Key="MDEyMzQ1Njc4OWFiY2RlZg==")  # fmt: skip
    with host.client("/says") as client:
        client.send(frame(TEXT, b"\xff\x1b[2J"))
        client.rest()
    talk(host, "fine")
    host.wait(lambda: host.count("fine") >= 2)


def test_whatever_peers_say_a_line_is_a_line(serve):
    host = serve({"says.lua": SAYS}, "--log-level=debug")
    say_all_that_is_hostile(host)
    host.signal()
    assert host.end() == 0
    for line in host.log:
        assert re.match(r'time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=\w+ msg="', line), line
        assert not UNSEEN.search(line), ascii(line)
        # Outside of quotes there is one level.
        assert re.sub(r'"(\\.|[^"\\])*"', "", line).count(" level=") == 1, line


def test_json_is_one_object_a_line_whatever_peers_say(serve):
    host = serve({"says.lua": SAYS}, "--log-format=json", "--log-level=debug")
    say_all_that_is_hostile(host)
    host.signal()
    assert host.end() == 0

    def once(pairs):
        assert len({name for name, _ in pairs}) == len(pairs), pairs
        return dict(pairs)

    events = [json.loads(line, object_pairs_hook=once) for line in host.log]
    for event, line in zip(events, host.log, strict=True):
        assert list(event)[:3] == ["time", "level", "msg"]
        assert datetime.fromisoformat(event["time"]).utcoffset().total_seconds() == 0
        assert not UNSEEN.search(line), ascii(line)
    printed = [event["msg"] for event in events if event["level"] == "info"]
    assert [text for text in printed if text in HOSTILE] == HOSTILE  # nothing is lost
    said = [event for event in events if event["msg"] == "said"]
    assert {event["level"] for event in said} == {"warn"}
    assert {event["level_"] for event in said} == {"error"}
    raised = [event for event in events if "traceback" in event]
    assert raised and all(event["handler"] == "message" for event in raised)


def test_levels(serve):
    host = serve({"says.lua": SAYS}, "--log-level", "warn")
    talk(host, "boo")
    host.signal()
    assert host.end() == 0
    assert {re.search(r" level=(\w+)", line)[1] for line in host.log} == {"warn", "error"}


def test_a_level_or_a_format_that_is_none_is_one_line_and_2(run):
    for option in ("--log-level=loud", "--log-format=xml", "--log-level"):
        status, out, err = run("serve", option)
        assert (status, out) == (2, "") and err.count("\n") == 1 and "--log-" in err


def total(host, words: str) -> int:
    """How many events with these words the log has told of, and counted."""
    lines = [line for line in host.log if words in line]
    return sum(int(more[1]) if (more := re.search(r" more=(\d+)", line)) else 1 for line in lines)


def test_repeats_are_held_back_and_counted_within_a_second_or_two(serve):
    host = serve({"says.lua": 'return { message = function(conn) error "boom" end }'})
    with host.client("/says") as client:
        client.text(*["x"] * 1500)
        # Nothing else happens: the host says it by itself.
        host.wait(lambda: total(host, "boom") == 1500)
    held = [line for line in host.log if " more)" in line]
    assert held and len(host.log) < 500
    assert re.search(r'level=error msg=".*boom \(x [\d,]+ more\)" script=says', held[0])


def test_the_count_is_said_when_the_host_ends(serve):
    host = serve({"says.lua": SAYS})
    with host.client("/says") as client:
        client.text("many 2204")
        assert client.hear_text() == "said"
        host.signal()
        client.hear_close()
        client.send(close_frame(1001))
        client.rest()
    assert host.end() == 0
    assert total(host, '"again') == 2204
    assert host.count(" more)") > 0


def test_refusals_that_differ_in_path_only_are_repeats(serve):
    host = serve({"says.lua": SAYS}, "--log-level=debug")
    for i in range(300):
        assert host.get(f"/nowhere{i}").status == 404
    host.wait(lambda: total(host, "status=404") == 300)
    assert host.count("(x ") > 0 and host.count("path=/nowhere") < 300


def test_a_reader_who_stops_does_not_stop_the_host(folder):
    """Its stderr is a full pipe: it serves, and says later what it had to leave out."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    where = folder({"says.lua": SAYS.replace('print "again"', 'print("again " .. math.random())')})
    host = subprocess.Popen([program(), "serve", where, "--port=0"], stdout=subprocess.PIPE,
                            stderr=write, text=True)  # fmt: skip
    os.close(write)
    try:
        port = int(host.stdout.readline().rsplit(":", 1)[1])
        with Client(port) as client:
            assert client.upgrade("/says").status == 101
            for _ in range(10):
                client.text("many 2000")
                assert client.hear_text() == "said"  # would wait for ever
            log = os.fdopen(read, "rb")
            os.set_blocking(read, False)
            text = b""
            end = time.monotonic() + START_S
            while b" dropped=" not in text:
                assert time.monotonic() < end, text[-1000:]
                select.select([log], [], [], 1)
                text += log.read() or b""
        host.send_signal(signal.SIGTERM)
        os.set_blocking(read, True)
        text += log.read()
        assert host.wait(START_S) == 0
        log.close()
    finally:
        host.kill()
        host.wait()
        host.stdout.close()
    lines = text.decode().splitlines()
    assert all(line.startswith("time=") for line in lines)
    lost = sum(int(found[1]) for found in map(re.compile(r" dropped=(\d+)").search, lines) if found)
    assert lost + sum('"again ' in line for line in lines) == 20000


def test_a_reader_who_never_comes_back_does_not_keep_the_host(folder):
    read, write = os.pipe()
    where = folder({"says.lua": SAYS.replace('print "again"', 'print("again " .. math.random())')})
    host = subprocess.Popen([program(), "serve", where, "--port=0"], stdout=subprocess.PIPE,
                            stderr=write, text=True)  # fmt: skip
    os.close(write)
    try:
        with Client(int(host.stdout.readline().rsplit(":", 1)[1])) as client:
            assert client.upgrade("/says").status == 101
            client.text("many 20000")
            assert client.hear_text() == "said"
        host.send_signal(signal.SIGTERM)
        assert host.wait(START_S) == 0
    finally:
        host.kill()
        host.wait()
        host.stdout.close()
        os.close(read)


@pytest.fixture
def at_terminal(folder):
    """What a terminal shows of a host that was talked to: at_terminal({"NO_COLOR": "1"}) -> text"""

    def show(environment: dict[str, str], *args: str) -> str:
        ours, theirs = pty.openpty()
        where = folder({"says.lua": SAYS})
        host = subprocess.Popen(
            [program(), "serve", where, "--port=0", *args],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
            env={k: v for k, v in os.environ.items() if k != "NO_COLOR"} | environment,
        )
        os.close(theirs)
        text = b""
        try:
            with Client(int(host.stdout.readline().rsplit(":", 1)[1])) as client:
                assert client.upgrade("/says").status == 101
                client.text("\x1b[2Jboo\nx")
                client.send(close_frame(1000))
                client.rest()
            host.send_signal(signal.SIGTERM)
            while True:
                try:
                    more = os.read(ours, 65536)
                except OSError:  # the last one who had it open has gone
                    break
                if not more:
                    break
                text += more
            assert host.wait(START_S) == 0
        finally:
            host.kill()
            host.wait()
            host.stdout.close()
            os.close(ours)
        return text.decode().replace("\r\n", "\n")

    return show


COLOUR = re.compile(r"\x1b\[(?:0|2|36|33|1;31|0;1|0;2)m")


def check_short(text: str) -> None:
    lines = text.splitlines()
    assert re.match(r"^\d\d:\d\d:\d\d info  says: loaded$", lines[0]), text
    at = next(n for n, line in enumerate(lines) if " error says message: " in line)
    assert re.match(r"^\d\d:\d\d:\d\d error .*says\.lua:\d+: \\x1B\[2Jboo\\nx conn=\w+$", lines[at])
    below = lines.index("    stack traceback:", at)
    assert [line[:4] for line in lines[at + 1 : below]].count("    ") == 5  # of the source
    assert any(line.startswith("    > ") and "error(text)" in line for line in lines[at:below])
    assert lines[below + 1].startswith("      ")
    for line in lines:
        assert re.match(r"^\d\d:\d\d:\d\d (debug|info |warn |error) |^    ", line), text
    assert not UNSEEN.search(text), ascii(text)


def test_at_a_terminal_it_is_short_and_coloured(at_terminal):
    text = at_terminal({"TERM": "xterm"})
    assert "\x1b[1;31merror\x1b[0m" in text
    check_short(COLOUR.sub("", text))


@pytest.mark.parametrize("wish", [{"NO_COLOR": "1", "TERM": "xterm"}, {"TERM": "dumb"}])
def test_colours_are_left_out_where_that_is_asked_for(at_terminal, wish):
    check_short(at_terminal(wish))


def test_an_empty_no_color_asks_for_nothing(at_terminal):
    assert "\x1b[" in at_terminal({"NO_COLOR": "", "TERM": "xterm"})


def test_a_format_that_is_named_is_the_same_at_a_terminal(at_terminal):
    assert at_terminal({"TERM": "xterm"}, "--log-format=logfmt").startswith("time=")
    for line in at_terminal({"TERM": "xterm"}, "--log-format=json").splitlines():
        json.loads(line)
    assert "\x1b[" in at_terminal({"TERM": "xterm"}, "--log-format=short")


def test_short_without_a_terminal_has_no_colours(serve):
    host = serve({"says.lua": SAYS}, "--log-format=short")
    talk(host, "fine")
    host.wait(lambda: host.count("fine") >= 1)
    assert re.match(r"^\d\d:\d\d:\d\d info  says: loaded$", host.log[0])
    assert not UNSEEN.search(host.text())
