"""What is measured: a row is a piece of work that servers are given, all in the same way."""

from dataclasses import dataclass, field

# What a server does.
ECHO, BROADCAST, IDLE, ROOM = "echo", "broadcast", "idle", "room"


@dataclass(frozen=True)
class Work:
    """What a server has to do for a row."""

    kind: str = ECHO
    tls: bool = False
    deflate: bool = False
    connections: int = 0

    @property
    def knows_all(self) -> bool:
        """Whether it has to know who is connected; else each connection is by itself."""
        return self.kind in (BROADCAST, ROOM)


@dataclass(frozen=True)
class Row:
    """@param load      arguments of bench_load
    @param goal        what perigee has to reach against `against`, in CPU a message; 0: nothing
    @param against     the server that it is compared with
    @param bound     a server that shows what bounds the row, and takes part in no other; "": none
    @param of_bound  what perigee has to reach of that where that itself falls short of the goal
    @param times_peer  and how many times as many as `peer` by the same CPU; 0: nothing
    @param processes_fit  whether a server with a process for each connection can be asked for it
    """

    name: str
    title: str
    work: Work
    load: tuple[str, ...]
    goal: float = 0
    against: str = "floor"
    bound: str = ""
    of_bound: float = 0
    peer: str = ""
    times_peer: float = 0
    processes_fit: bool = True
    idle: bool = False
    most_bytes: int = 0  # goal of an idle row: of memory a connection
    plain: "Row | None" = field(default=None, repr=False)  # the same without compression

    @property
    def connections(self) -> int:
        return self.work.connections


def _row(name: str, title: str, connections: int, *load: str, **more) -> Row:
    kind = more.pop("kind", ECHO)
    work = Work(kind, more.pop("tls", False), more.pop("deflate", False), connections)
    return Row(name, title, work, (f"--connections={connections}", *load), **more)


def _broadcast(name: str, title: str, connections: int, in_flight: int, **more) -> Row:
    load = (*more.pop("load", ()), "--mode=broadcast", f"--in-flight={in_flight}")
    more = {"kind": BROADCAST, "processes_fit": False} | more
    return _row(name, title, connections, *load, **more)


def _idle(name: str, title: str, kind: str, most_bytes: int) -> Row:
    return _row(
        name, title, 15_000, "--mode=idle",
        kind=kind, processes_fit=False, idle=True, most_bytes=most_bytes,
    )  # fmt: skip


_PLAIN = _broadcast(
    "broadcast1kib", "broadcast 1 KiB to 1,000, plain", 1000, 1, load=("--size=1024",)
)

ROWS = (
    _row("echo64", "echo 64 B, 100 connections, 1 in flight", 100, goal=0.97),
    _row("echo64x16", "echo 64 B, 100 connections, 16 in flight", 100, "--in-flight=16", goal=0.88,
         bound="lua_floor", of_bound=0.93),
    _row("echo16k", "echo 16 KiB, 20 connections", 20, "--size=16384", goal=0.93),
    _broadcast("broadcast1k", "broadcast 64 B to 1,000, 1 in flight", 1000, 1, goal=0.98),
    _broadcast("broadcast1kx16", "broadcast 64 B to 1,000, 16 in flight", 1000, 16, goal=0.97),
    _broadcast("broadcast10kx16", "broadcast 64 B to 10,000, 16 in flight", 10_000, 16, goal=0.95),
    _broadcast(
        "deflate1kib", "deflated broadcast 1 KiB to 1,000", 1000, 1,
        load=("--size=1024", "--deflate=send"),
        deflate=True, goal=0.9, against="plain", plain=_PLAIN,
    ),
    _row("tls16k", "TLS echo 16 KiB, 20 connections", 20, "--size=16384", "--tls", tls=True,
         goal=0.9),
    _row("connect", "connections that come, upgrade and close, 32 at once", 32, "--mode=connect",
         peer="node_ws", times_peer=3),
    _idle("idle", "memory of an idle connection, of 15,000", IDLE, 320),
    _idle("idle_room", "the same in one room", ROOM, 450),
)  # fmt: skip
