"""perigee connect on a terminal: what a person sees, rendered by a terminal emulator."""

import fcntl
import os
import pty
import re
import select
import signal
import stat
import struct
import subprocess
import termios
import time

import pyte
import pytest

from conftest import check_sanitizers, program
from support.server import Server, close, hear, upgraded
from wire import CLOSE, LIMIT_S, TEXT, frame

COLUMNS, ROWS = 60, 20

# Says what it is asked to, to everybody.
SAYS = """
local ws = require "ws"
local says = {}
local texts = {
  plain = "plain text", two = "first\\nsecond", drive = "red \\27[31m\\7\\27[2J",
  json = '{"names":["one of them, quite long","another one, as long"],"n":1}',
}
function says.message(conn, text)
  if text == "bin" then
    conn:send("\\0\\1hello", "binary")
  elseif text == "bye" then
    conn:close(4001, "enough")
  elseif texts[text] then
    ws.all:broadcast(texts[text])
  else
    conn:send(text)
  end
end
return says
"""


class Terminal:
    """A pseudo-terminal with the program on it, and its screen."""

    def __init__(self, *args: str, columns=COLUMNS, **environment: str):
        self.screen = pyte.Screen(columns, ROWS)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.main, side = pty.openpty()
        self.resize(columns)
        environment = {"TERM": "xterm", "LC_ALL": "C.UTF-8", "TZ": "UTC0"} | environment
        unset = {"NO_COLOR", "XDG_STATE_HOME"}
        kept = {k: v for k, v in os.environ.items() if k not in unset}
        self.process = subprocess.Popen(
            [program(), "connect", *args],
            stdin=side,
            stdout=side,
            stderr=side,
            env=kept | environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.before = termios.tcgetattr(side)
        self.side = side

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self.main, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
        self.screen.resize(ROWS, columns)

    def read(self, limit_s: float = 0.05) -> None:
        ready, _, _ = select.select([self.main], [], [], limit_s)
        if ready:
            data = os.read(self.main, 65536)
            self.raw += data
            self.stream.feed(data)

    def type(self, text: str | bytes) -> None:
        os.write(self.main, text if isinstance(text, bytes) else text.encode())

    def lines(self) -> list[str]:
        """What stands on the screen, times left out."""
        rows = [re.sub(r"^\d\d:\d\d:\d\d ", "", row.rstrip()) for row in self.screen.display]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    def wait(self, *expected: str) -> None:
        """Until the screen ends with these lines."""
        end = time.monotonic() + 2 * LIMIT_S
        while self.lines()[-len(expected) :] != list(expected):
            assert time.monotonic() < end, "\n".join(self.screen.display)
            self.read()

    def wait_for_cursor(self, x: int, y: int) -> None:
        end = time.monotonic() + 2 * LIMIT_S
        while (at := (self.screen.cursor.x, self.screen.cursor.y)) != (x, y):
            assert time.monotonic() < end, f"the cursor is at {at}, not {x, y}"
            self.read()

    def end(self) -> int:
        end = time.monotonic() + 2 * LIMIT_S
        while self.process.poll() is None:
            assert time.monotonic() < end, "\n".join(self.screen.display)
            self.read()
        for _ in range(20):
            self.read(0.01)
        check_sanitizers("\n".join(self.lines()))
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.main)
        os.close(self.side)


@pytest.fixture
def host(serve):
    return serve({"says.lua": SAYS})


