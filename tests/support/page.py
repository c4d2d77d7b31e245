"""Follows a page of the docs as a reader would: writes the files it shows, runs its commands in
order, talks where people talk, and compares what is heard with what the page says.

What counts on a page:

    ```console       `$ command` lines, each followed by what it prints; `...` stands for any lines.
                     `^C` ends the host that runs. A host goes on while the next commands run.
    ```lua  ```html  a block whose first line is a comment with a path (`-- party/chat.lua`) is that
                     file, whole; with a place (`-- party/chat.lua: above `return chat``) it is put
                     there
    ```diff          `--- PATH`, then what is changed in that file, in parts with `@@` between them:
                     each has to be there, once
    ```log           what the host's log says since a file was last saved, in this order: parts of
                     its lines
    ```talk          what people type (`Ann > text`) and see (`Bo < text`), from when they connect
                     (`Ann * connected to URL`) to the end of the host, each by `perigee connect`.
                     What they see comes in this order, and nothing else. JSON is compared as such
    ```js            is run in a browser, on the page of the host; `It logs `X`.` below it is what
                     the console must say
"""

import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from support.host import LISTENING, Failed, Process, wait_until

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PATH = re.compile(r"^(?:--|//|<!--) (\w[\w./-]*/[\w.-]+)(?:: above `(.+)`)?(?: -->)?\n")
CHANGES = re.compile(r"^--- (\S+)\n")
SAYS = re.compile(r"^(\w+) +([*><]) (.*)$")
CONNECTED = "connected to "
LOGS = re.compile(r"\s*It logs `([^`]*)`")
HOST = re.compile(r"^(make run|perigee serve)\b")
SHELL_S = 120
HEAR_S = 30
START_S = 900  # of a host that is built first


@dataclass
class Step:
    line: int
    kind: str  # "file", "diff", "run", "host", "stop", "log", "talk" or "js"
    text: str  # the file's content, the changes, the command, the talk, the code
    path: str = ""
    above: str = ""  # a line of the file; empty: it is the file
    says: list[str] = field(default_factory=list)


def commands(text: str, line: int) -> Iterator[Step]:
    step = None
    for number, row in enumerate(text.splitlines(), line):
        if row == "^C":
            yield from [step] if step else []
            step = None
            yield Step(number, "stop", "")
        elif row.startswith("$ "):
            yield from [step] if step else []
            step = Step(number, "host" if HOST.match(row[2:]) else "run", row[2:])
        elif step is None:
            raise Failed(f"line {number}: output of no command: {row}")
        else:
            step.says.append(row)
    yield from [step] if step else []


def steps(page: str) -> Iterator[Step]:
    for block in BLOCK.finditer(page):
        language, text = block.groups()
        line = page.count("\n", 0, block.start()) + 2
        if language == "console":
            yield from commands(text, line)
        elif language == "diff":
            yield Step(line, "diff", text, path=CHANGES.match(text)[1])
        elif language == "talk":
            yield Step(line, "talk", text)
        elif found := PATH.match(text):
            yield Step(line, "file", text, path=found[1], above=found[2] or "")
        elif language == "log":
            yield Step(line, "log", text, says=text.splitlines())
        elif language == "js":
            says = LOGS.match(page, block.end())
            yield Step(line, "js", text, says=[says[1]] if says else [])


def changed(text: str, diff: str) -> str:
    """The text with the changes of a ```diff made. Each part has to be found once."""
    for part in re.split(r"^@@.*\n", CHANGES.sub("", diff), flags=re.MULTILINE):
        rows = part.splitlines()
        before, after = (
            "".join(f"{row[1:]}\n" for row in rows if row[:1] != other) for other in "+-"
        )
        assert before != after, f"it changes nothing: {part}"
        assert f"\n{text}".count(f"\n{before}") == 1, f"not there, or more than once: {before}"
        text = f"\n{text}".replace(f"\n{before}", f"\n{after}")[1:]
    return text


def matches(said: list[str], expected: list[str]) -> bool:
    """`...` in what is expected stands for any lines, none included."""
    if not expected:
        return not said
    if expected[0] == "...":
        return any(matches(said[i:], expected[1:]) for i in range(len(said) + 1))
    return bool(said) and said[0] == expected[0] and matches(said[1:], expected[1:])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


def same(said: str, expected: str) -> bool:
    if expected.startswith("{"):
        return said.startswith("{") and json.loads(said) == json.loads(expected)
    return said == expected


class Talker(Process):
    """Somebody at a terminal with `perigee connect`."""

    def __init__(self, url: str, env: dict[str, str]):
        command = ["perigee", "connect", "--wait", "forever", url]
        super().__init__(command, stdin=subprocess.PIPE, env=env)
        self.heard = 0

    def say(self, text: str) -> None:
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()

    def hear(self, expected: str) -> None:
        wait_until(lambda: len(self.out) > self.heard or self.is_gone(), expected, HEAR_S)
        assert len(self.out) > self.heard, f"the connection has ended: {self.log}"
        said = self.out[self.heard]
        assert same(said, expected), f"{said} is seen, the page has {expected}"
        self.heard += 1

    def is_gone(self) -> bool:
        return self.process.poll() is not None

    def check(self) -> None:
        """Still there, and nothing was seen that the page does not have."""
        assert not self.is_gone(), f"the connection has ended: {self.log}"
        assert self.out[self.heard :] == [], f"{self.out[self.heard :]} is not on the page"

    def leave(self) -> None:
        self.kill()
        self.process.stdin.close()


