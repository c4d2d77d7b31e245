"""permessage-deflate as clients see it: what is agreed on, both ways with and without contexts,
with Python's websockets and with zlib alone, and what hostile peers may try."""

import json
import zlib

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect

from deflated import FIELD, PMD, RSV1, Deflated
from support.browser import PAGE_S, Browser
from wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Client, frame

ECHO = """
return {
  message = function(conn, data, kind)
    conn:send(data, kind)
  end,
}
"""

ROOM = """
local ws = require "ws"
return {
  open = function(conn) conn:join("r") end,
  message = function(conn, text)
    if text == "burst" then
      for i = 1, 20 do
        ws.room("r"):broadcast(("%d "):format(i) .. ("word "):rep(i * 40))
        if i % 5 == 0 then conn:send("to you " .. ("x"):rep(i * 100)) end
      end
    else
      ws.room("r"):broadcast(text)
    end
  end,
}
"""


def burst() -> list[str]:
    """What who said it hears."""
    heard = []
    for i in range(1, 21):
        heard.append(f"{i} " + "word " * (i * 40))
        if i % 5 == 0:
            heard.append("to you " + "x" * (i * 100))
    return heard


@pytest.mark.parametrize(
    "limits, offer, answer",
    [
        ([], PMD, f"{PMD}; server_no_context_takeover; client_no_context_takeover"),
        ([], None, None),
        ([], "x-other", None),
        ([], f"{PMD}; server_max_window_bits=8", None),
        (
            [],
            f"{PMD}; bad=1, {PMD}; server_max_window_bits=10; client_max_window_bits",
            f"{PMD}; server_no_context_takeover; client_no_context_takeover;"
            " server_max_window_bits=10",
        ),
        (["deflate=off"], PMD, None),
        (["deflate_memory=10 KiB"], PMD, None),
        (["deflate_takeover=on"], PMD, PMD),
        (
            ["deflate_takeover=on", "deflate_window=9"],
            f"{PMD}; client_max_window_bits; server_max_window_bits=15",
            f"{PMD}; server_max_window_bits=9; client_max_window_bits=9",
        ),
    ],
)
def test_offers_and_answers(serve, limits, offer, answer):
    host = serve({"index.lua": ECHO}, *(f"--limit={limit}" for limit in limits))
    with Client(host.port) as client:
        got = client.upgrade("/", **{FIELD: offer})
        assert got.status == 101
        assert got[FIELD.lower()] == answer
        client.text("x" * 2000)
        first, _ = client.take(2)
        assert bool(first & RSV1) == (answer is not None)


def test_where_the_budget_has_no_room_for_contexts_none_are_kept(serve):
    limits = ("--limit=deflate_takeover=on", "--limit=deflate_memory=50 KiB")
    with Deflated(serve({"index.lua": ECHO}, *limits).port) as client:
        assert not client.keeps and not client.host_keeps
        client.say("x" * 2000)
        assert client.hear_text() == "x" * 2000
        assert client.packed == []  # 10 KiB are left


def test_a_malformed_field_is_400(serve):
    host = serve({"index.lua": ECHO})
    with Client(host.port) as client:
        answer = client.upgrade("/", **{FIELD: f"{PMD};"})
        assert answer.status == 400
        assert FIELD.encode() in answer.body


def test_limits_take_booleans_in_files(serve):
    host = serve({"index.lua": ECHO, "perigee.lua": "return {limits = {deflate = false}}"})
    with Client(host.port) as client:
        assert client.upgrade("/", **{FIELD: PMD})[FIELD.lower()] is None


WAYS = [
    ("off", PMD),
    ("off", f"{PMD}; server_max_window_bits=9"),
    ("on", PMD),
    ("on", f"{PMD}; client_max_window_bits; server_max_window_bits=10"),
    ("on", f"{PMD}; client_max_window_bits=9; server_no_context_takeover"),
    ("on", f"{PMD}; client_no_context_takeover"),
    ("on", f"{PMD}; client_max_window_bits=8; server_max_window_bits=15"),
]


@pytest.mark.parametrize("takeover, offer", WAYS)
def test_messages_of_all_sizes_come_back_in_any_fragments(serve, takeover, offer):
    host = serve({"index.lua": ECHO}, f"--limit=deflate_takeover={takeover}")
    words = json.dumps([{"n": n, "text": f"row {n * n}"} for n in range(40_000)])[: 1 << 20]
    assert len(words) == 1 << 20
    with Deflated(host.port, offer=offer) as client:
        assert client.answer_field.startswith(PMD)
        for size in (0, 1, 125, 126, 1023, 1024, 5000, 65_535, 65_536, 200_000, 1 << 20):
            for pieces in (1, 2, 7):
                client.say(words[:size], pieces)
                client.send(frame(PING, "p"))
                assert client.hear() == (TEXT, words[:size].encode())
                assert client.hear() == (PONG, b"p")
        assert len(client.packed) == 3 * 6  # from deflate_min on
        client.say(bytes(range(256)) * 40)
        assert client.hear() == (BINARY, bytes(range(256)) * 40)
        client.text("plain")  # a client need not compress
        assert client.hear_text() == "plain"


