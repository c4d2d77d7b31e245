"""Where a host listens, what it is handed and what it tells; running out of descriptors; and how
it ends."""

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from conftest import START_S, Host, check_sanitizers, program
from wire import TEXT, Client, Wire, frame, head

WHO = """
return {
  message = function(conn, text) conn:send(conn.remote .. " " .. text) end,
  request = function(req) return 200, req.remote end,
}
"""
# Takes the place of a service manager: the socket to pass becomes descriptor 3, and LISTEN_PID
# names the process that runs the program.
LAUNCH = """
import os, sys
if int(sys.argv[1]) >= 0:
    os.dup2(int(sys.argv[1]), 3)
    os.set_inheritable(3, True)
    os.environ["LISTEN_PID"] = str(os.getpid() + int(sys.argv[2]))
    os.environ["LISTEN_FDS"] = "1"
os.execv(sys.argv[3], sys.argv[3:])
"""


class UnixWire(Client):
    """As a client over TCP, by a path."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(15)
        self.socket.connect(str(path))
        self.buffer = b""


class Running(Host):
    """A host whose whole command line is the test's."""

    def __init__(self, command, **options):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, **pipes, **options)
        self.out, self.log = [], []
        self.start_reading()
        self.wait(lambda: self.out or self.process.poll() is not None, START_S)
        assert self.out, self.text()

    def start_reading(self):
        self.readers = [
            threading.Thread(target=self._keep, args=pipe, daemon=True)
            for pipe in ((self.process.stdout, self.out), (self.process.stderr, self.log))
        ]
        for reader in self.readers:
            reader.start()


@pytest.fixture
def launch(folder):
    """launch(flags..) serves WHO, with no port unless the flags say so."""
    hosts = []
    where = folder({"who.lua": WHO})

    def start(*flags, launcher=(), **options):
        hosts.append(Running([*launcher, program(), "serve", str(where), *flags], **options))
        return hosts[-1]

    yield start
    for host in hosts:
        if host.process.poll() is None:
            host.signal()
            assert host.end() == 0, host.text()
        check_sanitizers(host.text())


def port_of(host, line=0) -> int:
    assert host.out[line].startswith("listening on http://"), host.out
    return int(host.out[line].rsplit(":", 1)[1])


# Sockets of the file system.


def test_a_path_serves_http_and_websockets_to_peers_called_unix(launch, tmp_path):
    path = tmp_path / "s"
    host = launch("--listen", f"unix:{path}")
    assert host.out[0] == f"listening on unix:{path}"
    with UnixWire(path) as wire:
        assert wire.request("/who").body == b"unix"
    with UnixWire(path) as client:
        assert client.upgrade("/who").status == 101
        client.text("x")
        assert client.hear_text() == "unix x"
    host.signal()
    assert host.end() == 0
    assert not path.exists()


def test_many_places_at_once(launch, tmp_path):
    paths = [tmp_path / name for name in "ab"]
    flags = [f"--listen=unix:{path}" for path in paths]
    host = launch(*flags, "--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--port", "0")
    host.wait(lambda: len(host.out) >= 5)
    assert host.out[1:3] == [f"listening on unix:{path}" for path in paths]
    assert host.out[3].startswith("listening on http://127.0.0.1:")
    assert host.out[4].startswith("listening on http://[::1]:")
    for path in paths:
        with UnixWire(path) as wire:
            assert wire.request("/who").status == 200
    for line, address in ((0, "127.0.0.1"), (0, "::1"), (3, "127.0.0.1"), (4, "::1")):
        with Wire(port_of(host, line), address=address) as wire:
            assert wire.request("/who").body == address.encode()


def test_listen_alone_is_in_place_of_the_default(launch):
    host = launch("--listen", "127.0.0.1:0")
    host.wait(lambda: len(host.out) >= 2)
    assert "listening" not in host.out[1]


