"""The ways in which files are saved: each is one reload, and who is connected loses nothing."""

import os
import subprocess
import time

import pytest
from test_reload import ANSWER, QUICK, STATE, ask

from conftest import Host
from support.host import save

FIRST = STATE + 'local word = "first"\n' + ANSWER.replace("tostring(answer)", "word .. answer")
SECOND = FIRST.replace("first", "second")
ALL = "return ws.script.generation .. kept.count .. conn.data.name"


def command(*words) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True, timeout=30)


# Editors ----------------------------------------------------------------------------------------
# Each makes "second" of the "first" in a file.


def vim(*settings: str):
    # It has no backup, and so writes in place, of what lies in /tmp: unless backupskip is empty.
    settings = ("backupskip=", *settings)
    words = [word for setting in settings for word in ("-c", f"set {setting}")]

    def edit(path):
        begin = ("vim", "-es", "-N", "-u", "NONE", "-i", "NONE")
        command(*begin, *words, "-c", "%s/first/second/", "-c", "wq", path)

    return edit


def vs_code(path):
    """In place: cut to nothing, then written."""
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    time.sleep(0.2)
    os.write(fd, SECOND[:100].encode())
    time.sleep(0.2)
    os.write(fd, SECOND[100:].encode())
    os.close(fd)


def mv(path):
    fresh = path.with_name("a.lua.new")
    fresh.write_text(SECOND)
    command("mv", fresh, path)


def cp(path):
    fresh = path.with_name("a.lua.new")
    fresh.write_text(SECOND)
    command("cp", fresh, path)


def sed(path):
    command("sed", "-i", "s/first/second/", path)


def delete_and_write(path):
    path.unlink()
    time.sleep(3)
    path.write_text(SECOND)


VIM = {
    "vim": vim(),
    "vim, backupcopy=yes": vim("backupcopy=yes"),
    "vim, backupcopy=no": vim("backupcopy=no"),
    "vim, backup": vim("backup"),
}
OTHERS = {
    "VS Code": vs_code,
    "mv": mv,
    "cp": cp,
    "sed": sed,
    "deleted, and written three seconds later": delete_and_write,
}


@pytest.mark.parametrize("how", [*VIM, *OTHERS])
def test_a_save_is_one_reload_and_loses_nothing(rules, how):
    r = rules(FIRST, QUICK)
    with r.host.client("/a") as client:
        ask(client, "kept.count, conn.data.name = 7, 'ann' return 1")
        before = r.said()
        (VIM | OTHERS)[how](r.folder / "a.lua")
        r.host.wait(lambda: r.said() > before)
        assert ask(client, ALL) == "second27ann"
        time.sleep(0.5)  # a second look at the same save would have been by now
        assert ask(client, ALL) == "second27ann"
        assert r.host.complaints() == []


def test_half_a_file_never_serves(rules):
    r = rules(FIRST, QUICK)
    with r.host.client("/a") as client, (r.folder / "a.lua").open("w") as file:
        file.write(STATE + "script.half = true\ndo return script end\n")  # whole as it stands
        file.flush()
        time.sleep(0.6)
        assert ask(client, "return ws.script.generation") == "first1"
        file.write("-- more\n")
        before = r.said()
        file.close()
        r.host.wait(lambda: r.said() > before)


# Files that come and go -------------------------------------------------------------------------

ANSWERS = "return { request = function() return 200, '%s' end }"


def test_a_new_script_is_served_and_one_that_is_gone_ends(rules):
    r = rules(FIRST, QUICK, "--limit=gone_s=0.3")
    assert r.host.get("/b").status == 404
    r.save(ANSWERS % "b", "b.lua")
    assert r.host.get("/b").status == 200
    with r.host.client("/a") as client:
        (r.folder / "a.lua").unlink()
        assert client.hear_close()[0] == 1001
    r.host.wait_log("a.lua is gone: its routes end, and 1 connections are closed (1001)")
    assert r.host.get("/a").status == 404 and r.host.get("/b").status == 200
    r.save(SECOND)
    with r.host.client("/a") as client:
        assert ask(client, "return ''") == "second"


def test_a_new_folder_brings_its_routes_and_takes_them_away(rules):
    r = rules(FIRST, QUICK, "--limit=gone_s=0.3")
    fresh = r.folder.parent / f"{r.folder.name}-games"
    (fresh / "deep").mkdir(parents=True)
    (fresh / "quiz.lua").write_text(ANSWERS % "quiz")
    (fresh / "deep/index.lua").write_text(ANSWERS % "deep")
    command("mv", fresh, r.folder / "games")
    r.host.wait(lambda: r.host.get("/games/quiz").status == 200)
    r.host.wait(lambda: r.host.get("/games/deep").status == 200)
    (r.folder / "games/deep/later.lua").write_text(ANSWERS % "later")
    r.host.wait(lambda: r.host.get("/games/deep/later").body == b"later")
    command("rm", "-r", r.folder / "games")
    for path in ("/games/quiz", "/games/deep", "/games/deep/later"):
        r.host.wait(lambda path=path: r.host.get(path).status == 404)


