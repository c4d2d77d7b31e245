"""The scripts that ship with the host: chat.lua's rules, ws.lua and echo.lua, as any client of
Python's websockets meets them."""

import contextlib
import itertools
import json
import time
from urllib.parse import quote, urlencode

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from support.host import Host

HEAR_S = 10


@pytest.fixture(scope="module")
def chat():
    """The host, serving scripts/."""
    with Host() as host:
        yield host
        assert host.stop() == 0


numbers = itertools.count(1)


@pytest.fixture
def room():
    """A room of the test's own."""
    return f"room {next(numbers)}"


@pytest.fixture
def enter(chat, room):
    """enter(name): somebody in the room. They leave when the test ends."""
    with contextlib.ExitStack() as sockets:

        def enter(name=None, *, room=room):
            query = "" if name is None else "?" + urlencode({"name": name})
            address = f"{chat.ws}/chat/{quote(room, safe='')}{query}"
            return Talker(sockets.enter_context(connect(address)))

        yield enter


class Talker:
    """Somebody in a room. `welcome` is what they heard first."""

    def __init__(self, socket):
        self.socket = socket
        self.welcome = self.hear()

    def hear(self):
        return json.loads(self.socket.recv(HEAR_S))

    def say(self, line):
        self.socket.send(line)

    def hears_only(self, *messages):
        """These, in order, and nothing else by then: the answer to /who comes next."""
        for message in messages:
            assert self.hear() == message
        self.say("/who")
        assert self.hear()["type"] == "here"


def said(name, text):
    return {"type": "said", "from": name, "text": text}


def did(name, text):
    return {"type": "did", "from": name, "text": text}


def joined(name):
    return {"type": "joined", "name": name}


def left(name):
    return {"type": "left", "name": name}


def renamed(old, new):
    return {"type": "renamed", "from": old, "name": new}


def note(text):
    return {"type": "note", "text": text}


def refused(text):
    return {"type": "refused", "text": text}


NAME_RULE = "A name has 1 to 32 characters, as in: /nick Ann"
COMMANDS = "Commands: /help, /me, /nick, /who. To say a line that begins with /, begin it with //."


# Coming and going


def test_the_first_in_a_room_is_welcomed_alone(enter):
    ann = enter("Ann")
    assert ann.welcome == {
        "type": "welcome",
        "name": "Ann",
        "names": ["Ann"],
        "text_length": 1000,
    }
    ann.hears_only()


def test_who_comes_in_hears_who_is_there_and_the_others_hear_of_it(enter):
    ann, bo = enter("Ann"), enter("Bo")
    assert bo.welcome["names"] == ["Ann", "Bo"]
    ann.hears_only(joined("Bo"))
    bo.hears_only()


@pytest.mark.parametrize("how", ["close", "abort"])
def test_who_goes_is_said_to_have_left(enter, how):
    ann, bo = enter("Ann"), enter("Bo")
    if how == "close":
        bo.socket.close()
    else:
        bo.socket.socket.shutdown(2)
    ann.hears_only(joined("Bo"), left("Bo"))


def test_a_name_is_free_again_once_its_owner_has_left(enter):
    ann, bo = enter("Ann"), enter("Bo")
    bo.socket.close()
    ann.hears_only(joined("Bo"), left("Bo"))
    assert enter("Bo").welcome["name"] == "Bo"


def test_two_in_a_room_never_share_a_name_in_capitals_or_not(enter):
    names = [enter(name).welcome["name"] for name in ("Ann", "ann", "ANN")]
    assert names == ["Ann", "ann-2", "ANN-3"]


def test_rooms_hear_nothing_of_each_other(enter, room):
    ann, bo = enter("Ann"), enter("Ann", room=f"{room} next door")
    assert bo.welcome["name"] == "Ann"
    bo.say("anyone?")
    bo.hears_only(said("Ann", "anyone?"))
    ann.hears_only()


@pytest.mark.parametrize("name", ["a room", "Küche/2", "%", "😀", "?#&"])
def test_a_room_may_have_any_name_but_one_with_a_slash(enter, room, name):
    talker = enter("Ann", room=f"{room} {name}".replace("/", "-"))
    talker.say("hello")
    talker.hears_only(said("Ann", "hello"))


def test_a_room_with_too_long_a_name_is_refused_with_a_reason(chat):
    with (
        connect(f"{chat.ws}/chat/{'r' * 256}") as socket,
        pytest.raises(ConnectionClosed) as closed,
    ):
        socket.recv(HEAR_S)
    assert closed.value.rcvd.code == 1008
    assert closed.value.rcvd.reason == "This room can't be opened. Is its name very long?"


