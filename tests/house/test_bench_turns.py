"""Servers that are measured side by side, their loads in turns: tests/bench/side_by_side.py."""

import json
import random
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/bench"))

import rows  # noqa: E402
import side_by_side  # noqa: E402
from measure import Cores, Failed, Pace  # noqa: E402
from servers import Command, NotRun, Server  # noqa: E402

LISTENS = """
import socket, time
server = socket.create_server(("127.0.0.1", 0))
print(f"listening on 127.0.0.1:{server.getsockname()[1]}", flush=True)
while True: server.accept()[0].close()
"""
# Goes on until it has had half a second of CPU, and tells when it had it.
LOADS = """
import json, sys, time
at, last = [], None
while time.process_time() < 0.5:
    now = time.monotonic()
    if last is None or now - last > 0.02: at.append(now)
    last = now
print(json.dumps({"cpu_us": 2.0, "rate": 1e5, "load_cpu": 0.3, "busy": [0.5, 0.7], "at": at}))
"""
FAILS = "import sys; sys.exit('it is no echo')"


def not_there(work):
    raise NotRun("not installed")


def server(name: str) -> Server:
    return Server(name, name, lambda work: Command([sys.executable, "-c", LISTENS]), str)


@pytest.fixture
def found(monkeypatch):
    """found(servers, their loads) -> what side_by_side finds."""

    def find(servers: list[Server], loads: list[str]):
        left = iter(loads)
        monkeypatch.setattr(
            side_by_side, "load_command", lambda *_: [sys.executable, "-c", next(left)]
        )
        row = next(row for row in rows.ROWS if row.name == "echo64")
        return side_by_side.side_by_side(
            servers, row, Cores(0, 0), Pace(0.1, 0.1), random.Random(7)
        )

    return find


def test_loads_go_on_in_turns(found):
    both = found([server("a"), server("b")], [LOADS, LOADS])
    (a, _), (b, _) = both["a"], both["b"]
    assert len(a["at"]) > 1 and len(b["at"]) > 1, json.dumps([a["at"], b["at"]])  # each was stopped
    assert a["others"] == b["others"] == 0.1  # both cores, less what the two had of them


def test_a_server_that_is_not_there_and_a_load_that_fails_leave_the_others_alone(found):
    absent = Server("absent", "absent", not_there, str)
    all_ = found([absent, server("a"), server("b")], [FAILS, LOADS])
    assert isinstance(all_["absent"], NotRun) and str(all_["absent"]) == "not installed"
    assert isinstance(all_["a"], Failed) and "it is no echo" in str(all_["a"])
    assert all_["b"][0]["cpu_us"] == 2.0
