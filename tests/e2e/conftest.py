"""The real program, served from a folder that the test writes."""

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from wire_tls import TlsClient

from support import host as support
from support.certificates import Authority
from support.host import ROOT, START_S
from wire import Client, Wire


def program() -> str:
    """PERIGEE, else the build with most checks in it."""
    if path := os.environ.get("PERIGEE"):
        return path
    for preset in ("asan", "debug", "release"):
        if (path := ROOT / "build" / preset / "perigee").exists():
            return str(path)
    pytest.fail("nothing is built: make build")


def check_sanitizers(log: str) -> None:
    assert "Sanitizer" not in log and "runtime error:" not in log, log


class Host(support.Host):
    """As any host, with what tests down at the bytes ask of one."""

    def __init__(
        self,
        folder: Path,
        args: tuple[str, ...],
        under: tuple[str, ...] = (),
        executable: str = "",
    ):
        super().__init__(folder, *args, executable=executable or program(), under=under)

    def text(self) -> str:
        return "\n".join(self.log)

    def wait(self, holds, limit_s: float = 10):
        end = time.monotonic() + limit_s
        while not (answer := holds()):
            assert time.monotonic() < end, f"waited {limit_s} s in vain\n{self.text()}"
            time.sleep(0.01)
        return answer

    def count(self, words: str) -> int:
        return sum(words in line for line in list(self.log))

    def wait_log(self, words: str, times: int = 1, limit_s: float = 10) -> None:
        """Until the log has these words in so many lines, and not in more."""
        self.wait(lambda: self.count(words) >= times, limit_s)
        assert self.count(words) == times, self.text()

    def wire(self, **options) -> Wire:
        return Wire(self.port, **options)

    def client(self, path="/", **fields) -> Client:
        """A WebSocket, its handshake done."""
        client = Client(self.port)
        answer = client.upgrade(path, **fields)
        assert answer.status == 101, answer
        return client

    def get(self, path="/", method="GET", **fields):
        with self.wire() as wire:
            return wire.request(path, method, **fields)


class Run:
    """`perigee connect` as a process with pipes."""

    def __init__(self, *args: str, **options):
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE} | options
        self.process = subprocess.Popen(
            [program(), "connect", *args], stderr=subprocess.PIPE, **options
        )

    def end(self, data: bytes = b"") -> tuple[int, bytes, str]:
        out, err = self.process.communicate(data, timeout=60)
        check_sanitizers(err.decode(errors="replace"))
        return self.process.returncode, out, err.decode()


