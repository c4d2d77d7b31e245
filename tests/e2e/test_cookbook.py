"""docs/cookbook.md: each script on the page is served as it stands there, and real clients see what
the page claims. A heading without a check fails.
"""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from support.host import ROOT, Host, wait_until

PAGE = ROOT / "docs/cookbook.md"
HEAR_S = 20

RECIPES = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.S | re.M))
CHECKS = {}


def answers(heading):
    """The check of the recipe with that heading."""

    def keep(check):
        CHECKS[heading] = check
        return check

    return keep


class Kitchen:
    """A host that serves one recipe, and its clients."""

    def __init__(self, host, stack, path):
        self.host, self.stack, self.path = host, stack, path

    def enter(self, tail="", **options) -> "Guest":
        address = f"{self.host.ws}{self.path}{tail}"
        options = {"proxy": None, "compression": None} | options
        return Guest(self.stack.enter_context(connect(address, **options)))

    def post(self, body, headers=None, method="POST"):
        """Status and body."""
        request = Request(self.host.http + self.path, body.encode(), headers or {}, method=method)
        try:
            with urlopen(request, timeout=HEAR_S) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()


class Guest:
    def __init__(self, socket):
        self.socket = socket

    def say(self, text):
        self.socket.send(text if isinstance(text, str) else json.dumps(text))

    def hear(self):
        return json.loads(self.socket.recv(HEAR_S))

    def hears_until(self, last):
        """All messages up to one for which last(message) holds."""
        heard = [self.hear()]
        while not last(heard[-1]):
            heard.append(self.hear())
        return heard

    def leave(self):
        self.socket.close()

    def end(self):
        """Code and reason of the close, with nothing heard before it."""
        with pytest.raises(ConnectionClosed) as closed:
            raise AssertionError(self.socket.recv(HEAR_S))
        return closed.value.rcvd.code, closed.value.rcvd.reason


def blocks(text):
    return re.findall(r"^```lua\n(.*?)^```$", text, re.S | re.M)


def served(block):
    """The name that the first line of a script gives it."""
    return re.match(r"-- (\w+)\.lua: ", block)[1]


@pytest.fixture
def kitchen(tmp_path):
    """kitchen(heading, config): serves the recipe below that heading."""
    with contextlib.ExitStack() as stack:
        hosts = []

        def serve(heading, config="{}"):
            (block,) = blocks(RECIPES[heading])
            name = served(block)
            (tmp_path / f"{name}.lua").write_text(block)
            (tmp_path / "perigee.lua").write_text(f"return {{ scripts = {{ {name} = {config} }} }}")
            host = stack.enter_context(Host(tmp_path, "--limit=drain_s=0"))
            hosts.append(host)
            return Kitchen(host, stack, f"/{name}")

        yield serve
    for host in hosts:
        text = "\n".join(host.log)
        assert "level=error" not in text and "Sanitizer" not in text, text


@answers("How do I send a private message?")
def private(kitchen, heading):
    room = kitchen(heading)
    ann, bo, cy = (room.enter(f"?name={name}") for name in ("Ann", "Bo", "Cy"))
    ann.say({"to": "Bo", "text": "hi"})
    assert bo.hear() == {"from": "Ann", "text": "hi"}
    for wrong in ({"to": "Dee", "text": "hi"}, {}, "no JSON"):
        ann.say(wrong)
        assert ann.hear() == {"problem": "nobody of that name is here"}
    bo.say({"to": "Cy", "text": "first"})
    assert cy.hear() == {"from": "Bo", "text": "first"}  # nothing of what went to Bo
    for taken in ("?name=Ann", "", "?name=%ff"):
        assert room.enter(taken).end() == (4000, "choose another name")
    ann.say({"to": "Ann", "text": "still here"})
    assert ann.hear() == {"from": "Ann", "text": "still here"}
    bo.leave()
    room.enter("?name=Bo").say({"to": "Cy", "text": "again"})
    assert cy.hear() == {"from": "Bo", "text": "again"}


