"""What the soak's clients do: generators over one client, all chance from its own `rng`. They yield
how long to wait in seconds, or None: until something comes."""

import struct

from client import Client

from support.peer import BINARY, TEXT, close, frame

ROOMS = ("a", "b", "shared", "drop", "latest")
OFFER = "permessage-deflate"
SIZES = (0, 1, 20, 125, 126, 1000, 5000, 65535, 65536, 262144)
WEIGHTS = (4, 4, 20, 4, 4, 20, 10, 2, 2, 1)
LETTERS = "".join(f"{i} naïve cafés, {i * i} ☾ moons; " for i in range(9000))
NOISE_BYTES = 1 << 20


class Chance:
    """Bytes to send, cut out of a lot of them."""

    noise = b""

    @classmethod
    def seed(cls, rng) -> None:
        cls.noise = rng.randbytes(NOISE_BYTES)

    @classmethod
    def message(cls, rng, most: int = 262144) -> tuple[bytes, int]:
        """To be sent back: payload and opcode; empty, or with = in front."""
        size = rng.choices(SIZES, WEIGHTS)[0]
        size = min(most, size if rng.random() < 0.5 else rng.randrange(size + 1))
        if size == 0:
            return b"", rng.choice((TEXT, BINARY))
        if rng.random() < 0.5:
            at = rng.randrange(NOISE_BYTES - size)
            return b"=" + cls.noise[at : at + size - 1], BINARY
        at = rng.randrange(1000)
        cut = LETTERS[at : at + size].encode()[: size - 1]
        return b"=" + cut.decode(errors="ignore").encode(), TEXT


# Steps --------------------------------------------------------------------------------------------


def asks(c: Client, *, wait: bool = True, **options):
    """Connects and asks for a WebSocket, of any kind. What it says at once comes right behind."""
    rng = c.rng
    if rng.random() < 0.6:
        c.offer = rng.choice(c.target.offers)
    query = ["rooms=" + "+".join(rng.sample(ROOMS, rng.randrange(len(ROOMS))))]
    for name, chance in (("wait", 0.1), ("slow", 0.1)):
        if rng.random() < chance:
            query.append(f"{name}={rng.randrange(50)}")
    c.connect(**options)
    request = c.request("?" + "&".join(query))
    at = rng.randrange(len(request)) if rng.random() < 0.1 else 0
    c.send(*(part for part in (request[:at], request[at:]) if part))
    while wait and c.head is None:
        yield None
    if wait and not c.open:
        c.fault(f"no 101 but {c.head[:40]!r}")
        c.rst()


def waits_for_the_end(c: Client):
    while True:
        yield None  # the loop ends it


def ends(c: Client):
    """In one of the ways there are."""
    rng = c.rng
    way = rng.choice(("close", "close", "close", "asked", "rst", "rst", "fin", "fin", "drop"))
    if way == "close":
        c.finish(rng.choice((1000, 1001, 3000, 4999, None)))
        if rng.random() < 0.1:
            c.send(frame(TEXT, b"=nobody hears this"))
    elif way == "asked":
        c.command("c", rng.choice((1000, 1008, 4000)))
        c.healthy = c.code is None
    elif way == "rst":
        c.rst()
    elif way == "drop":
        c.leave("ours")
    else:
        while c.unsent:
            yield 0.01
        c.fin(goodbye=rng.random() < 0.5)
    yield from waits_for_the_end(c)


def echo(c: Client) -> None:
    payload, opcode = Chance.message(c.rng)
    c.say(payload, opcode)


def several(c: Client) -> None:
    for _ in range(c.rng.randrange(2, 20)):
        c.say(*Chance.message(c.rng, 500))


def fragments(c: Client) -> None:
    payload, opcode = Chance.message(c.rng, 65536)
    between = c.ping() if c.rng.random() < 0.5 else b""
    c.say(payload, opcode, pieces=c.rng.randrange(2, 30), between=between)


def ping(c: Client) -> None:
    for _ in range(c.rng.randrange(1, 4)):
        c.send(c.ping())


def pong(c: Client) -> None:
    c.send(frame(10, b"unasked"))


def broadcasts(c: Client) -> None:
    size = c.rng.choice((0, 50, 500, 2000, 2000, 20000))
    words = ["b", c.rng.choice((*ROOMS, "all")), size]
    c.command(*words, *(["except"] if c.rng.random() < 0.3 else []))


def direct(c: Client) -> None:
    c.command("s", c.rng.choice((0, 100, 3000, 20000)))


def joins(c: Client) -> None:
    c.command(c.rng.choice("jl"), c.rng.choice(ROOMS))


def waits(c: Client) -> None:
    c.command("w", c.rng.randrange(40))
    several(c)


def timers(c: Client) -> None:
    c.command(c.rng.choice("tn"), c.rng.randrange(10, 80))


def raises(c: Client) -> None:
    c.command("!")


STEPS = {
    echo: 20, several: 8, fragments: 8, ping: 8, pong: 2, broadcasts: 12, direct: 6, joins: 10,
    waits: 5, timers: 5, raises: 1,
}  # fmt: skip


