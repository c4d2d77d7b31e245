"""One measurement: a server on one core, the load on another, and what both cores did meanwhile."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rows import Row
from servers import ROOT, TOOLS, Command, NotRun, Running, Server

LOAD = TOOLS / "bench_load"
LOAD_S = 300  # no load takes longer
QUIET = 0.05  # of a core, that others may have
SETTLE_S = 0.5  # for memory to be what it stays
AT_ONCE = 32  # of connections that come and leave before memory is looked at
COME_AND_LEAVE_S = 10  # that they take at most: with a slow server, fewer do


class Failed(Exception):
    """The server, or the load, did not do it; in words for the report."""


@dataclass(frozen=True)
class Cores:
    server: int
    load: int


@dataclass(frozen=True)
class Pace:
    """How long a measurement takes, and how often it is tried where other programs interfere: what
    they have interfered with least counts, whatever it is."""

    warm_s: float
    seconds: float
    tries: int = 1


def cores() -> Cores:
    """The first and the last that we may use."""
    ours = sorted(os.sched_getaffinity(0))
    return Cores(ours[0], ours[-1])


def _load(running: Running, row: Row, used: Cores, *more: str) -> list[str]:
    return [
        *("taskset", "-c", str(used.load), str(LOAD), f"--port={running.port}"),
        *(f"--path={running.command.path}", *row.load, *more),
    ]


def load_command(running: Running, row: Row, used: Cores, pace: Pace) -> list[str]:
    """The load that tells what the server takes for a message."""
    return _load(
        running, row, used,
        f"--pid={running.pid}", f"--warm={pace.warm_s}", f"--seconds={pace.seconds}",
        f"--core={used.server}", f"--core={used.load}",
    )  # fmt: skip


def figures_of(said: str) -> dict:
    """What such a load has told."""
    figures = json.loads(said)
    figures["server_core"], figures["load_core"] = figures.pop("busy")
    return figures


def asked_of(server: Server, row: Row) -> Row:
    """The row that a server is given."""
    return row.plain if server.name == "plain" and row.plain else row


def _throughput(running: Running, row: Row, used: Cores, pace: Pace) -> dict:
    command = load_command(running, row, used, pace)
    done = subprocess.run(command, capture_output=True, text=True, timeout=LOAD_S, check=False)
    if done.returncode != 0:
        raise Failed(f"{done.stderr.strip()}\n{running.tail()}".strip())
    figures = figures_of(done.stdout)
    # What other programs had of either core.
    server = figures["server_core"] - figures["cpu_us"] * figures["rate"] / 1e6
    load = figures["load_core"] - figures["load_cpu"]
    figures["others"] = round(max(0, server, load), 3)
    return figures


def _while_held(running: Running, row: Row, used: Cores, count: int, ask):
    """Answers what ask() does while so many connections are open."""
    command = _load(running, row, used, f"--connections={count}")
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as load:
        if not load.stdout.readline():
            raise Failed(f"{load.stderr.read().strip()}\n{running.tail()}".strip())
        time.sleep(SETTLE_S)
        answer = ask()
        load.stdin.close()
    return answer


def _come_and_leave(running: Running, row: Row, used: Cores) -> None:
    """As many connections as the row has, few of them at once."""
    command = _load(
        running, row, used,
        "--mode=connect", f"--connections={AT_ONCE}", "--warm=0", f"--count={row.connections}",
    )  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COME_AND_LEAVE_S, check=False
        )
    except subprocess.TimeoutExpired:
        return
    if done.returncode != 0:
        raise Failed(f"{done.stderr.strip()}\n{running.tail()}".strip())


def _a_connection(running: Running, row: Row, used: Cores, held: Callable[[], int]) -> float:
    """Bytes that one connection takes. As many have come and left before, so that what is needed
    once, or for coming and going, is not counted as theirs.

    @param held  answers how many bytes there are
    """
    _come_and_leave(running, row, used)
    time.sleep(SETTLE_S)
    before = held()
    return round(
        (_while_held(running, row, used, row.connections, held) - before) / row.connections, 1
    )


def _memory(server: Server, command: Command, row: Row, used: Cores) -> dict:
    under = ("taskset", "-c", str(used.server))
    with Running(command, under) as running:
        figures = {"resident_bytes": _a_connection(running, row, used, running.resident)}
    if server.name != "perigee":
        return figures
    # Counted from its allocations too, which shows what the heap adds to them.
    with tempfile.TemporaryDirectory() as folder:
        heap, command.env = _counting(Path(folder))
        with Running(command, under) as running:

            def held() -> int:
                return int.from_bytes(heap.read_bytes(), sys.byteorder)

            figures["heap_bytes"] = _a_connection(running, row, used, held)
    return figures


def _counting(folder: Path) -> tuple[Path, dict[str, str]]:
    """A file in which a program counts what it holds of the heap, and the environment for that."""
    library, heap = folder / "heap.so", folder / "heap"
    source = ROOT / "tests/soak/heap.c"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    heap.write_bytes(bytes(8))
    return heap, {"LD_PRELOAD": str(library), "SOAK_HEAP": str(heap)}


def measure(server: Server, row: Row, used: Cores, pace: Pace) -> tuple[dict, str]:
    """The figures of one server at one row, and its settings.

    @raise NotRun  it takes no part; Failed: it did not do what it should
    """
    if server.processes and not row.processes_fit:
        raise NotRun(f"a process for each of {row.connections:,} connections")
    asked = asked_of(server, row)
    command = server.command(asked.work)
    tries = []
    try:
        if row.idle:
            return _memory(server, command, row, used), command.settings
        while len(tries) < pace.tries and not (tries and tries[-1]["others"] < QUIET):
            with Running(command, ("taskset", "-c", str(used.server))) as running:
                tries.append(_throughput(running, asked, used, pace))
            command = server.command(asked.work)
        return min(tries, key=lambda figures: figures["others"]), command.settings
    except (RuntimeError, subprocess.SubprocessError) as error:
        raise Failed(str(error)) from None