@answers("How do I show who is here?")
def presence(kitchen, heading):
    room = kitchen(heading)
    ann = room.enter("/tea?name=Ann")
    assert ann.hear() == {"here": ["Ann"]}
    bo = room.enter("/tea?name=Bo")
    assert ann.hear() == bo.hear() == {"here": ["Ann", "Bo"]}
    assert room.enter("/milk").hear() == {"here": ["guest"]}
    ann.leave()
    assert bo.hear() == {"here": ["Bo"]}


@answers("How do I show that somebody is typing?")
def typing(kitchen, heading):
    room = kitchen(heading)
    ann, bo = room.enter(), room.enter()
    ann.say({"typing": True})
    ann.say("no JSON")
    ann.say({"text": "hi"})
    typed, said = bo.hear(), bo.hear()
    assert said == {"from": typed["typing"], "text": "hi"}
    assert ann.hear() == said  # and not that they type


@answers("How do I kick or ban somebody?")
def moderated(kitchen, heading):
    room = kitchen(heading, '{ secret = "moon" }')
    admin = room.enter(additional_headers={"Authorization": "Bearer moon"})
    ann, bo = room.enter(), room.enter()

    def named(guest):
        guest.say("hello")
        for other in (admin, ann, bo):
            if other is not guest:
                other.hear()
        return guest.hear()["from"]

    ann_id, bo_id = named(ann), named(bo)
    bo.say(f"/kick {ann_id}")  # no admin: it is only said
    assert admin.hear()["text"] == ann.hear()["text"] == bo.hear()["text"] == f"/kick {ann_id}"
    admin.say(f"/kick {ann_id}")
    assert ann.end() == (4403, "an admin sent you away")
    admin.say(f"/kick {ann_id}")
    assert admin.hear() == {"problem": "they are gone"}
    ann = room.enter()  # a kick is over at once
    admin.say(f"/ban {bo_id}")
    assert bo.end() == (4403, "an admin sent you away")
    with pytest.raises(InvalidStatus) as refused:
        room.enter()
    assert refused.value.response.status_code == 403
    assert refused.value.response.body == b"you are banned"


@answers("How do newcomers see what was said before?")
def history(kitchen, heading):
    room = kitchen(heading)
    ann = room.enter()
    for i in range(60):
        ann.say(f"line {i}")
    said = [ann.hear() for _ in range(60)]
    assert [one["text"] for one in said] == [f"line {i}" for i in range(60)]
    bo = room.enter()
    assert [bo.hear() for _ in range(50)] == said[10:]
    ann.say("new")
    assert bo.hear() == ann.hear()


@answers("How do I allow one session a user?")
def once(kitchen, heading):
    room = kitchen(heading)
    first, other = room.enter("?user=ann"), room.enter("?user=bo")
    second = room.enter("?user=ann")
    assert first.end() == (4001, "signed in elsewhere")
    third = room.enter("?user=ann")  # the end of the first has not forgotten the second
    assert second.end() == (4001, "signed in elsewhere")
    for guest in (third, other):
        assert guest.socket.ping().wait(HEAR_S)
    with pytest.raises(InvalidStatus) as refused:
        room.enter()
    assert refused.value.response.status_code == 401


@answers("How do I lock a room with a password?")
def locked(kitchen, heading):
    room = kitchen(heading)
    ann = room.enter("/tea?password=leaf")
    ann.say("alone?")
    assert ann.socket.recv(HEAR_S) == "alone?"
    assert room.enter("/tea?password=bean").end() == (4403, "wrong password")
    bo = room.enter("/tea?password=leaf")
    bo.say("no")
    assert ann.socket.recv(HEAR_S) == bo.socket.recv(HEAR_S) == "no"
    room.enter("/milk?password=bean").say("another room has its own")
    ends = [room.enter("/tea").end() for _ in range(12)]
    assert ends[:2] == [(4403, "wrong password")] * 2
    assert (4429, "wait a minute") in ends
    ann.leave()
    bo.leave()
    cy = room.enter("/tea?password=new")  # the last one has taken the lock away
    cy.say("mine")
    assert cy.socket.recv(HEAR_S) == "mine"