# Names


def test_who_asks_for_no_name_is_a_guest(enter):
    assert enter().welcome["name"] == "guest"
    assert enter().welcome["name"] == "guest-2"


@pytest.mark.parametrize(
    "name, problem",
    [
        ("", NAME_RULE),
        ("   ", NAME_RULE),
        ("n" * 33, NAME_RULE),
        ("A\nB", "A name is plain text."),
        ("A\x00", "A name is plain text."),
        ("Darn it", "Please choose another name."),
    ],
)
def test_who_asks_for_a_bad_name_is_a_guest_and_is_told_why(enter, name, problem):
    ann = enter(name)
    assert ann.welcome["name"] == "guest"
    ann.hears_only(note(problem))


def test_bytes_that_are_no_text_are_no_name(chat, room):
    with connect(f"{chat.ws}/chat/{quote(room)}?name=%ff%fe") as socket:
        assert json.loads(socket.recv(HEAR_S))["name"] == "guest"
        assert json.loads(socket.recv(HEAR_S)) == note("A name is plain text.")


@pytest.mark.parametrize(
    "asked, given",
    [
        ("  Ann  ", "Ann"),
        ("Ännchen 😀", "Ännchen 😀"),
        ("😀" * 32, "😀" * 32),
        ("<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"),
        ('"\\', '"\\'),
    ],
)
def test_a_name_is_any_plain_text(enter, asked, given):
    assert enter(asked).welcome["name"] == given


def test_nick_renames_for_everybody_and_what_is_said_next_has_the_new_name(enter):
    ann, bo = enter("Ann"), enter("Bo")
    bo.say("/nick Bob")
    bo.say("hello")
    bo.hears_only(renamed("Bo", "Bob"), said("Bob", "hello"))
    ann.hears_only(joined("Bo"), renamed("Bo", "Bob"), said("Bob", "hello"))


def test_a_new_name_keeps_its_place_and_frees_the_old_one(enter):
    ann, bo = enter("Ann"), enter("Bo")
    ann.say("/nick Anna")
    ann.hears_only(joined("Bo"), renamed("Ann", "Anna"))
    assert bo.hear() == renamed("Ann", "Anna")
    assert enter("Ann").welcome["names"] == ["Anna", "Bo", "Ann"]


def test_a_change_of_capitals_is_a_new_name(enter):
    ann = enter("Ann")
    ann.say("/nick ANN")
    ann.hears_only(renamed("Ann", "ANN"))


@pytest.mark.parametrize(
    "line, problem",
    [
        ("/nick Ann", "You are Ann already."),
        ("/nick bo", "bo is taken in this room."),
        ("/nick", NAME_RULE),
        ("/nick " + "n" * 33, NAME_RULE),
        ("/nick what the heck", "Please choose another name."),
        ("/nick A\tB", "A name is plain text."),
    ],
)
def test_a_nick_that_will_not_do_is_a_note_to_one(enter, line, problem):
    bo, ann = enter("Bo"), enter("Ann")
    ann.say(line)
    ann.hears_only(note(problem))
    bo.hears_only(joined("Ann"))


def test_a_name_that_someone_took_by_nick_is_taken(enter):
    ann = enter("Ann")
    ann.say("/nick Bo")
    ann.hears_only(renamed("Ann", "Bo"))
    assert enter("bo").welcome["name"] == "bo-2"


# Talk


def test_what_is_said_reaches_everybody_in_one_order(enter):
    ann, bo = enter("Ann"), enter("Bo")
    assert ann.hear() == joined("Bo")
    for i in range(4):
        ann.say(f"a{i}")
        bo.say(f"b{i}")
    heard = [ann.hear() for _ in range(8)]
    assert [bo.hear() for _ in range(8)] == heard
    assert [one["text"] for one in heard if one["from"] == "Ann"] == ["a0", "a1", "a2", "a3"]
    assert [one["text"] for one in heard if one["from"] == "Bo"] == ["b0", "b1", "b2", "b3"]


@pytest.mark.parametrize(
    "text",
    ["<img src=x onerror=alert(1)>", '{"type":"left"}', "two\nlines", "  😀 \\ ", "𝔘" * 1000],
)
def test_text_arrives_as_it_was_typed(enter, text):
    ann = enter("Ann")
    ann.say(text)
    ann.hears_only(said("Ann", text))