@pytest.fixture
def terminal(tmp_path):
    """terminal(ARGS.., ENVIRONMENT..) -> Terminal, gone with the test."""
    made = []

    def make(*args: str, **options) -> Terminal:
        made.append(Terminal(*args, **{"HOME": str(tmp_path)} | options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def talk(host, terminal):
    """A terminal that is connected, and what another client says there."""
    it = terminal("--no-deflate", f"{host.ws}/says")  # so that the note fits into one row
    it.wait(f"* connected to {host.ws}/says", ">")
    return it


def test_compression_is_part_of_the_note_on_opening(host, terminal):
    terms = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    url = f"{host.ws}/says"
    terminal(url, columns=150).wait(f"* connected to {url}, compressed", ">")
    told = terminal("--verbose", url, columns=150)
    told.wait(f"* connected to {url}, {terms}", ">")
    plain = terminal("--no-deflate", "--verbose", url, columns=150)
    plain.wait(f"* connected to {url}, not compressed", ">")


def test_with_echo_messages_are_shown_and_no_line_is_typed(terminal):
    heard = []

    def serve(connection, head):
        connection.sendall(upgraded(head) + frame(TEXT, "hi", mask=False))
        heard.extend(hear(connection) for _ in range(2))
        connection.sendall(close(1000))

    server = Server(serve)
    it = terminal("--echo", server.url)
    it.wait(f"* connected to {server.url}", "< hi")
    it.type("typed\r")
    it.wait("typed")  # the system's own echo
    it.type("\x03")
    assert it.end() == 0
    server.end()
    assert heard == [(TEXT, b"hi"), (CLOSE, (1000).to_bytes(2))]


def test_a_line_is_sent_and_the_answer_shown(talk):
    talk.type("hi \xe4\u20ac\r")
    talk.wait("> hi \xe4\u20ac", "< hi \xe4\u20ac", ">")
    assert re.match(r"\d\d:\d\d:\d\d > hi", talk.screen.display[1])


def test_what_comes_in_does_not_tear_the_line_that_is_typed(host, talk):
    half = "half a line that is long enough to go over the edge of this screen, as can be seen"
    other = host.client("/says")
    talk.type(half)
    talk.wait("> " + half[:58], half[58:])
    talk.type("\x1b[D" * 30)  # the cursor is on the first row now
    talk.wait_for_cursor((2 + len(half) - 30) % COLUMNS, 1)
    other.text("plain")
    talk.wait("< plain text", "> " + half[:58], half[58:])
    assert talk.lines()[1:] == ["< plain text", "> " + half[:58], half[58:]]
    talk.wait_for_cursor((2 + len(half) - 30) % COLUMNS, 2)
    talk.type("X")
    typed = half[:-30] + "X" + half[-30:]
    talk.wait("< plain text", "> " + typed[:58], typed[58:])
    other.text("two", "plain")
    talk.wait("> " + typed[:58], typed[58:])
    talk.wait("< first", " " * 11 + "second", "< plain text", "> " + typed[:58], typed[58:])
    talk.type("\r")
    sent = "> " + typed  # behind the time
    talk.wait(sent[:51], sent[51:], "< " + typed[:49], typed[49:], ">")
    assert sum("half a line" in line for line in talk.lines()) == 2


def test_wide_characters_are_counted_as_they_are_drawn(host, talk):
    half = "\u65e5\u672c" * 20  # 80 columns; none goes over the edge
    other = host.client("/says")
    talk.type(half)
    drawn = ["> " + half[:29], half[29:]]
    talk.wait(*drawn)
    other.text("plain")
    talk.wait("< plain text", *drawn)
    assert talk.lines()[1:] == ["< plain text", *drawn]


def test_json_is_laid_out_and_nothing_drives_the_terminal(talk):
    talk.type("json\r")
    inside = " " * 13
    talk.wait(
        "> json",
        "< {",
        inside + '"names": [',
        inside + '  "one of them, quite long",',
        inside + '  "another one, as long"',
        inside + "],",
        inside + '"n": 1',
        " " * 11 + "}",
        ">",
    )
    talk.type("drive\r")
    talk.wait("> drive", "< red \\x1b[31m\\x07\\x1b[2J", ">")
    talk.type("bin\r")
    row = "  0000  00 01 68 65 6c 6c 6f"
    while not any(line.startswith(row) for line in talk.lines()):
        talk.read()


def test_a_close_is_told_in_words_and_the_terminal_given_back(talk):
    talk.type("bye\r")
    assert talk.end() == 1
    assert talk.lines()[-1] == "* closed: 4001 (the application's own): enough"
    assert termios.tcgetattr(talk.side) == talk.before


@pytest.mark.parametrize("key", ["\x04", "\x03"])
def test_ctrl_d_and_ctrl_c_end(talk, key):
    talk.type("one\r")
    talk.wait("> one", "< one", ">")
    talk.type(key)
    assert talk.end() == 0
    assert talk.lines()[-1] == "< one"
    assert termios.tcgetattr(talk.side) == talk.before


def test_a_second_ctrl_c_gives_the_terminal_back(host, talk):
    with host.stopped():
        talk.type("\x03")
        while b"\x1b[J" not in talk.raw.rsplit(b">", 1)[-1]:
            talk.read()
        talk.type("\x03")
        assert talk.end() == 1
        assert termios.tcgetattr(talk.side) == talk.before


def test_ctrl_z_gives_the_terminal_back_for_a_while(talk):
    talk.type("half")
    talk.wait("> half")
    talk.type("\x1a")
    _, status = os.waitpid(talk.process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    assert termios.tcgetattr(talk.side) == talk.before
    os.kill(talk.process.pid, signal.SIGCONT)
    talk.type(" a line\r")
    talk.wait("> half a line", "< half a line", ">")


def test_the_history_is_kept_for_oneself(host, terminal, tmp_path):
    for _ in range(2):
        first = terminal(f"{host.ws}/says")
        first.wait(">")
        first.type("said before\r")
        first.wait("> said before", "< said before", ">")
        first.type(" secret\r")
        first.wait(">  secret", "<  secret", ">")
        first.type("\x04")
        assert first.end() == 0
    kept = tmp_path / ".local/state/perigee/history"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "secret" not in kept.read_text()
    again = terminal(f"{host.ws}/says")
    again.wait(">")
    again.type("\x1b[A")
    again.wait("> said before")


def test_a_history_that_cannot_be_kept_is_no_error(host, terminal, tmp_path):
    (tmp_path / "file").write_text("")
    it = terminal(f"{host.ws}/says", XDG_STATE_HOME=str(tmp_path / "file"))
    it.wait(">")
    it.type("one\r")
    it.wait("> one", "< one", ">")
    it.type("\x04")
    assert it.end() == 0


def test_a_resized_terminal_is_drawn_anew(host, talk):
    other = host.client("/says")
    talk.type("typed before")
    talk.wait("> typed before")
    talk.resize(40)
    talk.process.send_signal(signal.SIGWINCH)
    other.text("json")
    talk.wait(
        " " * 11 + "}",
        "> typed before",
    )


@pytest.mark.parametrize(
    "environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"]
)
def test_no_colour_where_none_is_wanted(host, terminal, environment):
    it = terminal("--no-deflate", f"{host.ws}/says", **environment)
    it.wait(f"* connected to {host.ws}/says", *([] if "TERM" in environment else [">"]))
    it.type("hello\r")
    while "< hello" not in it.lines():
        it.read()
    assert b"\x1b[2m" not in it.raw
    if "TERM" in environment:
        assert b"\x1b" not in it.raw


def test_colour_is_dim(talk):
    assert b"\x1b[2m" in talk.raw


def test_what_is_not_utf8_is_not_sent(talk):
    talk.type(b"\xff\xfe ok\r")
    talk.wait(">  ok", "<  ok", ">")
