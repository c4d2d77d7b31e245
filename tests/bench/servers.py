"""Servers under measure: each is one function that answers the command for a piece of work."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rows import BROADCAST, ECHO, IDLE, ROOM, Work

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
TOOLS = ROOT / "build/release/tests/bench"  # the load, and the floors
START_S = 30
STOP_S = 10

LISTENING = re.compile(rb"^listening on \S*:(\d+)\b", re.MULTILINE)


class NotRun(Exception):
    """Why a server does not take part in a row, or in any."""


@dataclass
class Command:
    """How a server is started.

    @param path      where it does that work
    @param port      where it will listen, or 0: it says so in a line `listening on HOST:PORT`
    @param settings  what is not its default, in words that stand beside its figures
    """

    argv: list[str]
    path: str = "/"
    port: int = 0
    settings: str = ""
    cwd: Path = ROOT
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Server:
    """@param command  answers what starts it for a piece of work, or raises NotRun
    @param version  answers what it is
    @param processes  it has one for each connection
    """

    name: str
    title: str
    command: Callable[[Work], Command]
    version: Callable[[], str]
    processes: bool = False


def certificate() -> tuple[str, str]:
    """The paths of a certificate for this machine and its key, which are made once."""
    folder = ROOT / "build/bench/tls"
    cert, key = folder / "cert.pem", folder / "key.pem"
    if not cert.exists():
        if not shutil.which("openssl"):
            raise NotRun("no openssl is installed, to make a certificate")
        folder.mkdir(parents=True, exist_ok=True)
        made = (
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "3650", "-subj", "/CN=localhost", "-keyout", str(key)),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", f"{cert}.new"),
        )
        subprocess.run(made, check=True, capture_output=True)
        Path(f"{cert}.new").rename(cert)
    return str(cert), str(key)


def free_port() -> int:
    """For servers that can't say which they got."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def output_of(*command: str | Path) -> str:
    """The first line that it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return (done.stdout or done.stderr).splitlines()[0].strip()


# --- perigee and the floors ---

PERIGEE = ROOT / "build/release/perigee"


def perigee_command(work: Work) -> Command:
    folder, path = {
        ECHO: (ROOT / "scripts", "/echo"),
        BROADCAST: (ROOT / "scripts", "/ws"),
        IDLE: (HERE / "scripts", "/idle"),
        ROOM: (HERE / "scripts", "/room"),
    }[work.kind]
    # No control socket: two hosts of a measurement would ask for the same place.
    argv = [str(PERIGEE), "serve", str(folder), "--port=0", "--control=off"]
    if work.tls:
        cert, key = certificate()
        argv += ["--tls-cert", cert, "--tls-key", key]
    return Command(argv, path, settings="defaults: every limit and check is on")


def commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip()


def perigee_version() -> str:
    return f"{output_of(PERIGEE, '--version')}, {commit()}".rstrip(", ")


def floor_command(work: Work) -> Command:
    if work.deflate:
        raise NotRun("a floor compresses nothing")
    name = "floor_broadcast" if work.knows_all else "floor_echo"
    argv = [str(TOOLS / name), *(certificate() if work.tls else ())]
    settings = "OpenSSL, TLS 1.3 as agreed on" if work.tls else ""
    return Command(argv, settings=settings)


def lua_floor_command(work: Work) -> Command:
    argv = [str(TOOLS / "floor_lua"), str(ROOT / "scripts/echo.lua")]
    return Command(argv, settings="the same Lua and the same handler; no checks")


OURS = (
    Server("perigee", "perigee", perigee_command, perigee_version),
    Server("floor", "bare epoll loop (floor)", floor_command, commit),
    # What Lua itself takes.
    Server("lua_floor", "bare epoll loop with Lua", lua_floor_command, commit),
    # What compression is compared with. Not a server of its own: perigee, and the load sends plain.
    Server("plain", "perigee, the same plain", perigee_command, perigee_version),
)


# --- Running them ---


class Running:
    """A server that is ready. In a `with`, it is gone afterwards, and so is what it started."""

    def __init__(self, command: Command, under: tuple[str, ...] = ()):
        self.command = command
        # A file, so that nobody has to read it while it runs.
        self.log = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [*under, *command.argv],
            cwd=command.cwd,
            env=_environment() | command.env,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            self.port = command.port or int(self._wait(self._told)[1])
            self._wait(self._answers)
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        return self.process.pid

    def tail(self) -> str:
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-2000:]

    def _told(self):
        self.log.seek(0)
        return LISTENING.search(self.log.read())

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def _wait(self, holds):
        end = time.monotonic() + START_S
        while not (answer := holds()):
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.command.argv[0]} has ended:\n{self.tail()}")
            if time.monotonic() > end:
                raise RuntimeError(f"{self.command.argv[0]} is not ready:\n{self.tail()}")
            time.sleep(0.02)
        return answer

    def tree(self) -> list[int]:
        """The process and its descendants."""
        found, at = [self.pid], 0
        while at < len(found):
            for path in Path(f"/proc/{found[at]}/task").glob("*/children"):
                found += [int(child) for child in path.read_text().split()]
            at += 1
        return found

    def resident(self) -> int:
        """Bytes, of the whole tree."""
        total = 0
        for pid in self.tree():
            status = Path(f"/proc/{pid}/status").read_text()
            total += int(re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[1]) * 1024
        return total

    def stop(self) -> None:
        # Its own session, so that no child of it stays.
        for number in (15, 9):
            try:
                os.killpg(self.pid, number)
                self.process.wait(STOP_S if number == 15 else None)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self.process.wait()
        self.log.close()

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_) -> None:
        self.stop()


def _environment() -> dict[str, str]:
    """Less the settings of a host that whoever measures may have."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PERIGEE_")}
