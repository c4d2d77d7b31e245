"""perigee reload, over the control socket: what became of each script, and the exit code."""

import json
import socket
import subprocess
import threading
import time
from contextlib import suppress

import pytest

from conftest import check_sanitizers, program
from support import host as support

SCRIPT = """
local rules = { version = 1 }
function rules.message(conn, text) conn:send("%s " .. text) end
return rules
"""
RAISES = """
return { message = function(conn, text) error("no, " .. text) end }
"""


pytestmark = pytest.mark.skipif(
    "probation_s"
    not in subprocess.run([program(), "serve", "--help"], capture_output=True, text=True).stdout,
    reason="the host can't reload yet",
)


@pytest.fixture
def ask(path):
    """ask("reload", ...) -> (status, stdout, stderr), by a command that may wait."""

    def run(*words: str):
        done = subprocess.run(
            [program(), *words, f"--control={path}"],
            capture_output=True, text=True, timeout=90, check=False, env=support.environment(),
        )  # fmt: skip
        check_sanitizers(done.stderr)
        return done.returncode, done.stdout, done.stderr

    return run


def script(ask, name: str) -> dict:
    scripts = json.loads(ask("status", "--format=json")[1])["scripts"]
    return next(found for found in scripts if found["name"] == name)


def test_a_script_is_loaded_anew_while_people_are_connected(serve, folder, path, ask):
    host = serve({"a.lua": SCRIPT % "one", "b.lua": SCRIPT % "one"}, f"--control={path}",
                 "--limit=probation_s=0")  # fmt: skip
    with host.client("/a") as client:
        folder({"a.lua": SCRIPT % "two"})
        status, out, error = ask("reload", "a")
        assert (status, error) == (0, ""), out
        generation = script(ask, "a")["generation"]
        assert generation >= 2 and out == f"a: generation {generation} serves\n"
        client.text("x")
        assert client.hear_text() == "two x"
        assert script(ask, "b")["generation"] == 1
        last = script(ask, "a")["reload"]
        assert last["what"] == "done" and last["age"] < 30


def test_all_scripts_are_changed_or_not(serve, path, ask):
    serve({"a.lua": SCRIPT % "one", "games/b.lua": SCRIPT % "one"}, f"--control={path}",
          "--limit=probation_s=0")  # fmt: skip
    status, out, _ = ask("reload")
    assert status == 0
    assert sorted(out.splitlines()) == ["a: generation 2 serves", "games/b: generation 2 serves"]
    answer = json.loads(ask("reload", "--format=json")[1])
    assert answer["ok"] and {r["generation"] for r in answer["reloads"]} == {3}


def test_what_fails_is_told_with_its_place_and_the_rules_before_serve_on(serve, folder, path, ask):
    host = serve({"a.lua": SCRIPT % "one", "b.lua": SCRIPT % "one"}, f"--control={path}")
    with host.client("/a") as client:
        where = folder({"a.lua": "local x = 1\nreturn { message = }\n"})
        status, out, error = ask("reload")
        assert status == 1 and error == "perigee: 1 of 2 did not reload\n"
        assert f"a: failed: {where}/a.lua:2: " in out and "a: generation 1 serves on" in out
        assert "b: generation 2 serves, on probation\n" in out
        client.text("x")
        assert client.hear_text() == "one x"
    last = script(ask, "a")["reload"]
    assert last["what"] == "failed" and "unexpected symbol" in last["why"]
    assert "a: reload failed" in ask("status")[1]


def test_no_such_script(serve, path, ask):
    serve({"a.lua": SCRIPT % "one"}, f"--control={path}")
    status, out, error = ask("reload", "b")
    assert (status, out) == (1, "") and error.startswith("perigee: ") and "b" in error


def test_waiting_ends_with_the_probation(serve, path, ask):
    serve({"a.lua": SCRIPT % "one"}, f"--control={path}", "--limit=probation_s=1")
    status, out, _ = ask("reload", "a", "--wait")
    assert (status, out) == (0, "a: generation 2 serves\n")
    assert not script(ask, "a")["probation"]