def test_the_file_of_a_killed_host_is_replaced_and_that_of_a_live_one_is_not(launch, run, tmp_path):
    path = tmp_path / "s"
    first = launch("--listen", f"unix:{path}")
    first.process.kill()
    first.end()
    assert path.exists()
    launch("--listen", f"unix:{path}")
    status, out, err = run("serve", str(tmp_path), "--listen", f"unix:{path}")
    assert (status, out) == (1, "")
    assert err.count("\n") == 1 and str(path) in err and "another program listens there" in err
    with UnixWire(path) as wire:  # and is not harmed by the question
        assert wire.request("/who").status == 200


def test_a_file_that_is_no_socket_is_left_alone(run, folder):
    path = folder({"keep": "me"}) / "keep"
    status, _, err = run("serve", str(path.parent), "--listen", f"unix:{path}")
    assert status == 1 and err.count("\n") == 1 and "no socket" in err
    assert path.read_text() == "me"


def test_a_file_that_another_host_has_made_meanwhile_stays(launch, tmp_path):
    path = tmp_path / "s"
    first = launch("--listen", f"unix:{path}")
    path.unlink()
    launch("--listen", f"unix:{path}")
    first.signal()
    assert first.end() == 0
    with UnixWire(path) as wire:
        assert wire.request("/who").status == 200


def test_places_that_cannot_be_are_one_line(run, tmp_path):
    for where, status in [("unix:", 2), ("8000", 2), ("localhost", 2), ("localhost:x", 2),
                          (":80", 2), ("::1:80", 2), ("localhost:65536", 2), ("a:-1", 2),
                          (f"unix:{tmp_path}/no/s", 1), ("unix:" + "x" * 108, 1)]:  # fmt: skip
        got, out, err = run("serve", str(tmp_path), "--listen", where)
        assert (got, out, err.count("\n")) == (status, "", 1), (where, err)


def test_a_port_in_use_leaves_no_file_behind(run, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        flags = ["--listen", f"unix:{tmp_path}/s", "--listen", f"127.0.0.1:{port}"]
        status, _, err = run("serve", str(tmp_path), *flags)
    assert status == 1 and "in use" in err and not (tmp_path / "s").exists()


# A service manager.


def launcher(fd: int, away: int = 0) -> tuple[str, ...]:
    return sys.executable, "-c", LAUNCH, str(fd), str(away)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_a_socket_that_was_passed_is_used_in_place_of_all_others(launch, tmp_path, family):
    with socket.socket(family) as passed:
        path = tmp_path / "passed"
        passed.bind(
            str(path) if family == socket.AF_UNIX else
            ("127.0.0.1" if family == socket.AF_INET else "::1", 0)
        )  # fmt: skip
        passed.listen()
        fd = passed.fileno()
        host = launch("--listen", "unix:not", launcher=launcher(fd), pass_fds=[fd])
        if family == socket.AF_UNIX:
            assert host.out[0] == f"listening on unix:{path}"
            wire = UnixWire(path)
        else:
            address, port = passed.getsockname()[:2]
            shown = f"[{address}]" if ":" in address else address
            assert host.out[0] == f"listening on http://{shown}:{port}"
            wire = Wire(port, address=address)
        with wire:
            assert wire.request("/who").status == 200
        assert not any("listening" in line for line in host.out[1:])
        assert not os.path.exists("not")
        host.signal()
        assert host.end() == 0
        assert family != socket.AF_UNIX or path.exists()  # its file is the manager's


def test_sockets_for_another_process_are_not_ours(launch):
    with socket.socket() as passed:
        passed.bind(("127.0.0.1", 0))
        passed.listen()
        fd = passed.fileno()
        host = launch("--port", "0", launcher=launcher(fd, 1), pass_fds=[fd])
        assert port_of(host) != passed.getsockname()[1]


def test_a_passed_descriptor_that_does_not_listen_is_one_line(folder):
    with socket.socket() as passed:
        fd = passed.fileno()
        done = subprocess.run(
            [*launcher(fd), program(), "serve", str(folder({"who.lua": WHO}))],
            capture_output=True, text=True, pass_fds=[fd], timeout=START_S, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1 and "LISTEN_FDS" in done.stderr


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_the_manager_is_told_when_it_is_ready_and_when_it_stops(launch, tmp_path, kind):
    name = str(tmp_path / "notify") if kind == "path" else f"@perigee-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        manager.settimeout(START_S)
        host = launch("--port", "0", env=os.environ | {"NOTIFY_SOCKET": name})
        assert manager.recv(100) == b"READY=1"
        with Wire(port_of(host)) as wire:
            assert wire.request("/who").status == 200
        host.signal()
        assert manager.recv(100) == b"STOPPING=1"
        assert host.end() == 0


def test_a_manager_that_is_gone_is_a_line_in_the_log(launch, tmp_path):
    env = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "nobody")}
    host = launch("--port", "0", env=env)
    host.wait(lambda: host.count("NOTIFY_SOCKET") == 1)
    with Wire(port_of(host)) as wire:
        assert wire.request("/who").status == 200


