"""The load of tests/bench: it must tell right from wrong, or its figures mean nothing."""

import json
import os
import re
import select
import subprocess
from pathlib import Path

import pytest

from conftest import program
from support.host import ROOT, SCRIPTS, Process

LISTENING = re.compile(r"^listening on \S+:(\d+)$")
OF_FLOORS = ("floor_echo", "floor_broadcast")

# What comes back otherwise, though never by its length.
WRONG = """
local script = {}
function script.message(conn, data, kind)
  conn:send(data:sub(1, -2) .. "!", kind)
end
return script
"""
# One in fifty does not come back.
LOSES = """
local script, n = {}, 0
function script.message(conn, data, kind)
  n = n + 1
  if n % 50 ~= 0 then
    conn:send(data, kind)
  end
end
return script
"""
TWICE = """
local script = {}
function script.message(conn, data, kind)
  conn:send(data, kind)
  conn:send(data, kind)
end
return script
"""
OTHER_KIND = """
local script = {}
function script.message(conn, data)
  conn:send(data, "binary")
end
return script
"""


@pytest.fixture(scope="module")
def tools() -> Path:
    """Where the load and the floors are, of the build that is tested."""
    build = Path(program()).parent
    made = subprocess.run(
        ["cmake", "--build", build, "--target", "bench"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    return build / "tests/bench"


@pytest.fixture
def load(tools):
    """load(PORT, PATH, flags...) -> its exit status, its figures and what it says."""

    def run(port: int, path: str, *flags: str) -> tuple[int, dict, str]:
        command = [tools / "bench_load", f"--port={port}", f"--path={path}", "--warm=0.05", *flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, json.loads(done.stdout or "{}"), done.stderr

    return run


@pytest.fixture
def floor(tools):
    """floor(NAME, arguments...) -> its port, until the test ends."""
    running = []

    def start(name: str, *args: str) -> int:
        running.append(Process([tools / name, *args]))
        return int(running[-1].wait_for_line(LISTENING, 10)[1])

    yield start
    for process in running:
        process.kill()


WORKS = [
    ("/echo", "--connections=20"),
    ("/echo", "--connections=5", "--in-flight=16", "--binary"),
    ("/echo", "--connections=3", "--in-flight=7", "--separate"),
    ("/echo", "--connections=4", "--size=100000", "--in-flight=3"),
    ("/ws", "--connections=30", "--mode=broadcast"),
    ("/ws", "--connections=30", "--mode=broadcast", "--in-flight=16", "--size=2000"),
    ("/", "--connections=8", "--mode=connect"),
]


@pytest.mark.parametrize("path, flags", [(path, flags) for path, *flags in WORKS])
def test_a_load_runs_against_perigee_and_its_floor_alike(serve, load, floor, path, flags):
    host = serve({name: (SCRIPTS / name).read_text() for name in ("echo.lua", "ws.lua")})
    path = "/echo" if path == "/" else path
    echo, broadcast = OF_FLOORS
    floor_port = floor(broadcast if "--mode=broadcast" in flags else echo)
    for port in (host.port, floor_port):
        status, figures, said = load(port, path, "--count=500", *flags)
        assert (status, said) == (0, "")
        assert figures["messages"] >= 500 and figures["rate"] > 0
        assert 0 < figures["p50_ms"] <= figures["p999_ms"]


@pytest.mark.parametrize("flags", [flags for path, *flags in WORKS if path in ("/echo", "/")])
def test_a_load_runs_against_the_floor_with_lua(load, floor, flags):
    port = floor("floor_lua", str(SCRIPTS / "echo.lua"))
    status, figures, said = load(port, "/", "--count=500", *flags)
    assert (status, said) == (0, "")
    assert figures["messages"] >= 500


def test_the_floor_with_lua_runs_the_script(load, floor, tmp_path):
    script = tmp_path / "twice.lua"
    script.write_text("return {message = function(conn, data) conn:send(data .. data) end}")
    status, _, said = load(floor("floor_lua", str(script)), "/", "--count=10")
    assert status != 0 and said  # the load finds that it is no echo


@pytest.mark.parametrize("mode", ["offer", "send"])
@pytest.mark.parametrize("takeover", ["off", "on"])
@pytest.mark.parametrize("work", ["echo", "broadcast"])
def test_a_load_is_compressed(serve, load, mode, takeover, work):
    host = serve(
        {name: (SCRIPTS / name).read_text() for name in ("echo.lua", "ws.lua")},
        f"--limit=deflate_takeover={takeover}",
    )
    path = "/echo" if work == "echo" else "/ws"
    flags = (f"--mode={work}", f"--deflate={mode}", "--size=3000", "--connections=10")
    status, figures, said = load(host.port, path, "--count=300", "--in-flight=3", *flags)
    assert (status, said) == (0, "") and figures["messages"] >= 300


def test_a_load_is_encrypted(serve, load, floor, authority):
    pair = authority.issue("127.0.0.1")
    host = serve({"echo.lua": (SCRIPTS / "echo.lua").read_text()}, *pair.flags)
    for port in (host.port, floor("floor_echo", str(pair.cert), str(pair.key))):
        for flags in (["--size=40000", "--in-flight=4"], ["--mode=connect"]):
            flags += ["--tls", "--connections=5", "--count=100"]
            assert load(port, "/echo", *flags)[::2] == (0, "")


@pytest.mark.parametrize("deflate", [[], ["--deflate=send"]])
@pytest.mark.parametrize(
    "script, flags",
    [
        (WRONG, []),
        (LOSES, ["--in-flight=4"]),
        (LOSES, ["--seconds=1", "--connections=30"]),
        (TWICE, ["--in-flight=3"]),
        (OTHER_KIND, []),
    ],
)
def test_what_comes_back_wrong_ends_a_load(serve, load, script, flags, deflate):
    host = serve({"a.lua": script})
    status, figures, said = load(host.port, "/a", "--size=1500", *deflate, *flags)
    assert status == 1 and not figures and said.count("\n") == 1
    assert re.search(
        r"came (back )?(otherwise|with)|that was not sent|n(ever|o message) came|opcode", said
    ), said


def test_a_load_says_why_it_can_not_begin(serve, load, floor):
    host = serve({"a.lua": (SCRIPTS / "echo.lua").read_text()}, "--limit=deflate=off")
    for path, flags, said in (
        ("/b", [], "load: the answer to the upgrade is: HTTP/1.1 404 Not Found\n"),
        ("/a", ["--deflate=send"], "load: the server does not agree to permessage-deflate\n"),
        ("/a", ["--size=7"], f'load: "7" is no number from 8 to {256 << 20}\n'),
        ("/a", ["--mode=all"], 'load: there is no "all": see --help\n'),
        ("/a", ["--pid=4194304"], None),
    ):
        status, figures, told = load(host.port, path, "--count=1", *flags)
        assert status == 1 and not figures
        assert told == said if said else "there is no process" in told


def test_the_cpu_of_a_process_and_its_children_is_counted(load, floor):
    port = floor("floor_echo")
    # A child of ours: what it uses is ours too.
    status, figures, said = load(port, "/", "--seconds=0.5", f"--pid={os.getpid()}", "--core=0")
    assert (status, said) == (0, "")
    seconds = figures["cpu_us"] * figures["messages"] / 1e6
    # The load itself, the floor, and this process, on however many cores: never nothing.
    assert 0.02 < seconds < 0.6 * (os.cpu_count() or 1) + 0.5
    assert len(figures["busy"]) == 1 and 0 <= figures["busy"][0] <= 1


def test_idle_connections_stay_until_stdin_ends(serve, tools):
    script = (SCRIPTS / "echo.lua").read_text()
    host = serve({"a.lua": script}, "--limit=ping_s=0.2", "--limit=pong_s=5")
    command = [tools / "bench_load", f"--port={host.port}", "--path=/a", "--mode=idle"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*command, "--connections=50"], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as held:
        assert json.loads(held.stdout.readline()) == {"open": 50}
        # Its pings are answered: nobody is closed for the lack of a pong.
        assert not select.select([held.stderr], [], [], 7)[0]
        assert held.poll() is None
        held.stdin.close()
        assert held.wait(10) == 0 and held.stderr.read() == ""
