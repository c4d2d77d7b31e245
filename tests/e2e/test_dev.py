"""Development: what pages are told of saves, the stream down at the bytes and the note in Chromium.
Screenshots of it are left in build/screenshots."""

import json
import os
import pty
import re
import subprocess
import time
from contextlib import ExitStack, suppress

import pytest

from conftest import program
from support.browser import PAGE_S, Browser
from support.host import save as save_file
from support.host import wait_until
from wire import head, upgrade_head

RULES = "return { message = function(conn, text) conn:send(text) end }\n"
BROKEN = "return { message = function(conn, text) conn:send(text) end\n"
OTHER = RULES.replace("text)\n", "text)") + "-- other rules\n"
PAGE = """<!doctype html><title>game</title>
<style>body, perigee-note { color: red !important; display: none !important }</style>
<script type="module" src="/perigee.js"></script>
"""
FILES = {
    "game.lua": RULES,
    "other.lua": RULES,
    "public/index.html": PAGE,
    "public/favicon.ico": "",  # browsers ask for it
}


@pytest.fixture
def save(folder):
    return lambda name, text: save_file(folder({}) / name, text)


class Stream:
    """A page's side of /perigee/dev."""

    def __init__(self, host, **fields):
        self.wire = host.wire()
        self.wire.send(head("/perigee/dev", **fields))
        self.head = self._until(b"\r\n\r\n").decode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wire.__exit__()

    def _until(self, end: bytes) -> bytes:
        got = b""
        while not got.endswith(end):
            got += self.wire.take(1)
        return got

    def event(self) -> tuple[str, dict]:
        lines = self._until(b"\n\n").decode().rstrip("\n").split("\n")
        assert len(lines) == 2, lines
        assert lines[0].startswith("event: ") and lines[1].startswith("data: ")
        return lines[0][7:], json.loads(lines[1][6:])

    def news(self) -> dict:
        name, news = self.event()
        assert name == "news"
        return news


# The stream ---------------------------------------------------------------------------------------


def test_a_page_hears_how_things_are_and_then_what_becomes_of_saves(serve, save):
    host = serve(FILES | {"bad.lua": "return {"}, "--dev")
    with Stream(host) as stream:
        assert stream.head.startswith("HTTP/1.1 200 ")
        assert "Content-Type: text/event-stream\r\n" in stream.head
        assert "Content-Length" not in stream.head
        name, state = stream.event()
        assert name == "state"
        by_name = {script["script"]: script for script in state["scripts"]}
        assert by_name["game"]["what"] == "none" and by_name["game"]["generation"] == 1
        assert by_name["bad"]["what"] == "failed" and by_name["bad"]["generation"] == 0
        assert "bad.lua:1: " in by_name["bad"]["message"]

        save("game.lua", BROKEN)
        news = stream.news()
        assert (news["script"], news["what"], news["generation"]) == ("game", "failed", 1)
        assert news["file"].endswith("/game.lua") and news["line"] == 2
        assert "'}' expected" in news["message"] and "game.lua" not in news["message"]
        with Stream(host) as late:
            scripts = late.event()[1]["scripts"]
            assert [s["script"] for s in scripts if s["what"] == "failed"] == ["bad", "game"]

        save("game.lua", OTHER)
        news = stream.news()
        assert (news["script"], news["what"], news["generation"]) == ("game", "done", 2)
        save("bad.lua", RULES)
        assert stream.news()["script"] == "bad"
        host.wait_log("level=error", 4)


def test_in_production_there_is_no_stream_and_the_client_is_as_it_ships(serve):
    for flags in ((), ("--no-dev",)):  # stdout of these hosts is no terminal
        host = serve(FILES, *flags)
        assert host.get("/perigee/dev").status == 404
        assert host.get("/perigee/dev.js").status == 404
        assert b"perigee/dev" not in host.get("/perigee.js").body
    host = serve(FILES, "--dev")
    assert b'import("./perigee/dev.js")' in host.get("/perigee.js").body
    assert host.get("/perigee/dev.js").status == 200


