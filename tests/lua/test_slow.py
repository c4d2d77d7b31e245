"""Slow members: what waits in an outbox, and what happens to whoever does not read."""

import pytest

from serving import eventually

CHUNK = 8192  # of what is sent to fill the sockets between host and client


class Feed:
    """One script of these, and its clients."""

    def __init__(self, host, path):
        self.host, self.path = host, path
        self.clients = []
        self.ask(reset="yes")

    def ask(self, **query):
        return self.host.get(self.path, **query).json()

    def join(self, name, receive_buffer=4096):
        client = self.host.raw(f"{self.path}?name={name}", receive_buffer=receive_buffer)
        self.clients.append(client)
        eventually(lambda: name in self.ask()["buffered"], "open")
        return client

    def fill(self, name):
        """Sends to it until it is over its soft limit; how many."""
        for count in range(1, 4000):
            answer = self.ask(to=name, size=CHUNK)["answers"][0]
            if answer == "slow":
                return count
            assert answer == "ok"
        raise AssertionError("its socket takes everything")


@pytest.fixture(params=["/slow"])
def feed(request, host):
    one = Feed(host, request.param)
    yield one
    for client in one.clients:
        client.socket.close()
    eventually(lambda: one.ask()["count"] == 0, "their end")


def numbers(client, count):
    return [int(client.receive_text()[:6]) for _ in range(count)]


def test_send_answers_slow_over_the_soft_limit_and_drops_nothing(feed):
    client = feed.join("a")
    count = feed.fill("a")
    assert feed.ask()["buffered"]["a"] > 16384
    assert feed.ask(to="a", size=CHUNK, times=3)["answers"] == ["slow"] * 3
    assert len([client.receive_text() for _ in range(count + 3)]) == count + 3
    eventually(lambda: feed.ask()["drains"] == [["a", 0]], "drain")
    assert feed.ask(to="a")["answers"] == ["ok"]
    eventually(lambda: feed.ask()["buffered"]["a"] == 0, "an empty outbox")
    assert feed.ask()["closes"] == []


def test_over_the_hard_limit_it_ends_with_1013_and_nothing_after_the_gap(feed):
    client = feed.join("a")
    count = feed.fill("a")
    answers = feed.ask(to="a", size=CHUNK, times=60)["answers"]
    assert "closed" in answers
    taken = answers.index("closed")
    assert answers == ["slow"] * taken + ["closed"] * (60 - taken)
    eventually(lambda: feed.ask()["closes"] == [["a", 1013]], "close")
    frames = client.rest()
    assert frames[-1][0] == 8 and frames[-1][1][:2] == (1013).to_bytes(2)
    texts = [payload for opcode, payload in frames if opcode == 1]
    assert len(texts) == len(frames) - 1
    got = [int(text[:6]) for text in texts[count:]]
    assert got == list(range(1, len(got) + 1))


def test_the_policy_close_ends_a_slow_member_with_1013(feed):
    feed.join("a")
    fast = feed.join("b", 0)
    feed.fill("a")
    assert feed.ask(slow="default")["answers"] == [2]
    eventually(lambda: feed.ask()["closes"] == [["a", 1013]], "close")
    assert fast.receive_text() == "000001x"
    assert feed.ask()["count"] == 1


def test_the_policy_drop_leaves_it_out_and_drain_tells_how_many(feed):
    client = feed.join("a")
    fast = feed.join("b", 0)
    count = feed.fill("a")
    assert feed.ask(slow="drop", times=5)["answers"] == [2] * 5
    assert numbers(fast, 5) == [1, 2, 3, 4, 5]
    assert all(len(client.receive_text()) > CHUNK for _ in range(count))
    eventually(lambda: feed.ask()["drains"] == [["a", 5]], "drain")
    assert feed.ask(slow="drop")["answers"] == [2]
    assert client.receive_text() == "000001x"
    assert feed.ask()["closes"] == []


def test_the_policy_latest_keeps_the_last_of_each_key(feed):
    client = feed.join("a")
    count = feed.fill("a")
    feed.ask(slow="latest", key="x", times=3)
    feed.ask(slow="latest", key="y", times=4)
    feed.ask(slow="latest", times=5)
    feed.ask(slow="latest", key="x", times=2)
    for _ in range(count):
        assert len(client.receive_text()) > CHUNK
    assert numbers(client, 3) == [4, 5, 2]  # y, the room's own, then x: the new one goes last
    assert feed.ask(to="a")["answers"] == ["ok"]
    assert client.receive_text() == "000001x"
    assert feed.ask()["closes"] == []


def test_the_field_slow_is_the_scripts_default(host):
    feed = Feed(host, "/slow_drop")
    client = feed.join("a")
    count = feed.fill("a")
    assert feed.ask(slow="default", times=2)["answers"] == [1, 1]
    for _ in range(count):
        client.receive_text()
    eventually(lambda: feed.ask()["drains"] == [["a", 2]], "drain")
    assert feed.ask()["closes"] == []
    client.socket.close()


def test_who_is_not_slow_gets_everything_whatever_the_policy(feed):
    client = feed.join("a", 0)
    for slow in ("close", "drop", "latest"):
        assert feed.ask(slow=slow, times=20)["answers"] == [1] * 20
        assert numbers(client, 20) == list(range(1, 21))
    assert feed.ask()["drains"] == []
