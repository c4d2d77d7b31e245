"""perigee top: one sample where nobody looks, and the screen of a terminal."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time

import pytest
from controlling import Control, command

from conftest import program
from support import host as support


def test_top_takes_one_sample_where_nobody_looks(chat, path):
    with chat.client("/chat") as client:
        asking = subprocess.Popen(
            [program(), "top", f"--control={path}", "--format=json"],
            stdout=subprocess.PIPE, text=True, env=support.environment(),
        )  # fmt: skip
        while asking.poll() is None:
            client.text("x")
            client.hear()
        sample = json.loads(asking.stdout.read())
        asking.stdout.close()
    (script,) = sample["scripts"]
    assert script["messages_s"] > 1 and script["errors_s"] == 0
    assert 0 < script["p50"] <= script["p99"]
    status, out, _ = command(path, "top", "--once")
    assert status == 0
    assert re.search(r"^script +messages/s +p50 +p99 +memory +errors", out, re.MULTILINE)
    assert re.search(r"^chat +0\.0 +\S+( ms)? +\S+( ms)? +\S+ KiB +0 +0\.0 +0$", out, re.MULTILINE)


class Screen:
    """`perigee top` at a terminal."""

    def __init__(self, path):
        self.control, inside = pty.openpty()
        self.before = termios.tcgetattr(inside)
        self.inside = inside
        self.process = subprocess.Popen(
            [program(), "top", f"--control={path}"],
            stdin=inside, stdout=inside, stderr=inside, env=support.environment(),
            start_new_session=True, preexec_fn=lambda: self.take_over(inside),
        )  # fmt: skip
        self.text = ""

    @staticmethod
    def take_over(inside):
        import fcntl

        fcntl.ioctl(inside, termios.TIOCSCTTY, 0)

    def read_until(self, words: str, times: int = 1):
        end = time.monotonic() + 30
        while self.text.count(words) < times:
            assert time.monotonic() < end, self.text
            if select.select([self.control], [], [], 0.1)[0]:
                self.text += os.read(self.control, 65536).decode()

    def end(self) -> int:
        status = self.process.wait(30)
        while select.select([self.control], [], [], 0.1)[0]:
            self.text += os.read(self.control, 65536).decode()
        assert termios.tcgetattr(self.inside) == self.before
        assert self.text.endswith("\x1b[?25h\x1b[?1049l") or "perigee: " in self.text
        os.close(self.control)
        os.close(self.inside)
        return status


@pytest.mark.parametrize("how", ["q", "\x03", signal.SIGTERM])
def test_top_is_drawn_each_second_until_it_is_ended(chat, path, how):
    screen = Screen(path)
    screen.read_until("\x1b[Hperigee ", 3)
    assert "\x1b[?1049h" in screen.text and "chat" in screen.text
    if isinstance(how, str):
        os.write(screen.control, how.encode())
    else:
        screen.process.send_signal(how)
    assert screen.end() == 0
    with Control(path) as control:
        assert control.script()["connections"] == 0


def test_top_ends_with_the_host(chat, path):
    screen = Screen(path)
    screen.read_until("\x1b[Hperigee ")
    chat.stop()
    assert screen.end() == 1
    assert screen.text.rstrip().endswith("perigee: the host is gone")
