"""Follows a page of the docs as a reader would: writes the files it shows, runs its commands in
order, and compares what they print with what the page says.

What counts on a page:

    ```console       `$ command` lines, each followed by what it prints; `...` stands for any lines.
                     `^C` ends the host that runs. A host goes on while the next commands run.
    ```lua  ```html  a block whose first line is a comment with a path (`-- party/chat.lua`) is that
                     file, whole; with a place (`-- party/chat.lua: above `return chat``) it is put
                     there
    ```log           what the host's log says, in this order: parts of its lines
    ```js            is run in a browser, on the page of the host; `It logs `X`.` below it is what
                     the console must say
"""

import os
import re
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from support.host import LISTENING, Failed, Process, wait_until

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PATH = re.compile(r"^(?:--|//|<!--) (\w[\w./-]*/[\w.-]+)(?:: above `(.+)`)?(?: -->)?\n")
LOGS = re.compile(r"\s*It logs `([^`]*)`")
HOST = re.compile(r"^(make run|perigee serve)\b")
SHELL_S = 120
START_S = 900  # of a host that is built first


@dataclass
class Step:
    line: int
    kind: str  # "file", "run", "host", "stop", "log" or "js"
    text: str  # the file's content, the command, the code
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
        elif found := PATH.match(text):
            yield Step(line, "file", text, path=found[1], above=found[2] or "")
        elif language == "log":
            yield Step(line, "log", text, says=text.splitlines())
        elif language == "js":
            says = LOGS.match(page, block.end())
            yield Step(line, "js", text, says=[says[1]] if says else [])


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
            "run": self.run,
            "host": self.start,
            "log": self.read_log,
            "js": self.evaluate,
        }
        for step in steps(self.page.read_text()):
            try:
                ways.get(step.kind, self.stop)(step)
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
        path.write_text(text)

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
        if step.says:
            self.hear([self.here(line) for line in step.says])

    def stop(self, _: Step | None = None) -> None:
        """Ctrl-C: to all that runs at that terminal."""
        host, self.host = self.host, None
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
            lines = iter(list(self.host.log))
            return all(any(want in line for line in lines) for want in step.says)

        try:
            wait_until(said, "the log", 10)
        except Failed:
            raise Failed(f"the log is {self.host.log}, the page {step.says}") from None

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