def test_a_module_reloads_all_that_have_loaded_it(serve, folder):
    script = """local word = require "word"
    return { message = function(conn) conn:send(word) end }"""
    host = serve(
        {"a.lua": script, "b.lua": script, "c.lua": ANSWERS % "c", "lib/word.lua": "return 'one'"},
        QUICK,
    )
    with host.client("/a") as a, host.client("/b") as b:
        folder({"lib/word.lua": "return 'two'"})
        host.wait(lambda: host.count("generation=2") == 2)
        assert ask(a) + ask(b) == "twotwo"
        folder({"lib/word.lua": "return 'three"})  # a quote is missing
        host.wait(lambda: host.count("not loaded: generation 2 goes on") == 2)
        assert ask(a) + ask(b) == "twotwo"
        save(folder({}) / "lib/word.lua", "return 'three'")
        host.wait(lambda: host.count("generation=3 ") + host.count("generation=3") >= 2)
        host.wait(lambda: ask(a) + ask(b) == "threethree")
        assert host.count("script=c") == 1  # its first load


# Deployments ------------------------------------------------------------------------------------


@pytest.fixture
def served(request):
    """served(FOLDER, flags..) -> a host, which ends with the test."""

    def start(path, *flags: str) -> Host:
        host = Host(path, (QUICK, *flags))
        request.addfinalizer(host.kill)
        return host

    return start


def ln(link, release: str) -> None:
    """For a moment there is no link."""
    command("ln", "-sfn", release, link)


def ln_and_mv(link, release: str) -> None:
    fresh = link.with_name("fresh")
    command("ln", "-s", release, fresh)
    command("mv", "-T", fresh, link)


@pytest.mark.parametrize("switch", [ln, ln_and_mv])
def test_a_link_to_another_release_is_a_reload(served, tmp_path, switch):
    for release, text, word in (("release-41", FIRST, "old"), ("release-42", SECOND, "new")):
        (tmp_path / release / "lib").mkdir(parents=True)
        with_module = text.replace("local word =", "local word = require 'word' ..")
        (tmp_path / release / "a.lua").write_text(with_module)
        (tmp_path / release / "lib/word.lua").write_text(f"return '{word} '")
    current = tmp_path / "current"
    ln(current, "release-41")
    host = served(current)
    with host.client("/a") as client:
        assert ask(client, "kept.count, conn.data.name = 7, 'ann' return 1") == "old first1"
        switch(current, "release-42")
        host.wait(lambda: host.count("generation=2"))
        assert ask(client, ALL) == "new second27ann"
        switch(current, "release-41")  # and back
        host.wait(lambda: host.count("generation=3"))
        assert ask(client, ALL) == "old first37ann"
        # What is written into the release by now counts, and into the other does not.
        save(tmp_path / "release-42/a.lua", "a syntax error")
        save(tmp_path / "release-41/lib/word.lua", "return 'newer '")
        host.wait(lambda: host.count("generation=4"))
        assert ask(client, ALL) == "newer first47ann"
    assert host.stop() == 0, host.text()
    assert host.complaints() == []


def test_git_checkout_of_a_folder_is_a_reload(served, tmp_path):
    def git(*words: str) -> None:
        command("git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", *words)

    git("init", "-b", "one")
    (tmp_path / "lib").mkdir()
    for branch, other, text in (("one", "two", FIRST), ("two", "one", SECOND)):
        git("checkout", "-B", branch)
        (tmp_path / f"{other}.lua").unlink(missing_ok=True)
        (tmp_path / f"{branch}.lua").write_text(ANSWERS % branch)
        (tmp_path / "a.lua").write_text("local it = require 'word'\n" + text)
        (tmp_path / "lib/word.lua").write_text(f"return '{branch}'")
        git("add", "-A")
        git("commit", "-m", branch)
    git("checkout", "one")
    host = served(tmp_path, "--limit=gone_s=2")
    assert host.get("/one").status == 200 and host.get("/two").status == 404
    state = "return kept.count .. conn.data.name"
    with host.client("/a") as client:
        assert ask(client, "kept.count, conn.data.name = 7, 'ann' return 1") == "first1"
        for branch, other, word in (("two", "one", "second"), ("one", "two", "first")):
            git("checkout", branch)
            host.wait(lambda branch=branch: host.get(f"/{branch}").status == 200)
            host.wait(lambda word=word: ask(client, state) == f"{word}7ann")
            host.wait(lambda other=other: host.get(f"/{other}").status == 404)
    assert host.stop() == 0, host.text()
    host.wait_log("one.lua is gone")
    host.wait_log("two.lua is gone")