# Descriptors.


def cpu_s(host) -> float:
    with open(f"/proc/{host.process.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_without_descriptors_it_waits_quietly_and_goes_on(launch):
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    host = launch("--port", "0", "--limit", "head_s=60", preexec_fn=few)
    port = port_of(host)
    with Client(port) as living:
        assert living.upgrade("/who").status == 101
        crowd = [Wire(port) for _ in range(150)]
        host.wait(lambda: host.count("no descriptor is free") > 0)
        begun = cpu_s(host)
        for _ in range(4):
            living.text("x")
            assert living.hear_text() == "127.0.0.1 x"
            time.sleep(0.5)
        assert cpu_s(host) - begun < 1
        assert host.count("no descriptor is free") <= 5, host.text()
        for wire in crowd:
            wire.socket.close()
        with Wire(port) as wire:
            wire.send(head("/who"))
            assert wire.answer().status == 200
        living.text("y")
        assert living.hear_text() == "127.0.0.1 y"


def test_a_file_that_no_descriptor_is_left_for_is_503(launch, folder):
    folder({"public/a.txt": "a"})

    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    host = launch("--port", "0", "--limit", "head_s=60", preexec_fn=few)
    port = port_of(host)
    with Wire(port) as wire:
        assert wire.request("/a.txt").status == 200
        crowd = [Wire(port) for _ in range(80)]
        host.wait(lambda: host.count("no descriptor is free") > 0)
        assert wire.request("/a.txt").status == 503
        for other in crowd:
            other.socket.close()
        host.wait(lambda: wire.request("/a.txt").status == 200)


# The end.


def test_a_port_is_free_at_once_after_a_kill(launch):
    host = launch("--port", "0")
    port = port_of(host)
    clients = [Client(port) for _ in range(20)]
    for client in clients:
        assert client.upgrade("/who").status == 101
    host.process.kill()
    assert host.end() == -signal.SIGKILL
    host = launch("--port", str(port))
    with Wire(port) as wire:
        assert wire.request("/who").status == 200
    for client in clients:
        with suppress(ConnectionResetError):
            assert client.rest() == b""


def test_a_signal_that_answers_the_first_line_is_heeded(launch):
    for number in (signal.SIGTERM, signal.SIGINT):
        for _ in range(3):
            host = launch("--port", "0")
            host.signal(number)
            assert host.end() == 0, host.text()


def test_a_second_signal_ends_it_while_peers_are_still_there(launch, tmp_path):
    path = tmp_path / "s"
    host = launch("--listen", f"unix:{path}", "--limit", "close_s=60")
    with UnixWire(path) as client:
        assert client.upgrade("/who").status == 101
        client.send(frame(TEXT, "x"))
        assert client.hear_text() == "unix x"
        host.signal()
        assert client.hear_close()[0] == 1001
        host.signal()
        assert host.end() == 0
    assert not path.exists()