def test_waiting_for_one_that_is_reverted_fails(serve, folder, path, ask):
    host = serve({"a.lua": SCRIPT % "one"}, f"--control={path}", "--limit=probation_s=600")
    clients = [host.client("/a") for _ in range(6)]
    for client in clients:
        client.text("x")
        assert client.hear_text() == "one x"
    folder({"a.lua": RAISES})
    host.wait(lambda: script(ask, "a")["generation"] == 2, 30)  # by the save
    results = []
    waiting = threading.Thread(target=lambda: results.append(ask("reload", "a", "--wait")))
    waiting.start()
    host.wait(lambda: script(ask, "a")["generation"] == 3, 30)  # the same rules: none to go back to

    def all_raise():
        if not results:
            for client in clients:
                client.text("y")
        return results

    host.wait(all_raise, 60)
    waiting.join()
    ((status, out, error),) = results
    assert status == 1 and "a: reverted: " in out, (out, error)
    assert error == "perigee: 1 of 1 did not reload\n"
    assert script(ask, "a")["reload"]["what"] == "reverted"
    for client in clients:
        client.text("last")
        while (said := client.hear_text()) != "one last":
            assert said == "one y"
        client.socket.close()


LOOPS = "while true do end"


def test_one_that_asks_while_a_save_is_on_its_way_hears_what_became_of_it(serve, folder, path, ask):
    host = serve({"a.lua": SCRIPT % "one"}, f"--control={path}")
    answers = []
    asking = threading.Thread(target=lambda: answers.append(ask("reload", "a")))
    where = folder({"a.lua": LOOPS + " -- first"})
    asking.start()
    host.wait(lambda: script(ask, "a")["loading"] or host.count("not loaded"))
    folder({"a.lua": LOOPS + " -- then"})  # while that loads
    asking.join()
    ((status, out, error),) = answers
    assert status == 1 and f"a: failed: {where}/a.lua:1: stopped: over handler_stop_s" in out, out
    assert error == "perigee: 1 of 1 did not reload\n"


def test_rules_that_fail_while_others_load_are_taken_back(serve, folder, path, ask):
    host = serve({"a.lua": SCRIPT % "one"}, f"--control={path}", "--limit=handler_stop_s=3")
    clients = [host.client("/a") for _ in range(3)]
    folder({"a.lua": RAISES})
    host.wait(lambda: host.count("generation=2"))
    for client in clients[:2]:
        client.text("x")
    host.wait(lambda: host.count("no, x") == 2)
    folder({"a.lua": LOOPS})
    host.wait(lambda: script(ask, "a")["loading"])
    clients[2].text("x")
    host.wait(lambda: host.count("taken back: 3 of 3 events"))
    assert not host.count("not loaded"), "it was not on its way any more: nothing is shown"
    host.wait(lambda: script(ask, "a")["reload"]["what"] == "reverted", 30)
    for client in clients:
        client.text("y")
        assert client.hear_text() == "one y"
        client.socket.close()


def test_who_waits_and_has_gone_holds_no_place(serve, path, ask):
    host = serve({"a.lua": SCRIPT % "one"}, f"--control={path}", "--limit=probation_s=600")
    assert ask("reload", "a")[0] == 0
    waiting = []
    while script_at(path) is not None:  # until all places are theirs
        assert len(waiting) < 200
        waiting.append(socket.socket(socket.AF_UNIX))
        waiting[-1].connect(str(path))
        waiting[-1].sendall(b'{"do":"reload","wait":true}\n')
        time.sleep(0.05)  # or the next one may send it away before it has been heard
    assert len(waiting) >= 16
    for gone in waiting:
        gone.close()
    host.wait(lambda: script_at(path) is not None)


def script_at(path):
    """The status of a host, or None where it hangs up."""
    with socket.socket(socket.AF_UNIX) as asking, suppress(ConnectionError):
        asking.settimeout(5)
        asking.connect(str(path))
        asking.sendall(b'{"do":"status"}\n')
        return json.loads(asking.recv(65536) or b"null")
    return None