def test_me_is_told_apart_from_talk(enter):
    ann, bo = enter("Ann"), enter("Bo")
    bo.say("/me waves")
    bo.hears_only(did("Bo", "waves"))
    ann.hears_only(joined("Bo"), did("Bo", "waves"))


def test_me_without_a_deed_is_a_note_to_one(enter):
    ann, bo = enter("Ann"), enter("Bo")
    bo.say("/me")
    bo.say("/me   ")
    bo.hears_only(*[note("Say what you do, as in: /me waves")] * 2)
    ann.hears_only(joined("Bo"))


def test_who_names_those_who_are_here_first_come_first(enter):
    ann, bo, cy = enter("Ann"), enter("Bo"), enter("Cy")
    bo.socket.close()
    for message in (joined("Bo"), joined("Cy"), left("Bo")):
        assert ann.hear() == message
    ann.say("/WHO")
    assert ann.hear() == {"type": "here", "names": ["Ann", "Cy"]}
    cy.hears_only(left("Bo"))


def test_an_unknown_command_is_a_note_that_lists_the_known_ones(enter):
    ann, bo = enter("Ann"), enter("Bo")
    bo.say("/dance now")
    bo.say("/help")
    bo.hears_only(note(f"There is no /dance. {COMMANDS}"), note(COMMANDS))
    ann.hears_only(joined("Bo"))


def test_two_slashes_say_a_line_that_begins_with_one(enter):
    ann = enter("Ann")
    ann.say("//who are you")
    ann.hears_only(said("Ann", "/who are you"))


def test_listed_words_come_out_as_stars(enter):
    ann = enter("Ann")
    ann.say("Darn! What the HECK, darnley checkers")
    ann.say("/me says heck")
    ann.hears_only(said("Ann", "****! What the ****, darnley checkers"), did("Ann", "says ****"))


def test_a_blank_line_says_nothing(enter):
    ann = enter("Ann")
    ann.say("")
    ann.say(" \n\t ")
    ann.hears_only()


def test_a_line_that_is_too_long_or_binary_is_refused(enter):
    ann, bo = enter("Ann"), enter("Bo")
    bo.say("x" * 1001)
    bo.say(b"hello")
    bo.hears_only(
        refused("A line has 1000 characters at most."), refused("This chat takes text only.")
    )
    ann.hears_only(joined("Bo"))


def test_five_lines_at_once_then_one_a_second_for_each(enter):
    ann, bo = enter("Ann"), enter("Bo")
    begun = time.monotonic()
    for i in range(20):
        bo.say(f"line {i}")
    heard = [bo.hear() for _ in range(20)]
    most = 5 + int(time.monotonic() - begun)  # this machine may have been slow
    assert heard[:5] == [said("Bo", f"line {i}") for i in range(5)]
    assert all(
        one in (said("Bo", f"line {i}"), refused("Too fast: wait 1 s."))
        for i, one in enumerate(heard)
    )
    assert sum(one["type"] == "said" for one in heard) <= most
    ann.say("and I?")
    assert bo.hear() == said("Ann", "and I?")
    time.sleep(1.1)
    bo.say("now again")
    assert bo.hear() == said("Bo", "now again")


# The other scripts


def test_a_first_client_works_unchanged_at_ws(chat):
    with connect(f"ws://localhost:{chat.port}/ws") as websocket:
        websocket.send("Hello world!")
        assert websocket.recv(HEAR_S) == "Hello world!"


def test_ws_gives_everything_to_everybody_the_sender_too(chat):
    address = f"{chat.ws}/ws"
    with connect(address) as one, connect(address) as two, connect(address) as three:
        one.send("hello")
        two.send(b"\x00\xff")
        three.send("bye")
        for socket in (one, two, three):
            heard = {socket.recv(HEAR_S) for _ in range(3)}
            assert heard == {"hello", b"\x00\xff", "bye"}


@pytest.mark.parametrize(
    "data", ["", "a", "ü😀", b"", b"\x00\xff", "x" * 125, "x" * 126, b"y" * 65536, "z" * (1 << 20)]
)
def test_echo_gives_back_text_as_text_and_binary_as_binary(chat, data):
    with connect(f"{chat.ws}/echo", max_size=None) as socket:
        socket.send(data)
        assert socket.recv(HEAR_S) == data


def test_echo_puts_the_fragments_of_a_message_together(chat):
    with connect(f"{chat.ws}/echo") as socket:
        socket.send(["in ", "three ", "parts"])
        assert socket.recv(HEAR_S) == "in three parts"
