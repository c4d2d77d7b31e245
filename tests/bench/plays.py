"""What a host is asked for where it is to be the same each time: to count its instructions
(tests/bench/instructions), and to train a release (tools/train)."""

import json
import random
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "e2e")]

from deflated import RSV1, Deflated  # noqa: E402
from support.host import SCRIPTS, Failed  # noqa: E402
from wire import TEXT, Client, close_frame, frame  # noqa: E402

# The host must not end it.
LIMITS: dict[str, int | str] = {"keepalive_requests": 1_000_000}
MEMBERS = 100
# Between what the host takes in one turn or in two, as it happens, so that mostly it is in two.
APART_S = 0.002
# As long as what a browser says of itself.
BROWSER = {
    "User_Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/140.0.0.0 Safari/537.36",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
    "Accept_Encoding": "gzip, deflate, br, zstd",
    "Accept_Language": "en-GB,en;q=0.9,de;q=0.8,fr;q=0.7",
    "Cache_Control": "no-cache",
    "Pragma": "no-cache",
    "Cookie": "session=0123456789abcdef0123456789abcdef; theme=dark; seen=4711",
    "Sec_Fetch_Dest": "empty",
    "Sec_Fetch_Mode": "websocket",
    "Sec_Fetch_Site": "same-origin",
}


def text_of(size: int, words: str = "one two three four five six seven eight nine ten") -> str:
    """So many bytes of these words, the same ones at each call."""
    rng, some = random.Random(size), words.split()
    text = "".join(f"{rng.choice(some)} " for _ in range(size)).encode()[:size]
    whole = text.decode(errors="ignore")
    return whole + "." * (size - len(whole.encode()))


SMALL, FILE = text_of(64), text_of(1 << 10)
LARGE = text_of(16 << 10)
LARGE_NOT_ASCII = text_of(16 << 10, "eins zwei fünf zwölf один два 三 四 🂡")


def make_folder(path: Path) -> Path:
    """What the host serves: two scripts that ship, one more, and a file."""
    (path / "public").mkdir(parents=True)
    for script in (SCRIPTS / "echo.lua", SCRIPTS / "ws.lua", HERE / "scripts/orders.lua"):
        shutil.copy(script, path)
    (path / "public/small.txt").write_text(FILE)
    return path


def expect(holds: object, what: str) -> None:
    if not holds:
        raise Failed(what)


def opened(client: Client, path: str, **fields: str) -> None:
    answer = client.upgrade(path, **fields)
    expect(answer.status == 101, f"{path}: {answer}")


def hear(client: Client, wanted: bytes) -> None:
    expect(client.take(len(wanted)) == wanted, "something else came back")


Play = Callable[[int, int], None]  # a port, and how many of what it counts


def echo(text: str, at_once: int) -> Play:
    def play(port: int, n: int) -> None:
        with Client(port) as client:
            opened(client, "/echo")
            asked = frame(TEXT, text) * at_once
            wanted = frame(TEXT, text, mask=False) * at_once
            for _ in range(n // at_once):
                client.send(asked)
                hear(client, wanted)

    return play


def deflated(text: str) -> Play:
    def play(port: int, n: int) -> None:
        with Deflated(port, "/echo") as client:
            # With no context kept, each one is the same.
            expect(not client.keeps and not client.host_keeps, "a context is kept")
            asked = frame(RSV1 | TEXT, client.pack(text.encode()))
            for _ in range(n):
                client.send(asked)
                expect(client.hear() == (TEXT, text.encode()), "something else came back")
            expect(len(client.packed) == n, "the answers are not compressed")

    return play


def broadcast(text: str, at_once: int) -> Play:
    def play(port: int, n: int) -> None:
        with ExitStack() as stack:
            members = [stack.enter_context(Client(port)) for _ in range(MEMBERS)]
            for member in members:
                opened(member, "/ws")
            asked = frame(TEXT, text) * at_once
            wanted = frame(TEXT, text, mask=False) * at_once
            for _ in range(n // MEMBERS // at_once):
                members[0].send(asked)
                for member in members:
                    hear(member, wanted)

    return play


def lives(text: str) -> Play:
    def play(port: int, n: int) -> None:
        asked, wanted = frame(TEXT, text), frame(TEXT, text, mask=False)
        for _ in range(n):
            with Client(port) as client:
                time.sleep(APART_S)
                opened(client, "/echo", **BROWSER)
                client.send(asked)
                hear(client, wanted)
                client.send(close_frame(1000))
                expect(client.hear_close() == (1000, ""), "it is closed in another way")
                expect(not client.more(), "there is more after its Close frame")
            time.sleep(APART_S)

    return play


def files(port: int, n: int) -> None:
    with Client(port) as client:
        for _ in range(n):
            answer = client.request("/small.txt", **BROWSER)
            expect(answer.status == 200 and answer.body == FILE.encode(), f"{answer}")


def orders(port: int, n: int) -> None:
    asked = frame(TEXT, json.dumps({"id": 17, "item": "a small table", "pieces": 3, "now": True}))
    with Client(port) as client:
        opened(client, "/orders")
        for i in range(1, n + 1):
            client.send(asked)
            wanted = {"id": 17, "item": "a small table", "orders": i, "pieces": 3 * i % 1000}
            expect(json.loads(client.hear_text()) == wanted, "something else came back")