@answers("How do I slow down who talks too fast?")
def calm(kitchen, heading):
    room = kitchen(heading)
    ann, bo = room.enter(), room.enter()
    for _ in range(60):  # more than a minute's worth
        with contextlib.suppress(ConnectionClosed):
            ann.say('{"said": true}')
    heard = []
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            heard.append(ann.hear())
    assert closed.value.rcvd.code == 4429
    warnings = [one["slow_down"] for one in heard if "slow_down" in one]
    assert len(warnings) == 3 and all(0 < wait <= 1 for wait in warnings)
    assert heard[:5] == [{"said": True}] * 5
    bo.say('{"said": "by bo"}')  # has an allowance of its own
    assert {"said": "by bo"} in bo.hears_until(lambda one: one == {"said": "by bo"})


@answers("How do I tell everybody something by HTTP?")
def news(kitchen, heading):
    room = kitchen(heading, '{ secret = "moon" }')
    ann, bo = room.enter(), room.enter()
    assert ann.hear() == bo.hear() == {"news": "will come"}
    mine = {"Authorization": "Bearer moon"}
    assert room.post('{"news": "rain"}') == (401, "who are you?")
    assert room.post('{"news": "rain"}', {"Authorization": "Bearer sun"})[0] == 401
    assert room.post("rain", mine) == (400, "this is no JSON")
    assert room.post("", mine, "PUT")[0] == 405
    status, body = room.post('{"news": "rain"}', mine)
    assert (status, json.loads(body)) == (200, {"heard_by": 2})
    assert ann.hear() == bo.hear() == {"news": "rain"}


@answers("How do I feed screens that are too slow?")
def prices(kitchen, heading):
    room = kitchen(heading)
    device, quick = room.enter(), room.enter()
    assert device.hear() == quick.hear() == {"prices": {}}
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.connect(("127.0.0.1", room.host.port))
    slow = room.enter(sock=narrow, max_queue=1)
    assert slow.hear() == {"prices": {}}

    # 24 MiB: more than the system's buffers hold for one connection. The quick one keeps up.
    ticks, more = 3000, "x" * 8192
    for price in range(1, ticks + 1):
        device.say({"symbol": "ACME", "price": price, "more": more})
        assert quick.hear()["price"] == price
    device.say({"symbol": "MOON", "price": 7})

    got = slow.hears_until(lambda tick: tick["symbol"] == "MOON")
    seen = [tick["price"] for tick in got[:-1]]
    assert len(seen) < ticks and seen == sorted(seen)
    assert seen[-1] == ticks  # the newest of each symbol arrives
    device.say({"price": 1})
    assert device.end() == (4400, "a tick has a symbol")
    assert room.enter().hear() == {"prices": {"ACME": ticks, "MOON": 7}}


