"""examples/: each folder served as it is, or with another perigee.lua, shows what it claims."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from urllib.parse import quote

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from support.host import ROOT
from wire import Client, head

EXAMPLES = ROOT / "examples"
FOLDERS = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
SERVED = [name for name in FOLDERS if list((EXAMPLES / name).glob("*.lua"))]
HEAR_S = 20


@pytest.fixture
def example(serve):
    """Serves a folder: example("feed", "return {...}" for its perigee.lua)."""

    def start(name: str, config: str | None = None):
        files = {
            str(path.relative_to(EXAMPLES / name)): path.read_bytes()
            for path in (EXAMPLES / name).rglob("*")
            if path.is_file()
        }
        if config is not None:
            files["perigee.lua"] = config
        return serve(files)

    return start


@pytest.fixture
def join():
    """join(host, path): somebody connected until the test ends."""
    with ExitStack() as sockets:
        yield lambda host, path, **options: Person(
            sockets.enter_context(connect(host.ws + path, **options))
        )


class Person:
    def __init__(self, socket):
        self.socket = socket

    def hear(self):
        return json.loads(self.socket.recv(HEAR_S))

    def hear_type(self, *types: str):
        """The next message of one of these types."""
        while (message := self.hear())["type"] not in types:
            pass
        return message

    def say(self, value) -> None:
        self.socket.send(json.dumps(value))


# All of them


@pytest.mark.parametrize("name", FOLDERS)
def test_it_explains_itself_and_is_listed(name):
    assert (EXAMPLES / name / "README.md").read_text().startswith(f"# {name}\n")
    assert f"[{name}]({name})" in (EXAMPLES / "README.md").read_text()


@pytest.mark.parametrize("name", SERVED)
def test_it_has_a_page_and_loads_without_a_word(example, name):
    host = example(name)
    page = host.get("/")
    assert page.status == 200 and page["content-type"].startswith("text/html")
    for link in re.findall(r'(?:href|src)="([^"#]+)"', page.body.decode()):
        answer = host.get("/" + link.lstrip("/"))
        assert answer.status in (200, 401), link
    assert host.complaints() == []
    assert not any("not loaded" in line for line in host.out)


@pytest.mark.parametrize("name", SERVED)
def test_check_has_nothing_to_say_about_it(run, name):
    status, out, err = run("check", str(EXAMPLES / name))
    assert (status, err) == (0, "") and "0 errors, 0 warnings" in out


@pytest.mark.parametrize("file", ["look.css", "icon.svg"])
def test_they_look_alike(file):
    looks = {(EXAMPLES / name / "public" / file).read_bytes() for name in SERVED}
    assert len(looks) == 1, f"change {file} in every example"


# broadcast


def test_broadcast_is_under_ten_lines():
    lines = (EXAMPLES / "broadcast/broadcast.lua").read_text().splitlines()
    assert len(lines) < 10


def test_broadcast_tells_everybody_who_comes_speaks_and_leaves(example, join):
    host = example("broadcast")
    ann = join(host, "/broadcast")
    me = ann.hear()["joined"]
    bo = join(host, "/broadcast")
    other = bo.hear()["joined"]
    assert ann.hear() == {"joined": other}
    ann.socket.send("<b>hello</b>")
    assert ann.hear() == bo.hear() == {"from": me, "text": "<b>hello</b>"}
    ann.socket.close()
    assert bo.hear() == {"left": me}


# echo


def test_echo_says_hello_and_gives_back(example, join):
    host = example("echo")
    somebody = join(host, "/echo")
    assert somebody.socket.recv(HEAR_S) == "Hello! Connected here: 1."
    for data in ("text", b"\x00\xff"):
        somebody.socket.send(data)
        assert somebody.socket.recv(HEAR_S) == data


# auction


def auction(**config) -> str:
    fields = ", ".join(f"{name} = {value}" for name, value in config.items())
    return "return { scripts = { auction = { " + fields + " } } }"


def bid_until_sold(person) -> list:
    """Bids 100 for each lot until one is sold. Answers what was heard of that one."""
    heard, number = [], 0
    while True:
        message = person.hear()
        heard.append(message)
        if message["type"] == "lot" and message["number"] != number:
            number, heard = message["number"], [message]
            person.say({"bid": 100})
        if message["type"] == "sold" and "name" in message:
            return heard


def test_auction_has_one_winner_however_many_bid_at_once(example, join):
    host = example("auction", auction(lot_s=4, last_s=2, pause_s=0.1))
    people = [join(host, f"/auction?name=bidder-{i}") for i in range(12)]
    assert [person.hear() for person in people] == [
        {"type": "welcome", "name": f"bidder-{i}"} for i in range(12)
    ]
    with ThreadPoolExecutor(len(people)) as threads:
        heard = list(threads.map(bid_until_sold, people))
    sold = heard[0][-1]
    assert sold["price"] == 100
    outbid = 0
    for messages in heard:
        assert messages[-1] == sold
        leaders = {m["name"] for m in messages if m["type"] == "lot" and m["price"] == 100}
        assert leaders <= {sold["name"]}
        refused = [m["text"] for m in messages if m["type"] == "refused"]
        outbid += refused == ["Bid 105 or more, up to 1000000."]
    assert outbid > 0
    won = [person.hear_type("won", "lot") for person in people]
    winners = [i for i, message in enumerate(won) if message["type"] == "won"]
    assert [f"bidder-{i}" for i in winners] == [sold["name"]]
    assert won[winners[0]]["price"] == 100


def test_auction_moves_the_end_for_a_late_bid_and_refuses_what_does_not_count(example, join):
    host = example("auction", auction(lot_s=3600, last_s=7200))
    ann, bo = join(host, "/auction?name=Ann"), join(host, "/auction?name=Bo")
    first = [person.hear_type("lot") for person in (ann, bo)][0]
    assert first["seconds"] <= 3600 and first["open"] and first["least"] == 5
    assert "name" not in first
    ann.say({"bid": 10})
    lot = ann.hear()
    assert lot == bo.hear() and lot["seconds"] > 3600
    assert (lot["price"], lot["name"], lot["least"]) == (10, "Ann", 15)
    ann.say({"bid": 20})
    assert ann.hear() == {"type": "refused", "text": "The highest bid is yours already."}
    bo.say({"bid": 14})
    assert bo.hear() == {"type": "refused", "text": "Bid 15 or more, up to 1000000."}
    bo.say({"bid": 15.5})
    assert bo.hear() == {"type": "refused", "text": "A bid is a whole number."}


def test_auction_slows_down_who_bids_too_fast(example, join):
    host = example("auction", auction(lot_s=3600))
    ann = join(host, "/auction")
    assert ann.hear()["name"] == "bidder 1"
    ann.hear_type("lot")
    orders = ["5", "[]", "not json", '{"bid":"x"}'] * 5
    for order in orders:
        ann.socket.send(order)
    answers = [ann.hear()["text"] for _ in orders]
    assert answers[:3] == ["A bid is a whole number."] * 3
    assert any(answer.startswith("Too fast: wait ") for answer in answers)


# feed


NO_DEMO = "return { scripts = { feed = { demo = 0 } } }"


def test_feed_shows_every_reading_and_who_is_gone(example, join):
    host = example("feed", NO_DEMO)
    screen = join(host, "/feed")
    assert screen.hear() == {"readings": {}}
    kitchen = join(host, "/feed/kitchen")
    kitchen.socket.send("21.5")
    assert screen.hear() == {"device": "kitchen", "value": 21.5}
    assert join(host, "/feed").hear() == {"readings": {"kitchen": 21.5}}
    kitchen.socket.close()
    assert screen.hear() == {"device": "kitchen", "value": None}
    assert join(host, "/feed").hear() == {"readings": {}}


def test_feed_takes_a_device_that_is_back_for_the_old_one(example, join):
    host = example("feed", NO_DEMO)
    screen = join(host, "/feed")
    screen.hear()
    old, new = join(host, "/feed/kitchen"), join(host, "/feed/kitchen")
    with pytest.raises(ConnectionClosed) as error:
        old.socket.recv(HEAR_S)
    assert error.value.rcvd.code == 4001
    new.socket.send("3")
    assert screen.hear() == {"device": "kitchen", "value": 3}  # and not that it is gone


@pytest.mark.parametrize(
    "path, data, code",
    [("/feed", "1", 4400), ("/feed/x", "one", 4400), ("/feed/x", "1e999", 4400)],
)
def test_feed_ends_with_who_sends_what_is_no_reading(example, join, path, data, code):
    host = example("feed", NO_DEMO)
    somebody = join(host, path)
    somebody.socket.send(data)
    with pytest.raises(ConnectionClosed) as error:
        while True:
            somebody.socket.recv(HEAR_S)
    assert error.value.rcvd.code == code


def test_feed_refuses_a_long_name(example):
    host = example("feed", NO_DEMO)
    with host.wire() as wire:
        assert Client.upgrade(wire, "/feed/" + "x" * 65).status == 400


def test_feed_gives_a_slow_screen_the_latest_and_says_what_it_missed(example, join):
    host = example("feed", NO_DEMO)
    with Client(host.port, receive_buffer=4096) as slow:
        slow.socket.settimeout(HEAR_S)
        assert slow.upgrade("/feed").status == 101
        devices = {name: join(host, f"/feed/{name}") for name in ("a", "b", "c")}
        sent = 0
        while host.count("a slow connection misses messages") == 0 or sent < 20_000:
            for _ in range(200):
                sent += 1
                for device in devices.values():
                    device.socket.send(str(sent))
            assert sent < 1_000_000, "never slow"
        for name, device in devices.items():
            device.socket.send({"a": "-1", "b": "-2", "c": "-3"}[name])
        for device in devices.values():  # all of it has come, while the screen still takes nothing
            assert device.socket.ping().wait(HEAR_S)

        last, frames, missed = {}, 0, 0
        while frames + missed < 3 * sent + 3:  # each is shown, or counted
            message = json.loads(slow.hear_text())
            missed += message.get("missed", 0)
            if "device" in message:
                frames += 1
                before = last.get(message["device"], 0)
                assert message["value"] < 0 or message["value"] > before  # never backwards
                last[message["device"]] = message["value"]
        assert frames + missed == 3 * sent + 3 and missed > 0
        assert last == {"a": -1, "b": -2, "c": -3}
    assert host.count("outbox_hard") == 0


def test_feed_has_a_demonstration(example, join):
    host = example("feed")
    screen = join(host, "/feed")
    screen.hear()
    heard = [screen.hear() for _ in range(200)]
    assert len({message["device"] for message in heard}) == 40


# lobby


def lobby(wait_s: float) -> str:
    return f"return {{ scripts = {{ lobby = {{ wait_s = {wait_s} }} }} }}"


def test_lobby_pairs_those_who_wait_for_the_same(example, join):
    host = example("lobby", lobby(3600))
    waits = {"type": "waiting", "seconds": 3600}
    ann, cy = join(host, "/lobby/chess?name=Ann"), join(host, "/lobby/go?name=Cy")
    assert ann.hear() == cy.hear() == waits
    bo = join(host, "/lobby/chess?name=Bo")
    assert ann.hear() == {"type": "paired", "with": "Bo"}
    assert bo.hear() == {"type": "paired", "with": "Ann"}
    ann.say({"text": "<i>hi</i>"})
    assert bo.hear() == {"type": "said", "text": "<i>hi</i>"}
    bo.say({"text": "x" * 501})
    bo.say({"again": True})
    bo.say({"text": "you"})
    assert ann.hear() == {"type": "said", "text": "you"}
    di = join(host, "/lobby/chess?name=Di")
    assert di.hear() == waits
    assert cy.socket.ping().wait(HEAR_S)

    # Who is left behind is paired with the one that waits.
    ann.socket.close()
    assert bo.hear() == {"type": "left"}
    assert bo.hear() == {"type": "paired", "with": "Di"}
    assert di.hear() == {"type": "paired", "with": "Bo"}
    di.socket.close()
    assert bo.hear() == {"type": "left"}
    assert bo.hear() == waits


def test_lobby_tells_who_waited_in_vain_and_lets_them_try_again(example, join):
    host = example("lobby", lobby(0.2))
    ann = join(host, "/lobby/chess?name=Ann")
    waits = {"type": "waiting", "seconds": 0.2}
    assert [ann.hear(), ann.hear()] == [waits, {"type": "nobody"}]
    ann.say({"again": True})
    assert [ann.hear(), ann.hear()] == [waits, {"type": "nobody"}]
    # Nobody is left in the queue for the next one to be paired with.
    bo = join(host, "/lobby/chess?name=Bo")
    assert [bo.hear(), bo.hear()] == [waits, {"type": "nobody"}]


def test_lobby_forgets_who_left_while_waiting(example, join):
    host = example("lobby", lobby(3600))
    ann = join(host, "/lobby/chess")
    ann.hear()
    ann.socket.close()
    bo = join(host, "/lobby/chess?name=%20")
    assert bo.hear() == {"type": "waiting", "seconds": 3600}
    cy = join(host, "/lobby/chess?name=" + quote("Ü" * 24))
    assert cy.hear() == {"type": "paired", "with": "somebody"}
    assert bo.hear() == {"type": "paired", "with": "Ü" * 24}


# webhook

BODY = b'{"text": "It <b>works</b>."}'
TOKEN = {"Authorization": "Bearer change-me"}


def post(host, body=BODY, **fields):
    with host.wire() as wire:
        return wire.request("/hook", "POST", body, **fields)


def test_webhook_brings_a_post_to_everybody_at_the_other_script(example, join):
    host = example("webhook")
    people = [join(host, "/news") for _ in range(3)]
    for person in people:
        assert person.socket.ping().wait(HEAR_S)
    answer = post(host, **TOKEN)
    assert (answer.status, json.loads(answer.body)) == (200, {"heard_by": 3})
    heard = [person.hear() for person in people]
    assert heard[0] == heard[1] == heard[2] and heard[0]["text"] == "It <b>works</b>."


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic change-me"},
    ],
)
def test_webhook_refuses_who_has_not_the_token(example, join, fields):
    host = example("webhook")
    person = join(host, "/news")
    answer = post(host, **fields)
    assert (answer.status, answer["www-authenticate"]) == (401, "Bearer")
    assert json.loads(post(host, **TOKEN).body) == {"heard_by": 1}
    assert person.hear()["text"] == "It <b>works</b>."  # the first that it hears


@pytest.mark.parametrize(
    "body, status", [(b"It works.", 400), (b'{"text": 5}', 400), (b'"' + b"x" * 9000 + b'"', 413)]
)
def test_webhook_refuses_what_it_does_not_understand(example, body, status):
    assert post(example("webhook"), body, **TOKEN).status == status


def test_webhook_takes_posts_only(example):
    answer = example("webhook").get("/hook", **TOKEN)
    assert (answer.status, answer["allow"]) == (405, "POST")


def test_webhook_without_a_token_stays_closed(example):
    host = example("webhook", "return {}")
    assert post(host, **TOKEN).status == 503
    host.wait_log("set scripts.hook.token in perigee.lua")


# auth

ANN = "token-of-ann"


@pytest.mark.parametrize(
    "path, fields",
    [
        (f"/members?token={ANN}", {}),
        ("/members", {"Authorization": f"Bearer {ANN}"}),
        ("/members?token=wrong", {"Authorization": f"Bearer {ANN}"}),
    ],
)
def test_auth_knows_members_by_header_or_query(example, join, path, fields):
    host = example("auth")
    ann = join(host, path, additional_headers=fields)
    assert ann.hear() == {"welcome": "Ann"}
    bo = join(host, "/members?token=token-of-bo")
    assert bo.hear() == {"welcome": "Bo"}
    assert ann.hear() == {"joined": "Bo"}
    bo.socket.send("hi")
    assert ann.hear() == {"from": "Bo", "text": "hi"}
    bo.socket.close()
    assert ann.hear() == {"left": "Bo"}


@pytest.mark.parametrize(
    "path, fields",
    [
        ("/members", {}),
        ("/members?token=", {}),
        ("/members?token=wrong", {}),
        (f"/members?token={ANN}x", {}),
        ("/members", {"Authorization": "Bearer wrong"}),
        (f"/members?token={ANN}", {"Authorization": "Bearer wrong"}),
    ],
)
def test_auth_refuses_everybody_else_with_a_page(example, path, fields):
    host = example("auth")
    with pytest.raises(InvalidStatus) as error, connect(host.ws + path, additional_headers=fields):
        pass
    refused = error.value.response
    plain = host.get(path, **fields)
    for status, challenge, kind, body in [
        (refused.status_code, refused.headers["www-authenticate"],
         refused.headers["content-type"], refused.body),
        (plain.status, plain["www-authenticate"], plain["content-type"], plain.body),
    ]:  # fmt: skip
        assert (status, kind) == (401, "text/html; charset=utf-8")
        assert challenge == 'Bearer realm="members"'
        assert b"<h2>Your token, please</h2>" in body


@pytest.mark.parametrize(
    "path",
    [
        "/members/",
        "/members/index.html",
        "/%6dembers/index.html",
        "//members/index.html",
        "/members//index.html",
        "/members/./index.html",
        "/members/../members/index.html",
    ],
)
def test_auth_has_no_other_way_to_the_page(example, path):
    host = example("auth")
    with host.wire() as wire:
        wire.send(head(path))
        answer = wire.answer()
        assert answer.status in (400, 401, 404)
        assert b"Welcome" not in answer.body
    shown = host.get(f"/members/?token={ANN}")
    assert shown.status == 200 and b"Welcome" in shown.body