def does(c: Client, count: int):
    for _ in range(count):
        if c.swarm.closing or c.code is not None:
            break
        c.rng.choices(list(STEPS), STEPS.values())[0](c)
        yield c.rng.random() * 0.06


# Plans --------------------------------------------------------------------------------------------


def regular(c: Client):
    """Talks for a while."""
    yield from asks(c)
    yield from does(c, 2 + int(c.rng.expovariate(0.15)))
    yield from ends(c)


def brief(c: Client):
    """Comes and goes, sometimes before the answer."""
    whole = c.rng.random() < 0.7
    yield from asks(c, wait=whole)
    if whole:
        yield from does(c, c.rng.randrange(2))
        yield from ends(c)
    elif c.rng.random() < 0.3:
        c.fin(goodbye=False)
        yield from waits_for_the_end(c)
    else:
        yield c.rng.choice((0, 0.001, 0.01))
        c.rst()


def slow(c: Client):
    """Asks for more than it reads, and mostly reads it later."""
    yield from asks(c, receive_buffer=4096)
    c.pause(reading=False)
    for _ in range(c.rng.randrange(2, 12)):
        c.say(*Chance.message(c.rng))
        broadcasts(c)
        direct(c)
    yield c.rng.random() * 2.5
    if c.rng.random() < 0.3:
        c.rst()
    c.pause(reading=True)
    yield c.rng.random() * 0.1
    yield from ends(c)


def deaf(c: Client):
    """Answers no ping, and no Close frame with the end of the socket."""
    yield from asks(c)
    c.pongs = False
    yield from does(c, 3)
    if c.rng.random() < 0.5:
        c.command("c", 1000)
        c.pause(reading=False)
        yield 3.5
        c.pause(reading=True)
    yield from waits_for_the_end(c)


def rejected(c: Client):
    """Gets no WebSocket, for one reason or another, or gives up."""
    rng = c.rng
    c.asked = False
    way = rng.randrange(10)
    c.connect(tls=way != 9)
    request = {
        0: lambda: c.request(drop="Sec-WebSocket-Key"),
        1: lambda: c.request(drop="Upgrade"),
        2: lambda: c.request(path="/nowhere"),
        3: lambda: c.request("?reject=403&wait=5"),
        4: lambda: c.request("?reject=503"),
        5: lambda: c.request(fields="Origin: https://elsewhere.example\r\n"),
        6: lambda: c.request(fields=f"X-Long: {'x' * 9000}\r\n"),
        7: lambda: c.request().replace(b"GET", b"POST", 1),
        8: lambda: c.request()[: rng.randrange(100)],
        9: lambda: rng.randbytes(rng.randrange(1, 400)) + b"\r\n\r\n",
    }[way]()
    c.send(request)
    if way < 8:
        while c.head is None:
            yield None
        if c.open:
            c.fault("it got a 101")
        if c.head.startswith(b"HTTP/1.1 4") and rng.random() < 0.5 and way in (0, 2, 3):
            c.head = None
            c.send(c.request("?reject=401"))  # on the same connection, if it is still there
            yield 0.1
    else:
        yield rng.random() * 0.1
    if rng.random() < 0.5:
        c.rst()
    c.fin(goodbye=True)
    yield 0.5
    c.leave("ours")


def raising(c: Client):
    """Its `open` raises."""
    c.connect()
    c.send(c.request("?raise=yes&rooms=a"))
    yield from waits_for_the_end(c)


RUBBISH = (
    lambda rng: frame(TEXT, b"=not masked", mask=False),
    lambda rng: frame(3, b"no such opcode"),
    lambda rng: frame(11, b"no such control frame"),
    lambda rng: frame(TEXT, b"=reserved", first=0xA1),
    lambda rng: frame(TEXT, b"\xff\xfe\xfd"),
    lambda rng: frame(9, b"x", first=0x09),
    lambda rng: b"\x89\xfe\x00\x80" + rng.randbytes(132),
    lambda rng: frame(0, b"of nothing"),
    lambda rng: frame(TEXT, b"=first", first=1) + frame(TEXT, b"=second"),
    lambda rng: b"\x82\xff" + struct.pack(">Q", 1 << 62) + b"mask",
    lambda rng: b"\x82\xff" + struct.pack(">Q", 5 << 20) + b"mask",
    lambda rng: close(1005),
    lambda rng: frame(8, b"\x03"),
    lambda rng: frame(TEXT, rng.randbytes(200), first=0xC1),
    lambda rng: rng.randbytes(rng.randrange(2, 300)),
)


def rubbish(c: Client):
    """Talks a little, then breaks the protocol, and ends."""
    yield from asks(c)
    yield from does(c, 2)
    c.sane = False
    c.send(c.rng.choice(RUBBISH)(c.rng))
    yield c.rng.random() * 0.3
    if c.rng.random() < 0.5:
        c.rst()
    c.fin(goodbye=False)
    yield 1
    c.leave("ours")


def stays(c: Client):
    """Is there when the host stops."""
    c.connect()
    c.send(c.request("?rooms=a+b"))
    yield from waits_for_the_end(c)


QUICK = {brief: 60, regular: 20, rejected: 12, rubbish: 6, raising: 1}
ALL = QUICK | {slow: 1, deaf: 0.5}