@answers("How does a client go on after a lost connection?")
def game(kitchen, heading):
    room = kitchen(heading)
    ann, bo = room.enter(), room.enter()
    token = ann.hear()["token"]
    assert bo.hear()["token"] != token
    ann.say("point")
    ann.say("point")
    assert [ann.hear(), ann.hear()] == [{"score": 1}, {"score": 2}]
    ann.socket.socket.shutdown(socket.SHUT_RDWR)  # lost, not closed
    again = room.enter(f"?token={token}")
    assert again.hear() == {"token": token, "score": 2}
    twice = room.enter(f"?token={token}")
    assert again.end() == (4001, "continued elsewhere")
    assert twice.hear() == {"token": token, "score": 2}
    twice.leave()
    last = room.enter(f"?token={token}")
    assert last.hear() == {"token": token, "score": 2}
    stranger = room.enter("?token=guessed").hear()
    assert stranger["score"] == 0 and stranger["token"] not in ("guessed", token)

    brief = kitchen(heading, "{ keep_s = 0.3 }")
    first = brief.enter()
    token = first.hear()["token"]
    second = brief.enter(f"?token={token}")
    assert first.end() == (4001, "continued elsewhere")
    assert second.hear()["token"] == token
    for score in range(1, 11):  # the end of the first has not made the second's place go
        time.sleep(0.05)
        second.say("point")
        assert second.hear() == {"score": score}

    def comes_back_in_time():
        gone = brief.enter()
        token = gone.hear()["token"]
        gone.leave()
        back = brief.enter(f"?token={token}")
        return back if back.hear()["token"] == token else None

    third = wait_until(comes_back_in_time, "a place is kept", HEAR_S)
    time.sleep(0.5)
    third.say("point")
    assert third.hear() == {"score": 1}  # it is not forgotten after all

    second.leave()

    def is_forgotten():
        time.sleep(0.5)
        guest = brief.enter(f"?token={token}")
        found = guest.hear()["token"]
        guest.leave()
        return found != token

    wait_until(is_forgotten, "the place is free again", HEAR_S)


@answers("Do I need a heartbeat?")
def heart(kitchen, heading):
    room = kitchen(heading, "{ period = 0.05 }")
    guest = room.enter()
    assert guest.hear() == {"beats_every": 0.05}
    beats = [guest.hear()["beat"] for _ in range(3)]
    assert beats == sorted(beats)


@pytest.mark.parametrize("heading", RECIPES)
def test_a_recipe_does_what_the_page_says(kitchen, heading):
    assert heading in CHECKS, "a recipe without a check"
    CHECKS[heading](kitchen, heading)


def test_every_check_has_its_recipe_and_the_contents_list_all():
    assert list(CHECKS) == list(RECIPES)
    contents = re.findall(r"^- \[(.+?)\]\(#(.+?)\)$", PAGE.read_text(), re.M)
    anchors = [re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in RECIPES]
    assert contents == list(zip(RECIPES, anchors, strict=True))


@pytest.mark.parametrize("heading", RECIPES)
def test_a_recipe_is_clean_under_luacheck(tmp_path, heading):
    if not shutil.which("luacheck"):
        pytest.skip("luacheck is not installed")
    (block,) = blocks(RECIPES[heading])
    path = tmp_path / f"{served(block)}.lua"
    path.write_text(block)
    command = ["luacheck", "-q", "--no-color", "--config", ROOT / ".luacheckrc", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# The reference

REFERENCE = (ROOT / "docs/scripting.md").read_text()

COMPILE = """
return {
  request = function(req)
    local fn, problem = load(req.body, "=block")
    return 200, { problem = problem or "" , ok = fn ~= nil }
  end,
}
"""


def test_every_block_of_the_reference_compiles(tmp_path):
    (tmp_path / "compile.lua").write_text(COMPILE)
    found = blocks(REFERENCE)
    assert len(found) > 30
    with Host(tmp_path) as host:
        room = Kitchen(host, None, "/compile")
        for block in found:
            status, answer = room.post(block)
            assert (status, json.loads(answer)) == (200, {"problem": "", "ok": True}), block
        assert json.loads(room.post("local = 1")[1])["ok"] is False


def test_every_whole_script_of_the_reference_loads(tmp_path):
    whole = [
        block
        for block in blocks(REFERENCE)
        if 'require "ws"' in block and re.search(r"^return \w+\s*\Z", block, re.M)
    ]
    assert whole
    for n, block in enumerate(whole):
        (tmp_path / f"s{n}.lua").write_text(block)
    with Host(tmp_path) as host:
        wait_until(lambda: sum("loaded" in line for line in host.log) >= len(whole), "all loaded")
        assert host.complaints() == []