def test_a_host_at_a_terminal_is_in_development(folder):
    for flags, wanted in (((), True), (("--no-dev",), False)):
        ours, theirs = pty.openpty()
        command = [program(), "serve", str(folder(FILES)), "--port=0", "--control=off", *flags]
        host = subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL)
        os.close(theirs)
        try:
            said = ""
            while not (found := re.search(r"listening on (\S+)\r\n", said)):
                said += os.read(ours, 4096).decode()
            address = found[1]
            fetched = subprocess.run(
                ["curl", "-sS", f"{address}/perigee.js"],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            assert ("perigee/dev.js" in fetched.stdout) == wanted
        finally:
            host.terminate()
            assert host.wait(20) == 0
            os.close(ours)


def test_the_stream_is_for_pages_of_this_host_only(serve):
    host = serve(FILES, "--dev", "--limit=origins=same https://studio.example")
    here = f"localhost:{host.port}"
    for fields, status in (
        ({"Host": here, "Origin": f"http://{here}"}, 200),
        ({"Host": here, "Origin": "https://studio.example"}, 200),
        ({"Host": here, "Origin": "https://elsewhere.example"}, 403),
        ({"Host": here, "Sec_Fetch_Site": "cross-site"}, 403),
        ({"Host": here, "Sec_Fetch_Site": "same-site"}, 403),
        ({"Host": here, "Sec_Fetch_Site": "same-origin"}, 200),
        ({"Host": here, "Sec_Fetch_Site": "none"}, 200),
        ({"Host": here}, 200),
    ):
        with Stream(host, **fields) as stream:
            assert stream.head.startswith(f"HTTP/1.1 {status} "), fields


def test_other_methods_and_a_websocket_get_no_stream(serve):
    host = serve(FILES, "--dev")
    assert host.get("/perigee/dev", "POST").status == 405
    with host.wire() as wire:
        wire.send(head("/perigee/dev", "HEAD"))
        answer = wire.answer(bodiless=True)
        assert answer.status == 200 and answer["content-type"] == "text/event-stream"
        assert wire.rest() == b""
    with host.wire() as wire:
        wire.send(upgrade_head("/perigee/dev"))
        assert wire.answer().status == 404


def test_those_who_listen_are_bounded_and_who_goes_makes_room(serve):
    host = serve(FILES, "--dev")
    with ExitStack() as stack:
        streams = [stack.enter_context(Stream(host)) for _ in range(64)]
        assert all(s.head.startswith("HTTP/1.1 200 ") for s in streams)
        assert host.get("/perigee/dev").status == 503
        streams.pop().__exit__()
        host.wait(lambda: _listens(host))
        assert host.get("/game").status == 426  # the others are served as ever


def _listens(host) -> bool:
    with Stream(host) as stream:
        return stream.head.startswith("HTTP/1.1 200 ")


def _sockets(host) -> int:
    """How many it has; the folder, which it looks at now and then, is none."""
    folder = f"/proc/{host.process.pid}/fd"
    links = []
    for name in os.listdir(folder):
        with suppress(FileNotFoundError):
            links.append(os.readlink(f"{folder}/{name}"))
    return sum(link.startswith("socket:") for link in links)


def test_who_does_not_take_what_is_said_is_cut_off(serve, tmp_path_factory):
    control = str(tmp_path_factory.mktemp("control") / "socket")
    long = FILES | {"game.lua": 'error(("\\1"):rep(500), 0)'}  # 3 kB in JSON
    host = serve(long, "--dev", f"--control={control}", "--limit=stall_s=60")
    reload = [program(), "reload", "game", "--control", control]

    with Stream(host) as other:
        other.event()
        before = _sockets(host)
        with host.wire(receive_buffer=4096) as deaf:
            deaf.send(head("/perigee/dev"))
            host.wait(lambda: _sockets(host) == before + 1)
            for _ in range(1000):
                subprocess.run(reload, capture_output=True, check=False)
                assert other.news()["what"] == "failed"
                if _sockets(host) == before:
                    break
            assert _sockets(host) == before


def test_a_quiet_stream_shows_that_it_lives(serve):
    host = serve(FILES, "--dev")
    with Stream(host) as stream:
        stream.event()
        stream.wire.socket.settimeout(60)
        assert stream.wire.take(3) == b":\n\n"  # after a quarter of a minute


def test_the_end_of_the_host_ends_the_streams(serve):
    host = serve(FILES, "--dev")
    with Stream(host) as stream:
        stream.event()
        begun = time.monotonic()
        assert host.stop() == 0
        assert time.monotonic() - begun < 9  # not drain_s
        assert stream.wire.rest() == b""


# The note -----------------------------------------------------------------------------------------

NOTE = """
const host = document.querySelector("perigee-note");
if (!host) return null;
const box = host.shadowRoot.querySelector(".note");
const texts = (part) => [...box.querySelectorAll(part)].map((e) => e.textContent);
return {
  shown: box.getClientRects().length > 0,
  failed: box.classList.contains("failed"),
  role: box.querySelector("[role]").getAttribute("role"),
  titles: texts(".title"), places: texts(".place"), messages: texts(".message"),
  elements: box.querySelectorAll("b, img, script").length,
  color: getComputedStyle(box).color,
};
"""


@pytest.fixture(scope="module")
def browser():
    with Browser() as browser:
        yield browser


class Page:
    def __init__(self, browser, address: str):
        self.browser, self.driver = browser, browser.driver
        browser.console()
        self.driver.get(address)

    def note(self) -> dict | None:
        return self.driver.execute_script(NOTE)

    def wait(self, holds, what: str) -> dict:
        """Until the note, once there is one, is so."""
        found = lambda: (note := self.note()) and holds(note) and note  # noqa: E731
        return wait_until(found, f"{what}: {self.note()}", PAGE_S)

    def wait_for_stream(self) -> None:
        """The page listens: nothing that is saved from here on escapes it."""
        script = "return document.querySelector('perigee-note[listens]') !== null"
        wait_until(lambda: self.driver.execute_script(script), "the page listens", PAGE_S)

    def dismiss(self) -> None:
        script = "document.querySelector('perigee-note').shadowRoot.querySelector('button').click()"
        self.driver.execute_script(script)


def test_the_note_says_file_line_and_message_until_it_is_mended(serve, save, browser):
    host = serve(FILES, "--dev")
    save("game.lua", BROKEN)
    host.wait(lambda: host.count("not loaded"))
    page = Page(browser, f"{host.http}/")  # it is told what was before
    note = page.wait(lambda n: n["shown"], "it is shown")
    assert note["failed"] and note["role"] == "status"
    assert note["titles"] == ["game: not loaded, generation 1 goes on"]
    assert "game.lua:2: " in note["messages"][0]

    save("other.lua", BROKEN)  # and what is new
    note = page.wait(lambda n: len(n["titles"]) == 2, "there are two")
    assert note["titles"][1] == "other: not loaded, generation 1 goes on"
    assert note["places"][0].endswith("/other.lua:2") and "'}' expected" in note["messages"][1]
    for scheme in ("light", "dark"):
        browser.prefer(scheme)
        browser.screenshot(f"note-{scheme}")
    browser.prefer("light")

    save("game.lua", OTHER)
    titles = ["other: not loaded, generation 1 goes on", "game: generation 2 serves"]
    page.wait(lambda n: n["titles"] == titles, "one is mended")
    save("other.lua", RULES)
    note = page.wait(lambda n: n["titles"] == ["other: generation 1 serves"], "both are")
    assert not note["failed"] and note["messages"] == ["as it was"]
    browser.screenshot("note-good")
    page.wait(lambda n: not n["shown"], "good news goes by itself")
    assert browser.console() == []


def test_what_is_dismissed_stays_away_until_it_is_news_again(serve, save, browser):
    host = serve(FILES, "--dev")
    page = Page(browser, f"{host.http}/")
    page.wait_for_stream()
    save("game.lua", BROKEN)
    page.wait(lambda n: n["shown"], "it is shown")
    page.dismiss()
    page.wait(lambda n: not n["shown"], "it is dismissed")
    save("other.lua", OTHER)
    page.wait(lambda n: n["titles"] == ["other: generation 2 serves"], "only what is new")
    save("game.lua", "\n" + BROKEN)
    page.wait(lambda n: n["titles"][:1] == ["game: not loaded, generation 1 goes on"], "again")


def test_a_message_is_text_and_the_page_has_no_say_in_its_looks(serve, save, browser):
    hostile = "<b>bold</b><img src=x onerror=alert(1)></script><script>alert(2)</script>"
    host = serve(FILES, "--dev")
    page = Page(browser, f"{host.http}/")  # its style hides all, in red
    page.wait_for_stream()
    save("game.lua", f"error('{hostile}')")
    note = page.wait(lambda n: n["shown"], "it is shown")
    assert note["messages"] == [hostile] and note["elements"] == 0
    assert note["color"] != "rgb(255, 0, 0)"
    assert browser.console() == []


def test_a_strict_policy_of_the_page_allows_the_note(serve, save, browser):
    policy = """<!doctype html><title>game</title>
      <meta http-equiv="Content-Security-Policy" content="default-src 'self'">
      <script type="module" src="/perigee.js"></script>"""
    host = serve(FILES | {"public/index.html": policy}, "--dev")
    page = Page(browser, f"{host.http}/")
    page.wait_for_stream()
    save("game.lua", BROKEN)
    note = page.wait(lambda n: n["shown"], "it is shown")
    assert note["color"] != "rgb(0, 0, 0)"  # its style is there
    assert browser.console() == []


def test_a_page_that_nobody_sees_takes_no_connection(serve, browser):
    host = serve(FILES, "--dev")
    page = Page(browser, f"{host.http}/")
    page.wait_for_stream()
    hide = """
        Object.defineProperty(document, "hidden", { value: arguments[0], configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));"""
    browser.driver.execute_script(hide, True)
    note = "document.querySelector('perigee-note')"
    browser.driver.execute_script(f"{note}.removeAttribute('listens')")
    browser.driver.execute_script(hide, False)
    page.wait_for_stream()
    seen = _sockets(host)
    browser.driver.execute_script(hide, True)
    host.wait(lambda: _sockets(host) < seen)


def test_in_production_a_page_has_no_note(serve, save, browser):
    host = serve(FILES)
    page = Page(browser, f"{host.http}/")
    ready = "return import('/perigee.js').then((module) => typeof module.connect)"
    assert browser.driver.execute_script(ready) == "function"
    save("game.lua", BROKEN)
    host.wait(lambda: host.count("not loaded"))
    assert page.note() is None
    assert browser.console() == []
