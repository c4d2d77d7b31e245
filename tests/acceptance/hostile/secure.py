"""Attacks on TLS and on compression. Each answers a Counter of what it got."""

import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

from peers import (
    ANY,
    ATTACK_S,
    KIB,
    LIMIT_S,
    MESSAGE,
    MIB,
    NAME,
    OFFER,
    RSV1,
    TLS_IDLE,
    Attack,
    Target,
    deflate,
    deflated,
    drip,
    repeat,
    reset,
    unmasked,
)

from support.peer import TEXT, close, frame
from support.records import CLIENT_HELLO, HANDSHAKE, Records
from support.swarm import Swarm, upgrade_request

SLOW = 400
TLS_SHAKING = 48 * KIB  # a handshake that is under way: its messages, and keys that were exchanged


def hello(target: Target) -> bytes:
    """What opens a handshake."""
    outgoing = ssl.MemoryBIO()
    tls = target.context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=NAME)
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


# Handshakes


def slow_handshakes(pipe, target: Target) -> Counter:
    """A byte of it each 50 ms."""

    def pieces() -> Iterator[bytes]:
        opening = hello(target)
        for i in range(len(opening)):
            yield opening[i : i + 1]

    return drip((target.tcp() for _ in range(SLOW)), b"", pieces())


def held_handshakes(pipe, target: Target) -> Counter:
    """They have the host sign, take what it says, and say nothing more."""
    opening = hello(target)
    held = []
    for _ in range(SLOW):
        sock = target.tcp()
        sock.sendall(opening)
        assert sock.recv(1) == b"\x16", "no handshake came back"
        held.append(sock)
    answers = Counter()
    for sock in held:
        with suppress(ConnectionResetError):
            while sock.recv(65536):
                pass
        answers["end"] += 1
    return answers


def abandoned_handshakes(pipe, target: Target) -> Counter:
    """The host has signed, and they are gone."""
    opening = hello(target)
    answers, end = Counter(), time.monotonic() + ATTACK_S
    while time.monotonic() < end:
        sockets = [target.tcp() for _ in range(8)]
        for sock in sockets:
            sock.sendall(opening)
        for sock in sockets:
            assert sock.recv(1) == b"\x16", "no handshake came back"
            reset(sock)
            answers["signed"] += 1
    return answers


def handshakes_for_nothing(pipe, target: Target) -> Counter:
    """Whole ones, of connections that ask for nothing."""
    answers, end = Counter(), time.monotonic() + ATTACK_S
    while time.monotonic() < end:
        target.connect().close()
        answers["done"] += 1
    return answers


# Floods of records


def talking(target: Target, version: ssl.TLSVersion) -> Records:
    """A WebSocket whose records are ours to make."""
    each = Records(target.tcp(), target.authority.context(), version)
    each.socket.sendall(each.seal(upgrade_request("/target")))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = each.hear()
        assert data, "no 101 has come"
        head += data
    return each


def flood(target: Target, version: ssl.TLSVersion, record: Callable[[Records], bytes]) -> Counter:
    """Sends very many such records on four connections at once, and then on four others."""
    answers, end = Counter(), time.monotonic() + ATTACK_S
    while time.monotonic() < end:
        flooding = [talking(target, version) for _ in range(4)]
        bursts = [b"".join(record(each) for _ in range(2000)) for each in flooding]
        for each, burst in zip(flooding, bursts, strict=True):
            with suppress(OSError):
                each.socket.sendall(burst)
        for each in flooding:
            with suppress(OSError):
                while each.socket.recv(65536):
                    pass
            each.socket.close()
            answers["cut off"] += 1
    codes = target.codes_when(answers["cut off"])
    return answers + Counter(dict.fromkeys(codes, 1))


def renegotiations(pipe, target: Target) -> Counter:
    return flood(target, ssl.TLSVersion.TLSv1_2, lambda each: each.seal(CLIENT_HELLO, HANDSHAKE))


def key_updates(pipe, target: Target) -> Counter:
    """Each asks for one back."""
    return flood(target, ssl.TLSVersion.TLSv1_3, Records.key_update)


def empty_records(pipe, target: Target) -> Counter:
    """Nothing, encrypted, again and again."""
    return flood(target, ssl.TLSVersion.TLSv1_3, lambda each: each.seal(b""))


def records_of_a_byte(pipe, target: Target) -> Counter:
    """Messages of which each byte comes in a record of its own."""
    heard, said = 0, 0
    each = talking(target, ssl.TLSVersion.TLSv1_3)
    message = frame(TEXT, b"x" * 100)
    end = time.monotonic() + ATTACK_S
    while time.monotonic() < end:
        each.socket.sendall(b"".join(each.seal(message[i : i + 1]) for i in range(len(message))))
        said += 100
        while heard < said:
            data = each.hear()
            assert data, "an end"
            heard += data.count(b"x")
    each.socket.sendall(each.seal(close(1000)))
    return Counter({"all back": heard == said})


# Compression


def bombs(pipe, target: Target) -> Counter:
    """In series, from 8 at once: 64 MiB in 64 KiB each."""
    return repeat(target, deflated(TEXT, bytes(64 * MIB)), at_once=8)


def bombs_in_fragments(pipe, target: Target) -> Counter:
    """A context of their own is inflated piece by piece."""
    return repeat(target, endless(deflate(bytes(64 * MIB)), 1000), at_once=8)


