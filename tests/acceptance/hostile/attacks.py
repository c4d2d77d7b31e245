"""Attacks on what is spoken, plain or by TLS. Each answers a Counter of what it got."""

import itertools
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

from peers import (
    ANY,
    ATTACK_S,
    KIB,
    LIMIT_S,
    LIMITS,
    MESSAGE,
    MIB,
    SESSION,
    TLS_IDLE,
    TLS_PART,
    TLS_UNSENT,
    Attack,
    Target,
    drip,
    repeat,
    reset,
    unmasked,
)

from support import netns
from support.peer import BINARY, PING, TEXT, close, frame, text
from support.swarm import Swarm, upgrade_request

SLOW = 400


def slow_ones(target: Target) -> Iterator[socket.socket]:
    return (target.connect() for _ in range(SLOW))


def slowloris(pipe, target: Target) -> Counter:
    head = b"GET /target HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
    return drip(slow_ones(target), head, itertools.repeat(b"x"))


def slow_body(pipe, target: Target) -> Counter:
    head = b"POST /target HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048576\r\n\r\n"
    return drip(slow_ones(target), head, itertools.repeat(b"x"))


READERS, FEED = 50, 8 * KIB


def slow_read(pipe, target: Target) -> Counter:
    """Members of a room that never read."""
    swarm = Swarm()
    target.open(swarm, "/target?feed=yes", READERS, receive_buffer=4096)
    for _ in range(1000):
        if target.seen(f"?feed=1&size={FEED}")["feed"] == 0:
            break
    return target.codes_when(READERS)


ANSWERS, ANSWER = 10, 4 * MIB  # more than the kernel takes for a peer that does not read