class Reader:
    """Goes through a page, in a folder. In a `with`, the host is gone afterwards.

    @param instead  commands to run in place of the page's: {"make run": "perigee serve scripts"}
    @param browser  for ```js; made when first needed by make_browser
    """

    def __init__(
        self, page: Path, folder: Path, env: dict[str, str], *, instead=None, browser=None
    ):
        self.page, self.folder, self.instead = page, folder, instead or {}
        self.port = free_port()
        self.env = env | {"PERIGEE_PORT": str(self.port), "PERIGEE_LOG_FORMAT": "short"}
        self.browser = browser
        self.host: Process | None = None
        self.saved = 0  # lines of the log when a file was last saved
        self.talkers: dict[str, Talker] = {}
        self.done = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def here(self, text: str) -> str:
        return text.replace("localhost:8000", f"localhost:{self.port}")

    def follow(self) -> None:
        ways = {
            "file": self.write,
            "diff": self.change,
            "talk": self.talk,
            "run": self.run,
            "host": self.start,
            "log": self.read_log,
            "js": self.evaluate,
        }
        for step in steps(self.page.read_text()):
            try:
                ways.get(step.kind, self.stop)(step)
                for talker in self.talkers.values():
                    talker.check()
            except (AssertionError, Failed, subprocess.TimeoutExpired) as error:
                raise Failed(
                    f"{self.page.name}:{step.line}: {step.text.strip()}\n{error}"
                ) from error
            self.done += 1

    def write(self, step: Step) -> None:
        path = self.folder / step.path
        path.parent.mkdir(parents=True, exist_ok=True)
        text = self.here(step.text)
        if step.above:
            whole = path.read_text()
            assert whole.count(f"\n{step.above}\n") == 1, f"{step.path} has no {step.above}"
            added = text.split("\n", 1)[1]
            text = whole.replace(f"\n{step.above}\n", f"\n{added}{step.above}\n")
        self.save(path, text)

    def change(self, step: Step) -> None:
        path = self.folder / step.path
        self.save(path, changed(path.read_text(), step.text))

    def save(self, path: Path, text: str) -> None:
        self.saved = len(self.host.log) if self.host else 0
        path.write_text(text)

    def talk(self, step: Step) -> None:
        for row in step.text.splitlines():
            found = SAYS.match(row)
            assert found, f"nobody says or hears: {row}"
            name, what, text = found.groups()
            if what == "*":
                assert text.startswith(CONNECTED) and name not in self.talkers, row
                url = self.here(text.removeprefix(CONNECTED))
                self.talkers[name] = Talker(url, self.env)
            elif what == ">":
                self.talkers[name].say(text)
            else:
                self.talkers[name].hear(text)

    def run(self, step: Step) -> None:
        """One command in a shell that knows what earlier ones have exported."""
        command = self.here(self.instead.get(step.text, step.text))
        with tempfile.NamedTemporaryFile() as after:
            shell = subprocess.run(
                ["bash", "-c", f"{command}\nstatus=$?\nenv -0 >{after.name}\nexit $status"],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=SHELL_S,
                check=False,
            )
            exported = Path(after.name).read_bytes().split(b"\0")
        said = shell.stdout.splitlines()
        expected = [self.here(line) for line in step.says]
        if expected:
            assert matches(said, expected), f"it says {said}, the page {expected}"
        assert shell.returncode == 0 or (expected and 0 < shell.returncode < 126), (
            f"exit {shell.returncode}: {said}"
        )
        self.env = dict(os.fsdecode(one).split("=", 1) for one in exported if b"=" in one)

    def hear(self, expected: list[str]) -> None:
        def seen():
            said = list(self.host.out)
            return any(matches(said[:n], expected) for n in range(len(said) + 1))

        try:
            wait_until(seen, f"it says {expected}", 10)
        except Failed:
            raise Failed(f"it says {self.host.out + self.host.log}, the page {expected}") from None

    def start(self, step: Step) -> None:
        self.stop()
        command = self.here(self.instead.get(step.text, step.text))
        self.host = Process(
            ["bash", "-c", f"exec {command}"], cwd=self.folder, env=self.env, start_new_session=True
        )
        self.host.wait_for_line(LISTENING, START_S)
        wait_until(self.is_quiet, "the log of its start")
        if step.says:
            self.hear([self.here(line) for line in step.says])

    def is_quiet(self) -> bool:
        """It has said which scripts were loaded, and nothing more for a moment."""
        before = len(self.host.log)
        time.sleep(0.2)
        return before == len(self.host.log) and any("loaded" in line for line in self.host.log)

    def stop(self, _: Step | None = None) -> None:
        """Ctrl-C: to all that runs at that terminal. Who was connected is not any more."""
        while self.talkers:
            self.talkers.popitem()[1].leave()
        host, self.host, self.saved = self.host, None, 0
        if not host:
            return
        try:
            if host.process.poll() is None:
                os.killpg(host.process.pid, signal.SIGINT)
                host.process.wait(60)
        finally:
            if host.process.poll() is None:
                os.killpg(host.process.pid, signal.SIGKILL)
            host.kill()

    def read_log(self, step: Step) -> None:
        def said():
            lines = iter(self.host.log[self.saved :])
            return all(any(want in line for line in lines) for want in step.says)

        try:
            wait_until(said, "the log", 10)
        except Failed:
            said_since = self.host.log[self.saved :]
            raise Failed(f"the log is {said_since}, the page {step.says}") from None

    def evaluate(self, step: Step) -> None:
        driver = self.browser().driver
        driver.get(f"http://localhost:{self.port}/")
        driver.get_log("browser")
        driver.execute_script(self.here(step.text))
        said: list[str] = []

        def logged():
            said.extend(entry["message"] for entry in driver.get_log("browser"))
            return all(any(f'"{want}"' in line for line in said) for want in step.says)

        wait_until(logged, f"the console says {step.says}", 10)