def endless(data: bytes, size: int) -> bytes:
    """A compressed message in frames of so many bytes, of which none is its last."""
    parts = [data[i : i + size] for i in range(0, len(data), size)]
    return b"".join(
        frame(0, part, first=0x00 if i else RSV1 | TEXT) for i, part in enumerate(parts)
    )


def compressed_fragments(pipe, target: Target) -> Counter:
    """A message that never ends, a byte a frame, of a stored block of 64 KiB."""
    block = b"\x00\xff\xff\x00\x00" + b"x" * 1020
    return repeat(target, endless(block, 1))


def echoes(target: Target, members: int, burst: bytes, count: int) -> Counter:
    """Each of so many members sends count messages at a time, as soon as the last are back."""
    heard = Counter()

    def hear(member, payload):
        heard[member] += 1

    swarm = Swarm(hear)
    target.open(swarm, "/target", members)
    sent = Counter()
    end = time.monotonic() + ATTACK_S
    while time.monotonic() < end:
        for member in swarm.members:
            if heard[member] == sent[member]:
                sent[member] += count
                member.send(burst)
        swarm.turn(0.001)
    swarm.run(lambda: heard == sent or swarm.gone, LIMIT_S)
    swarm.close()
    return Counter({"all back" if heard == sent else "lost": 1})


def messages_from_nothing(pipe, target: Target) -> Counter:
    """1 MiB of text in 1 KiB, which the script sends back: inflated, and deflated again."""
    return echoes(target, 1, deflated(TEXT, b"0" * MESSAGE) * 20, 20)


def blocks_of_nothing(pipe, target: Target) -> Counter:
    """1 MiB of empty blocks, which holds an empty message."""
    blocks = b"\x00\x00\x00\xff\xff" * (MIB // 5) + b"\x00"
    return echoes(target, 4, unmasked(0x80 | RSV1 | TEXT, blocks), 1)


def tiny_compressed_frames(pipe, target: Target) -> Counter:
    """A million in one write. All come back."""
    count = 1_000_000
    heard = Counter()

    def hear(member, payload):
        heard[payload.decode()] += 1

    swarm = Swarm(hear)
    target.open(swarm, "/target", 1)
    swarm.members[0].send(deflated(TEXT, b"x") * count)
    swarm.run(lambda: heard.total() == count or swarm.gone, LIMIT_S)
    swarm.close()
    return heard


GRABBERS, BUDGET = 600, 8 * MIB


def grabbed_contexts(pipe, target: Target) -> Counter:
    """The largest contexts, of as many connections as it takes; all are used, and then some who are
    late must be served all the same."""
    back = Counter()

    def hear(member, payload):
        back[member] += 1

    swarm = Swarm(hear)
    target.open(swarm, "/target", GRABBERS, offer=OFFER)
    contexts = sum(b"client_no_context_takeover" not in m.head for m in swarm.members)
    message = deflated(TEXT, b"0123456789 abcdef" * 200)
    for member in swarm.members:
        member.send(message)
    swarm.run(lambda: back.total() == GRABBERS or swarm.gone, LIMIT_S)
    late = swarm.members[-1].head
    answers = Counter(
        {
            "with a context": contexts,
            "without": GRABBERS - contexts,
            "echoes": back.total(),
            "the last one shares": int(b"no_context_takeover" in late),
        }
    )
    swarm.close()
    return answers


ATTACKS = [
    Attack(slow_handshakes, SLOW * TLS_SHAKING, "a handshake each", {"end": SLOW}),
    Attack(held_handshakes, SLOW * TLS_SHAKING, "a handshake each", {"end": SLOW}),
    Attack(abandoned_handshakes, MIB, "a few handshakes", {"signed": ANY}),
    Attack(handshakes_for_nothing, MIB, "a few connections", {"done": ANY}),
    Attack(renegotiations, MIB, "a few connections", {"cut off": ANY, "1006": 1}),
    Attack(key_updates, MIB, "a few connections", {"cut off": ANY, "1006": 1}),
    Attack(empty_records, MIB, "a few connections", {"cut off": ANY, "1006": 1}),
    Attack(records_of_a_byte, MIB, "a connection", {"all back": 1}),
    Attack(bombs, 8 * 2 * MESSAGE, "a message of each, as it grows", {"1009": ANY}),
    Attack(
        bombs_in_fragments,
        8 * 2 * MESSAGE,
        "a message of each, as it grows",
        {"1009": ANY},
        {"deflate_takeover": "on"},
    ),
    Attack(compressed_fragments, MIB, "a message", {"1008": ANY}, {"deflate_takeover": "on"}),
    Attack(
        messages_from_nothing,
        64 * MIB + 2 * MESSAGE,
        "script_memory, and a message as it grows",
        {"all back": 1},
    ),
    Attack(blocks_of_nothing, 4 * 2 * MESSAGE, "a message of each, as it grows", {"all back": 1}),
    Attack(tiny_compressed_frames, 2 * MIB, "an outbox", {"x": 1_000_000}),
    Attack(
        grabbed_contexts,
        BUDGET + GRABBERS * (TLS_IDLE + 2 * KIB),
        "deflate_memory, and a connection each",
        {"with a context": ANY, "without": ANY, "echoes": GRABBERS, "the last one shares": 1},
        {"deflate_takeover": "on", "deflate_memory": BUDGET},
    ),
]