def unread_answers(pipe, target: Target) -> Counter:
    """Requests whose answers nobody reads."""
    sockets = []
    for _ in range(ANSWERS):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect((target.address, target.port))
        sock = target.secure(sock)
        sock.sendall(f"GET /target?body={ANSWER} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        sockets.append(sock)
        time.sleep(0.05)  # what it takes to make so much text is not the question
    time.sleep(2 * LIMITS["stall_s"] + LIMITS["close_s"])
    answers = Counter()
    for sock in sockets:
        sock.settimeout(LIMIT_S)
        length = 0
        with suppress(ConnectionResetError):
            while data := sock.recv(65536):
                length += len(data)
        answers["cut short" if length < ANSWER else "whole"] += 1
    return answers


def fragment_flood(pipe, target: Target) -> Counter:
    """Messages that never end, a byte a frame."""
    more = frame(0, b"x", first=0x00)
    return repeat(target, frame(TEXT, b"x", first=0x01) + more * 1024)


def ping_flood(pipe, target: Target) -> Counter:
    """Half of them read the pongs."""
    reading, deaf = Swarm(), Swarm()
    target.open(reading, "/target", 4)
    target.open(deaf, "/target", 4, receive_buffer=4096)
    burst = frame(PING, b"x" * 125) * 500
    end = time.monotonic() + ATTACK_S
    while time.monotonic() < end:
        for member in reading.members + deaf.members:
            if not member.unsent:
                member.send(burst)
        reading.turn(0.001)
    for member in reading.members:
        member.send(frame(PING, b"the last"))
    reading.run(lambda: all(m.ponged == b"the last" for m in reading.members), LIMIT_S)
    for member in deaf.members:
        reset(member.socket)
    answers = target.codes_when(4)
    answers["answered"] = sum(m.ponged == b"the last" for m in reading.members)
    reading.close()
    return answers


def fill(target: Target, swarm: Swarm) -> None:
    """Has the feed go on until the sockets are full of what is not read: then each of its frames
    gives way to the next."""
    target.open(swarm, "/target?feed=yes", 2, receive_buffer=4096)
    for _ in range(100):
        target.seen(f"?feed=1&size={60 * KIB}&latest=yes&keys=1")


def pings_behind_a_feed(pipe, target: Target) -> Counter:
    """Pings of peers that do not read, behind very many small frames of a feed."""
    swarm = Swarm()
    fill(target, swarm)
    for _ in range(200):
        target.seen("?feed=100&size=10&latest=yes&keys=20000")
    burst = frame(PING, b"x") * 5000
    end = time.monotonic() + ATTACK_S
    while time.monotonic() < end:
        for member in swarm.members:
            if not member.unsent:
                member.send(burst)
            else:
                member.write()
        time.sleep(0.001)
    return target.codes_when(2)


def keyed_feed(pipe, target: Target) -> Counter:
    """A feed under 20,000 keys, of which two members read nothing."""
    swarm = Swarm()
    fill(target, swarm)
    end = time.monotonic() + ATTACK_S
    while time.monotonic() < end:
        target.seen("?feed=1000&size=10&latest=yes&keys=20000")
    return target.codes_when(2)


def oversized_length(pipe, target: Target) -> Counter:
    codes = Counter()
    for length in (MESSAGE + 1, 1 << 32, (1 << 63) - 1):
        head = b"\x82\xff" + length.to_bytes(8) + b"key!"
        codes += repeat(target, head)
    return codes


def promised_length(pipe, target: Target) -> Counter:
    """A legal length, of which nothing follows: memory for a promise would be 1 MiB each."""
    swarm = Swarm()
    target.open(swarm, "/target", 300)
    for member in swarm.members:
        member.send(b"\x82\xff" + MESSAGE.to_bytes(8) + b"key!" + b"x")
    swarm.run(lambda: False, ATTACK_S)
    for member in swarm.members:
        reset(member.socket)
    return target.codes_when(300)


def bad_utf8_last(pipe, target: Target) -> Counter:
    return repeat(target, unmasked(0x81, b"x" * (MESSAGE - 1) + b"\xff"))


def connection_flood(pipe, target: Target) -> Counter:
    """More connections than the host has descriptors, and none says anything."""
    return drip((target.tcp() for _ in range(600)), b"", itertools.repeat(b""))


def half_open(pipe, target: Target, cable: netns.Cable) -> Counter:
    """They vanish without a FIN, and nothing that the host sends is ever acknowledged."""
    swarm = Swarm()
    target.open(swarm, "/target", 200, sockets=cable.sockets(200))
    cable.cut()
    return target.codes_when(200)


def tiny_frames(pipe, target: Target) -> Counter:
    """A million messages in one write. All come back."""
    count = 1_000_000
    heard = Counter()

    def hear(member, payload):
        heard[payload.decode()] += 1

    swarm = Swarm(hear)
    target.open(swarm, "/target", 1)
    swarm.members[0].send(frame(TEXT, b"x") * count)
    swarm.run(lambda: heard.total() == count or swarm.gone, LIMIT_S)
    swarm.close()
    return heard


def reset_behind_much(pipe, target: Target) -> Counter:
    """Very many small messages and a reset right behind them, again and again."""
    flood = frame(TEXT, b"") * 1_000_000
    answers, end = Counter(), time.monotonic() + ATTACK_S
    while time.monotonic() < end:
        sockets = [target.connect("/target") for _ in range(4)]
        for sock in sockets:
            sock.setblocking(False)
        rest = dict.fromkeys(sockets, 0)
        stop = time.monotonic() + 0.2
        while time.monotonic() < stop:
            for sock in sockets:
                with suppress(BlockingIOError):
                    rest[sock] += sock.send(flood[rest[sock] :][:MIB])
                with suppress(BlockingIOError):
                    sock.recv(MIB)
        for sock in sockets:
            reset(sock)
            answers["connections"] += 1
    codes = target.codes_when(answers["connections"])
    return codes - Counter({"1006": answers["connections"] - 1})


def churn(pipe, target: Target) -> Counter:
    """They come and go in every way. Afterwards the host has as many descriptors open as before."""
    opened, end = 0, time.monotonic() + ATTACK_S
    ways = [
        lambda s: (s.sendall(text("x") + close(1000)), s.recv(100)),
        lambda s: s.shutdown(socket.SHUT_WR),
        lambda s: s.sendall(frame(BINARY, b"x" * 1000)[:500]),
        reset,
        lambda s: (s.sendall(text("x" * 1000)), reset(s)),
    ]
    codes = Counter()
    while time.monotonic() < end and opened < 10_000:
        for way in ways:
            with target.connect("/target") as sock:
                way(sock)
            opened += 1
        for request in (b"", b"GET /", upgrade_request("/target")[:-2]):
            with target.connect() as sock:
                sock.sendall(request)
                reset(sock)
    codes = target.codes_when(opened)
    return Counter({"1000": codes["1000"] * 5 // opened, "1006": codes["1006"] * 5 // opened})


def pipelined(pipe, target: Target) -> Counter:
    """10,000 requests in one write: half of the connections read what they get."""
    requests = b"GET /target HTTP/1.1\r\nHost: localhost\r\n\r\n" * 10_000
    answers = Counter()
    deaf = [target.connect() for _ in range(4)]
    for sock in deaf:
        sock.setblocking(False)
        with suppress(BlockingIOError):
            sock.send(requests)
    for _ in range(4):
        with target.connect() as sock:
            got = b""
            sock.setblocking(False)
            unsent = requests
            end = time.monotonic() + LIMIT_S
            while time.monotonic() < end:
                with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                    unsent = unsent[sock.send(unsent) :] if unsent else b""
                try:
                    data = sock.recv(65536)
                except BlockingIOError:
                    continue
                except ConnectionResetError:
                    data = b""
                if not data:
                    break
                got += data
            answers[got.count(b"HTTP/1.1 200 ")] += 1
    for sock in deaf:
        sock.close()
    return Counter({f"{count} answers": times for count, times in answers.items()})


ATTACKS = [
    Attack(slowloris, SLOW * SESSION, "a head of each", {"408": SLOW}, tls=SLOW * TLS_IDLE),
    Attack(slow_body, SLOW * SESSION, "what has come of each", {"408": SLOW}, tls=SLOW * TLS_IDLE),
    Attack(
        slow_read,
        READERS * (64 * KIB + FEED),
        "outbox_soft and a message of each",
        {"1013": READERS},
        tls=READERS * (TLS_IDLE + TLS_UNSENT),
    ),
    Attack(
        unread_answers,
        ANSWERS * ANSWER + 64 * MIB,
        "each answer, and script_memory",
        {"cut short": ANSWERS},
        tls=ANSWERS * (TLS_IDLE + TLS_UNSENT),
    ),
    Attack(fragment_flood, MIB, "one message", {"1008": ANY}),
    Attack(
        ping_flood,
        MIB,
        "a pong of each",
        {"1006": 4, "answered": 4},
        tls=8 * (TLS_IDLE + TLS_UNSENT),
    ),
    Attack(
        pings_behind_a_feed,
        8 * MIB,
        "20,000 frames, shared, with 64 bytes for each in two outboxes",
        {"1006": 2},
        {"outbox_soft": "256 KiB", "outbox_hard": "4 MiB"},
    ),
    Attack(
        keyed_feed,
        8 * MIB,
        "20,000 frames, with 192 bytes for each in two outboxes: the runs, and where each key is",
        {"1006": 2},
        {"outbox_soft": "256 KiB", "outbox_hard": "4 MiB"},
    ),
    Attack(oversized_length, MIB, "one message", {"1009": ANY}),
    Attack(
        promised_length,
        300 * 4 * KIB,
        "what has come of each",
        {"1006": 300},
        tls=300 * TLS_IDLE,
    ),
    Attack(bad_utf8_last, 3 * MESSAGE, "one message as it grows", {"1007": ANY}),
    Attack(
        connection_flood,
        200 * SESSION,
        "a connection a descriptor",
        {"408": ANY, "503": ANY},
        descriptors=200,
        tls=200 * (TLS_IDLE + TLS_PART),
        tls_expected={"end": 600},
    ),
    Attack(
        half_open,
        200 * 4 * KIB,
        "a connection each",
        {"1006": 200},
        {"ping_s": 0.5, "pong_s": 1},
        far=True,
        tls=200 * TLS_IDLE,
    ),
    Attack(tiny_frames, 2 * MIB, "an outbox", {"x": 1_000_000}),
    Attack(reset_behind_much, 8 * MIB, "an outbox of each", {"1006": 1}),
    Attack(churn, MIB, "a few connections", {"1000": 1, "1006": 4}),
    Attack(
        pipelined,
        8 * MIB,
        "an answer of each",
        {"1000 answers": 4},
        tls=8 * (TLS_IDLE + TLS_UNSENT),
    ),
]
