"""Shared rooms: members of two scripts, and what each may know of the other's."""

import pytest

from serving import eventually


@pytest.fixture
def pair(host):
    """One connection of `ours`, then one of `theirs`, in a room that both share."""
    with host.connect("/ours") as ours:
        eventually(lambda: host.get("/ours").json()["count"] == 1, "ours")
        with host.connect("/theirs") as theirs:
            eventually(lambda: host.get("/ours").json()["count"] == 2, "theirs")
            yield ours, theirs
    eventually(lambda: host.get("/ours").json()["count"] == 0, "their end")


def test_members_come_from_any_script(host, pair):
    now = host.get("/ours").json()
    assert (now["count"], now["all"], now["own"]) == (2, 1, 0)
    assert [one["info"] for one in now["presence"]] == ["ours", "theirs"]
    assert host.get("/theirs").json()["all"] == 1


def test_any_script_may_speak_into_it(host, pair):
    ours, theirs = pair
    assert host.get("/ours", broadcast="to both").json()["result"] == [2]
    assert [client.receive() for client in pair] == ["to both", "to both"]
    ours.send("to the others")
    assert theirs.receive() == "to the others"
    theirs.send("hello")
    assert [client.receive() for client in pair] == ["theirs: hello", "theirs: hello"]


def test_a_connection_of_another_script_answers_id_remote_connected_only(host, pair):
    own, other = host.get("/ours").json()["seen"]
    assert other["remote"] == "127.0.0.1"
    assert other["connected"] is True
    assert other["id"] in other["tostring"]
    assert (other["data"], other["params"]) == ("nil", "nil")
    assert other["is_stranger"] is True
    for what in ("set_data", "join", "leave"):
        assert other[what].startswith("raised") and "another script" in other[what]
    assert (own["data"], own["params"], own["is_stranger"]) == ({}, {}, False)
    assert host.get("/ours").json()["count"] == 2


def test_it_may_be_sent_to(host, pair):
    _, theirs = pair
    assert host.get("/ours", send="direct", at="2").json()["result"] == ["ok"]
    assert theirs.receive() == "direct"


def test_it_may_be_closed_and_its_own_script_hears_of_it(host, pair):
    ours, theirs = pair
    assert host.get("/ours", close="by ours", at="2").json()["result"] == [True]
    assert theirs.closed() == (4000, "by ours")
    eventually(lambda: [4000, "by ours"] in host.get("/theirs").json()["closes"], "close")
    assert host.get("/theirs").json()["all"] == 0