@pytest.fixture
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def folder(tmp_path):
    """Writes files and answers their folder: folder({"echo.lua": TEXT})."""

    def write(files: dict[str, str | bytes]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path

    return write


@pytest.fixture
def serve(folder):
    """Serves files until the test ends: serve({"echo.lua": TEXT}, flags...)."""
    hosts = []

    def start(files: dict[str, str | bytes], *args: str) -> Host:
        hosts.append(Host(folder(files), args))
        return hosts[-1]

    yield start
    for host in hosts:
        try:
            if host.process.poll() is None:
                host.signal()
                time.sleep(0.01)
                host.signal()  # at once: nobody waits for what a test left open
            assert host.end() == 0, host.text()
        finally:
            host.kill()
        check_sanitizers(host.text())


@pytest.fixture
def rules(serve, folder):
    """rules(TEXT, flags..) serves a.lua; then save(TEXT) -> the line that the log says of it."""

    class Rules:
        def __init__(self, text: str, *flags: str):
            self.host = serve({"a.lua": text}, *flags)
            self.folder = folder({})
            self.host.wait(self.said)

        def said(self) -> int:
            return self.host.count('msg="loaded') + self.host.count("not loaded")

        def save(self, text: str, name: str = "a.lua") -> str:
            before = self.said()
            support.save(self.folder / name, text)
            self.host.wait(lambda: self.said() > before)
            return [line for line in self.host.log if "loaded" in line][-1]

    return Rules


@pytest.fixture
def run():
    """Runs the program to its end: run("serve", ...) -> (status, stdout, stderr)."""

    def start(*args: str, limit_s: float = START_S, env: dict[str, str] | None = None):
        done = subprocess.run(
            [program(), *args],
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
            env=support.environment(**(env or {})),
        )
        check_sanitizers(done.stderr)
        return done.returncode, done.stdout, done.stderr

    return start


@pytest.fixture
def connect():
    """connect(ARGS.., data=STDIN) -> (status, stdout, stderr)."""

    def run(*args: str, data: bytes = b"") -> tuple[int, bytes, str]:
        return Run(*args).end(data)

    return run


@pytest.fixture
def started():
    """Started programs that end with the test: started(ARGS..) -> Run."""
    runs = []

    def start(*args: str, **options) -> Run:
        runs.append(Run(*args, **options))
        return runs[-1]

    yield start
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
        run.process.wait()
        for pipe in (run.process.stdin, run.process.stdout, run.process.stderr):
            with suppress(BrokenPipeError):
                pipe.close()


# By TLS

TALK = """
local ws = require "ws"
local closes, drains, member = ws.json.array {}, ws.json.array {}, nil
return {
  open = function(conn, req)
    if req.query.feed then
      conn:join "feed"
      member = conn
    end
  end,
  message = function(conn, data, kind) conn:send(data, kind) end,
  drain = function(_, missed) drains[#drains + 1] = missed end,
  close = function(_, code) closes[#closes + 1] = code end,
  request = function(req)
    if req.query.sleep then ws.sleep(tonumber(req.query.sleep)) end
    if req.query.size then
      ws.room("feed"):broadcast(("x"):rep(tonumber(req.query.size)), { slow = req.query.slow })
    end
    return 200, {
      closes = closes, drains = drains, count = ws.all:count(), body = #req.body,
      buffered = member and member.buffered or 0,
    }
  end,
}
"""


@pytest.fixture
def pair(authority):
    return authority.issue("localhost")


@pytest.fixture
def talk(serve, pair):
    """A host by TLS: talk(flags...)."""

    def start(*flags: str, **limits) -> Host:
        limit_flags = [f"--limit={name}={value}" for name, value in limits.items()]
        return serve({"talk.lua": TALK}, *pair.flags, *flags, *limit_flags)

    return start


@pytest.fixture
def dial(authority):
    """A client, its handshake done: dial(host, ...)."""
    clients = []

    def connect(host: Host, version=None, **options) -> TlsClient:
        context = options.pop("context", None) or authority.context(version)
        clients.append(TlsClient(host.port, context, **options))
        return clients[-1]

    yield connect
    for client in clients:
        client.socket.close()


@pytest.fixture
def join(dial):
    """The same with a WebSocket open."""

    def connect(host: Host, version=None, path="/talk", **options) -> TlsClient:
        client = dial(host, version, **options)
        assert client.upgrade(path).status == 101
        return client

    return connect


# With a control socket

CHAT = """
local ws = require "ws"
local count = 0
local names = {}
local function bump() count = count + 1 return count end
local beats = 7
local chat = { timers = { beat = function() beats = beats + 1 end } }
function chat.start() ws.every(60, "beat") end
function chat.open(conn) conn:join("hall") names[conn] = "guest" end
function chat.message(conn, text)
  bump()
  if text:sub(1, 4) == "boom" then error("bad words: " .. text) end
  if text == "sleep" then ws.sleep(30) end
  conn:send(text)
end
return chat
"""


@pytest.fixture
def path(tmp_path_factory):
    """Of the control socket."""
    return tmp_path_factory.mktemp("c") / "control.sock"


@pytest.fixture
def chat(serve, path):
    """A host with the chat, its socket at `path`."""
    return serve({"chat.lua": CHAT}, f"--control={path}")