def test_byte_by_byte_it_is_the_same(serve):
    host = serve({"index.lua": ECHO}, "--limit=deflate_takeover=on", "--limit=deflate_min=10")
    with Deflated(host.port) as client:
        for _ in range(2):
            client.trickle(frame(RSV1 | TEXT, client.pack(b"and again and again and again")))
            assert client.hear() == (TEXT, b"and again and again and again")


@pytest.mark.parametrize("takeover", ["on", "off"])
def test_a_context_is_kept_or_not(serve, takeover):
    host = serve({"index.lua": ECHO}, f"--limit=deflate_takeover={takeover}")
    text = json.dumps({f"key {n}": n * n for n in range(100)})
    with Deflated(host.port) as client:
        for _ in range(3):
            client.say(text)
            assert client.hear_text() == text
        first, second, third = client.packed
        if takeover == "on":
            assert second < first / 4 and third < first / 4
        else:
            assert first == second == third


@pytest.mark.parametrize("takeover", ["on", "off"])
@pytest.mark.parametrize(
    "options",
    [
        None,
        {},
        {"server_no_context_takeover": True, "client_no_context_takeover": True},
        {"server_max_window_bits": 9, "client_max_window_bits": 9},
        {"server_max_window_bits": 15, "client_max_window_bits": 10},
    ],
)
def test_pythons_websockets(serve, takeover, options):
    host = serve({"index.lua": ECHO}, f"--limit=deflate_takeover={takeover}")
    extensions = options if options is None else [ClientPerMessageDeflateFactory(**options)]
    with connect(
        f"ws://127.0.0.1:{host.port}/",
        compression="deflate" if extensions is None else None,
        extensions=extensions,
        max_size=None,
        proxy=None,
    ) as client:
        assert [extension.name for extension in client.protocol.extensions] == [PMD]
        for size in (0, 10, 5000, 1_000_000):
            for _ in range(3):
                client.send("héllo wörld, "[: size % 13] + "ab" * (size // 2))
                assert len(client.recv()) == size % 13 + size // 2 * 2
        client.send(["many ", "pieces ", "of ", "text " * 1000])
        assert client.recv() == "many pieces of " + "text " * 1000
        client.send(b"\x00\xff" * 5000)
        assert client.recv() == b"\x00\xff" * 5000


ECHO_IN_PAGE = """
const done = arguments[arguments.length - 1];
const sent = [0, 1, 1000, 5000, 1 << 20].flatMap((n) => ["line ".repeat(n / 5), "é".repeat(n / 2)]);
const heard = [];
const ws = new WebSocket("ws://" + location.host + "/echo");
ws.onopen = () => sent.forEach((text) => ws.send(text));
ws.onclose = (event) => done("closed: " + event.code);
ws.onmessage = (event) => {
  heard.push(event.data);
  if (heard.length === sent.length) {
    ws.onclose = null;
    ws.close();
    done([ws.extensions, heard.every((text, i) => text === sent[i])]);
  }
};
"""


def test_chromium(serve):
    with Browser() as browser:
        browser.driver.set_script_timeout(PAGE_S)
        for takeover, agreed in (
            ("off", f"{PMD}; server_no_context_takeover; client_no_context_takeover"),
            ("on", f"{PMD}; client_max_window_bits=12"),
        ):
            files = {"echo.lua": ECHO, "public/index.html": "<!doctype html><title>echo</title>"}
            host = serve(files, f"--limit=deflate_takeover={takeover}")
            browser.driver.get(host.http)
            assert browser.driver.execute_async_script(ECHO_IN_PAGE) == [agreed, True]


def test_a_broadcast_reaches_members_of_all_kinds_in_one_order(serve):
    host = serve({"index.lua": ROOM}, "--limit=deflate_takeover=on", "--limit=deflate_min=500")
    members = [
        Deflated(host.port, offer=offer)
        for offer in (
            None,
            PMD,
            PMD,
            f"{PMD}; server_no_context_takeover",
            f"{PMD}; server_no_context_takeover; server_max_window_bits=9",
        )
    ]
    for speaker, member in enumerate(members):
        member.text("burst")
        for i, hearer in enumerate(members):
            heard = [m for m in burst() if i == speaker or not m.startswith("to you")]
            assert [hearer.hear_text() for _ in heard] == heard
    assert members[0].packed == []
    assert all(len(member.packed) > 5 * 15 for member in members[1:])
    for member in members:
        member.socket.close()


def test_an_upgrade_that_waits_agrees_too(serve):
    script = """
    local ws = require "ws"
    return {
      upgrade = function()
        ws.sleep(0.05)
        return {headers = {["Sec-WebSocket-Extensions"] = "x"}}
      end,
      message = function(conn, text) conn:send(text) end,
    }
    """
    host = serve({"index.lua": script}, "--limit=deflate_takeover=on")
    with Deflated(host.port) as client:
        assert client.answer_field == PMD
        client.say("x" * 3000)
        assert client.hear_text() == "x" * 3000
        assert len(client.packed) == 1


# Hostile peers.


def bomb(size: int) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (deflater.compress(b"0" * size) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize("takeover", ["on", "off"])
def test_a_bomb_is_1009(serve, takeover):
    host = serve({"index.lua": ECHO}, f"--limit=deflate_takeover={takeover}")
    with Deflated(host.port) as client:
        client.send(frame(RSV1 | TEXT, bomb(1 << 20)))
        assert client.hear_text() == "0" * (1 << 20)
    with Deflated(host.port) as client:
        client.send(frame(RSV1 | TEXT, bomb((1 << 20) + 1)))
        assert client.hear_close()[0] == 1009
    with Deflated(host.port) as client:
        client.send(frame(RSV1 | TEXT, bomb(300 << 20)))  # 300 KiB
        assert client.hear_close() == (1009, "message too big (message_bytes)")
    host.wait_log("message_bytes", 2)


@pytest.mark.parametrize("takeover", ["on", "off"])
@pytest.mark.parametrize(
    "data, code",
    [
        (frame(RSV1 | PING, b"x"), 1002),
        (frame(RSV1 | CLOSE, b"\x03\xe8"), 1002),
        (frame(0x20 | TEXT, b"x"), 1002),
        (frame(RSV1 | TEXT, b"\xf2\x48", fin=False) + frame(RSV1 | CONTINUATION, b"x"), 1002),
        (frame(RSV1 | TEXT, b"Hello"), 1007),
        (frame(RSV1 | BINARY, b"\x06"), 1007),
        (frame(RSV1 | TEXT, b"\xf2\x48\xcd"), 1007),
        (frame(RSV1 | TEXT, b"\x00\x02\x00\xfd\xff\xff\xfe\x00"), 1007),  # no UTF-8
    ],
)
def test_what_is_wrong_has_its_code_and_harms_nobody_else(serve, takeover, data, code):
    host = serve({"index.lua": ECHO}, f"--limit=deflate_takeover={takeover}")
    with Deflated(host.port) as good:
        with Deflated(host.port) as bad:
            bad.send(data)
            assert bad.hear_close()[0] == code
        good.say("still here" * 200)
        assert good.hear_text() == "still here" * 200


def test_compressed_without_having_agreed_is_1002(serve):
    host = serve({"index.lua": ECHO})
    with Deflated(host.port, offer=None) as client:
        client.send(frame(RSV1 | TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00"))
        assert client.hear_close() == (1002, "reserved bit set")


def test_slow_senders_do_not_mix_with_others(serve):
    """Half of a message waits while others use the same decompressor."""
    host = serve({"index.lua": ECHO})
    with Deflated(host.port) as slow, Deflated(host.port) as quick:
        text = "a slow message " * 300
        data = frame(RSV1 | TEXT, slow.pack(text.encode()))
        slow.send(data[:20])
        for _ in range(5):
            quick.say("a quick message " * 300)
            assert quick.hear_text() == "a quick message " * 300
        slow.send(data[20:])
        assert slow.hear_text() == text


def test_contexts_that_the_budget_has_no_room_for_are_named_in_the_log(serve):
    host = serve(
        {"index.lua": ECHO}, "--limit=deflate_takeover=on", "--limit=deflate_memory=256 KiB"
    )
    clients = [Deflated(host.port, offer=f"{PMD}; client_max_window_bits=9") for _ in range(30)]
    kept = sum(client.host_keeps for client in clients)
    assert 0 < kept < 30
    host.wait(lambda: host.count("limit=deflate_memory") > 0)
    for number, client in enumerate(clients):
        client.say(f"{number} " * 1000)
        assert client.hear_text() == f"{number} " * 1000
        client.socket.close()
