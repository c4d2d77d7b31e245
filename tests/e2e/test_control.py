"""Talking to a running host: the control socket, who may use it and what they can't do to it, and
the commands that do."""

import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from controlling import Control, command

from conftest import CHAT, check_sanitizers, program
from support import host as support

BROKEN = "return {"


@pytest.fixture
def control(chat, path):
    with Control(path) as asking:
        yield asking


# Where it is ---------------------------------------------------------------------------------


def test_only_the_user_may_open_it_and_it_goes_with_the_host(chat, path):
    found = os.lstat(path)
    assert stat.S_ISSOCK(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o600
    chat.stop()
    assert not path.exists()


def test_one_of_a_killed_host_is_replaced(serve, path):
    first = serve({"chat.lua": CHAT}, f"--control={path}")
    first.kill()
    first.end = lambda: 0  # as the fixture asks
    assert path.exists()
    serve({}, f"--control={path}")
    with Control(path) as control:
        assert control.ask({"do": "status"})["ok"]


def test_one_of_a_living_host_is_not(chat, path, run, folder):
    status, _, error = run("serve", str(folder({})), "--port=0", f"--control={path}")
    assert status == 1
    assert error == (
        f"perigee: cannot make the control socket {path}: another program listens there\n"
    )
    assert command(path, "status")[0] == 0


def test_a_file_there_is_never_removed(run, folder, path):
    path.write_text("mine")
    status, _, error = run("serve", str(folder({})), "--port=0", f"--control={path}")
    assert status == 1 and "a file that is no socket is there" in error
    assert path.read_text() == "mine"


def environment(tmp_path, **more):
    """One in which nothing says where sockets are but TMPDIR."""
    without = {k: v for k, v in support.environment().items() if k != "XDG_RUNTIME_DIR"}
    return without | {"TMPDIR": str(tmp_path)} | more


class Free(support.Host):
    """A host in an environment of its own, with no --control."""

    def __init__(self, folder, env, *args):
        self.env = env
        support.Process.__init__(
            self, [program(), "serve", str(folder), "--port=0", *args], env=env
        )
        try:
            self.port = int(self.wait_for_line(support.LISTENING, support.START_S)[2])
        except BaseException:
            self.kill()
            raise

    def __exit__(self, *error):
        super().__exit__(*error)
        check_sanitizers("\n".join(self.log))


def test_by_default_it_lies_where_the_system_has_such_files(folder, tmp_path_factory):
    runtime = tmp_path_factory.mktemp("run")
    env = support.environment(XDG_RUNTIME_DIR=str(runtime))
    with Free(folder({"chat.lua": CHAT}), env) as host:
        assert [p.name for p in runtime.iterdir()] == [f"perigee-{host.port}.sock"]
        status, out, _ = command(None, "status", env=env)
        assert status == 0 and f":{host.port}" in out
        assert host.stop() == 0
    assert not list(runtime.iterdir())


def test_else_in_a_private_folder_of_the_temporary_one(folder, tmp_path_factory):
    temporary = tmp_path_factory.mktemp("tmp")
    env = environment(temporary)
    with Free(folder({"chat.lua": CHAT}), env) as host:
        private = temporary / f"perigee-{os.geteuid()}"
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        assert [p.name for p in private.iterdir()] == [f"perigee-{host.port}.sock"]
        assert command(None, "eval", "chat", "1 + 1", env=env) == (0, "2\n", "")


def test_a_folder_that_others_may_enter_is_not_used(folder, tmp_path_factory):
    temporary = tmp_path_factory.mktemp("tmp")
    private = temporary / f"perigee-{os.geteuid()}"
    private.mkdir(mode=0o755)
    private.chmod(0o755)
    env = environment(temporary)
    with Free(folder({"chat.lua": CHAT}), env) as host:
        support.wait_until(lambda: any("no control socket" in line for line in host.log), "a line")
        assert not list(private.iterdir())
        assert command(None, "status", env=env)[0] == 1


def test_off_makes_none(folder, tmp_path_factory):
    runtime = tmp_path_factory.mktemp("run")
    env = support.environment(XDG_RUNTIME_DIR=str(runtime))
    with Free(folder({}), env, "--control=off"):
        assert not list(runtime.iterdir())


def test_with_no_host_or_several_a_command_says_so(folder, tmp_path_factory):
    runtime = tmp_path_factory.mktemp("run")
    env = support.environment(XDG_RUNTIME_DIR=str(runtime))
    (runtime / "perigee-1.sock").write_text("no socket")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(runtime / "perigee-2.sock"))  # of a host that was killed
    status, out, error = command(None, "status", env=env)
    assert (status, out) == (1, "") and "no host of this user runs here" in error
    where = folder({"chat.lua": CHAT})
    with Free(where, env) as one, Free(where, env) as two:
        status, out, error = command(None, "status", env=env)
        assert (status, out) == (2, "")
        paths = [str(runtime / f"perigee-{host.port}.sock") for host in (one, two)]
        assert sorted(error.split("\n  ")[1:]) == sorted(paths) or all(p in error for p in paths)
        for host, path in zip((one, two), paths, strict=True):
            assert f":{host.port}" in command(path, "status")[1]
            named = command(None, "status", env=env | {"PERIGEE_CONTROL": path})
            assert f":{host.port}" in named[1]


def test_a_socket_that_is_not_there_or_no_host_s_is_said(tmp_path):
    status, _, error = command(tmp_path / "none", "status")
    assert (status, error) == (1, f"perigee: no host at {tmp_path}/none: there is no such socket\n")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "other"))
        other.listen()
        asking = subprocess.Popen(
            [program(), "status", f"--control={tmp_path}/other"],
            stderr=subprocess.PIPE, text=True, env=support.environment(),
        )  # fmt: skip
        peer, _ = other.accept()
        with peer:
            peer.recv(1000)
            peer.sendall(b"220 mail.example.org\n")
            assert asking.wait(20) == 1
    assert asking.stderr.read() == "perigee: who answers there is no perigee host\n"
    asking.stderr.close()


# What it says ----------------------------------------------------------------------------------


def test_status_counts_what_happens(chat, control, path):
    empty = control.script()
    assert (empty["generation"], empty["connections"], empty["rooms"]) == (1, 0, 0)
    assert empty["last_error"] is None and empty["reload"] is None and empty["timers"] == 1
    with chat.client("/chat") as client, chat.client("/chat") as waiting:
        client.text(*(["x"] * 5), "boom")
        for _ in range(5):
            client.hear()
        waiting.text("sleep")
        chat.wait(lambda: control.script()["messages"] == 7)
        script = control.script()
        assert (script["connections"], script["rooms"], script["waiting"]) == (2, 1, 1)
        assert script["errors"] == 1
        assert script["last_error"]["message"].endswith("chat.lua:12: bad words: boom")
        assert 0 <= script["last_error"]["age"] < 30
        assert 0 < script["memory"] < script["memory_max"] == 64 << 20
        status, out, _ = command(path, "status")
        assert status == 0
        assert re.search(r"^chat +1 +2 +1 +1 +\S+ KiB +7 +1$", out, re.MULTILINE), out
        assert re.search(r"^chat: 1 handler waits$", out, re.MULTILINE)
        assert re.search(
            r"^chat: last error \d+ s ago: \S+:12: bad words: boom$", out, re.MULTILINE
        )
        whole = json.loads(command(path, "status", "--format", "json")[1])
        assert whole["process"] == chat.process.pid and whole["connections"] == 2
        assert whole["listening"] == [chat.http]


def test_a_handler_that_was_stopped_is_an_error_too(serve, path):
    loops = "return { message = function() while true do end end }"
    host = serve({"chat.lua": loops}, f"--control={path}", "--limit=handler_stop_s=0.1")
    with Control(path) as control, host.client("/chat") as client:
        client.text("x")
        script = host.wait(lambda: (now := control.script())["errors"] and now)
        assert re.search(
            r"chat\.lua:1: stopped: over handler_stop_s", script["last_error"]["message"]
        )


def test_a_script_that_did_not_load_is_there(serve, path):
    serve({"a/broken.lua": BROKEN, "chat.lua": CHAT}, f"--control={path}")
    with Control(path) as control:
        assert control.script("a/broken")["generation"] == 0
        assert control.eval("1", "a/broken")["error"].endswith("a/broken.lua is not loaded")
    assert "a/broken: not loaded, its routes answer 503" in command(path, "status")[1]


def test_handlers_are_measured_while_somebody_asks_for_it(chat, control):
    assert "p50" not in control.script()
    assert control.script(measure=True)["p50"] == 0
    with chat.client("/chat") as client:
        client.text(*(["x"] * 50))
        for _ in range(50):
            client.hear()
        script = control.script(measure=True)
        assert 0 < script["p50"] <= script["p99"] < 10
        assert "p50" not in control.script()
        assert control.script(measure=True)["p50"] == 0  # it begins anew


def test_errors_that_repeat_are_counted_and_not_said_each_time(chat, control):
    with chat.client("/chat") as client:
        # Whatever a peer makes of the text: it is one place, and one line in the end.
        client.text(*(f"boom {i}" for i in range(1000)), "x")
        client.hear()
        assert control.script()["errors"] == 1000
    chat.signal()
    assert chat.end() == 0
    lines = [line for line in chat.log if "bad words: boom" in line]
    assert len(lines) < 200, "each error has its line"
    more = sum(int(found[1]) for line in lines if (found := re.search(r"more=(\d+)", line)))
    written = sum("more=" not in line for line in lines)
    assert written + more == 1000
    assert "traceback=" in lines[0] and "place=" not in lines[0]


def test_requests_are_answered_in_order_one_line_each(control):
    control.send(b'{"do":"status"}\r\n{"do":\n\n{"do":"eval","script":"chat","code":"7"}\n')
    assert json.loads(control.line())["scripts"]
    assert json.loads(control.line()) == json.loads(control.line())
    assert json.loads(control.line()) == {"ok": True, "text": "7"}


def test_an_end_answers_what_came_before_it(chat, path):
    with Control(path) as control:
        control.send(b'{"do":"eval","script":"chat","code":"1"}\n{"do":"eval","script":"chat",')
        control.send(b'"code":"2"}')  # as a shell's `printf | nc` may
        control.socket.shutdown(socket.SHUT_WR)
        assert json.loads(control.line())["text"] == "1"
        assert json.loads(control.line())["text"] == "2"
        assert control.line() == b""


# Eval --------------------------------------------------------------------------------------------


def test_eval_finds_and_sets_the_locals_of_the_script(control, chat):
    assert control.eval("count, bump(), count")["text"] == "0\n1\n1"
    assert control.eval("count = 40")["text"] == ""
    assert control.eval("local n = bump() return n")["text"] == "41"
    assert control.eval("shout = 3")["text"] == ""
    assert control.eval("beats")["text"] == "7"  # only a timer uses it
    assert control.eval("shout, nothing")["text"] == "3\nnil"
    assert control.eval("ws.script.name")["text"] == '"chat"'
    with chat.client("/chat"):
        assert re.fullmatch(r'\{\[conn [a-z2-7]{16}\] = "guest"\}', control.eval("names")["text"])


@pytest.mark.parametrize(
    "code, shown",
    [
        ("nil", "nil"),
        ("1, 1.0, -0.5, 1e300, 2^63", "1\n1.0\n-0.5\n1e+300\n9.2233720368548e+18"),
        (r"'a\n\"\\\0é'", r'"a\n\"\\\000é"'),
        ("{}, {1, {2}}, {b = 1, a = true, ['x y'] = 2, [3.5] = 4}",
         "{}\n{1, {2}}\n{a = true, b = 1, [\"x y\"] = 2, [3.5] = 4}"),
        ("{{{{{}}}}}", "{{{{{...}}}}}"),
        ("{a = ('x'):rep(60), b = {1, 2}}", '{\n  a = "' + "x" * 60 + '",\n  b = {1, 2}\n}'),
        ("setmetatable({1}, {__index = error, __tostring = error, __pairs = error})", "{1}"),
        ("ws.room('a b'), ws.json.null", 'room "a b"\njson.null'),
        ("string.rep, coroutine.create(print)", "function (built in)\nthread"),
    ],
)  # fmt: skip
def test_eval_shows_values_as_lua_writes_them(control, code, shown):
    assert control.eval(code) == {"ok": True, "text": shown}


def test_what_eval_shows_is_bounded(control):
    text = control.eval("(function() local t = {} for i = 1, 1e5 do t[i] = i end return t end)()")
    assert text["text"].endswith("  100,\n  ...\n}")
    text = control.eval(
        "(function() local t = {} for i = 1, 1e5 do t['k' .. i] = i end return t end)()"
    )
    assert text["text"].count("\n") == 102 and "...\n}" in text["text"]
    many = "(function() local t = {} for i = 1, 100 do t[i] = ('x'):rep(1000) end return t end)()"
    text = control.eval(many)["text"]
    assert 60_000 < len(text) < 66_000 and text.endswith("\n... (64 KiB are shown)")
    assert control.eval("('x'):rep(1e6)")["text"] == '"' + "x" * 1000 + '"...'
    assert control.eval("table.unpack({}, 1, 5000)")["text"].count("nil") == 5000
    deep = "(function() local t = {} t.t = t return t end)()"
    assert control.eval(deep)["text"] == "{t = {t = {t = {t = {...}}}}}"


def test_eval_that_fails_says_why_and_costs_nobody(control, chat, path):
    with chat.client("/chat") as client:
        assert control.eval("1 +")["error"].startswith("eval:1: ")
        assert control.eval("error('no')")["error"].startswith("eval:1: no\nstack traceback:")
        assert "can't wait here" in control.eval("ws.sleep(1)")["error"]
        assert control.eval("error({})")["ok"] is False
        assert "not enough memory" in control.eval("('x'):rep(1e9)")["error"]
        assert control.eval("1", "nobody")["error"] == 'there is no script "nobody"'
        assert control.script()["errors"] == 0  # they are an operator's
        client.text("still here")
        assert client.hear_text() == "still here"
    assert command(path, "eval", "chat", "error 'no'") == (
        1, "", "perigee: eval:1: no\nstack traceback:\n [C]: in function 'error'\n"
               " eval:1: in main chunk\n [C]: in ?\n [C]: in ?\n",
    )  # fmt: skip


def test_eval_acts_at_once_and_is_in_the_log(control, chat):
    with chat.client("/chat") as client:
        assert control.eval("ws.all:broadcast('from above')")["text"] == "1"
        assert client.hear_text() == "from above"
        control.eval("print('seen', count)")
    chat.wait_log('level=warn msg="an operator evaluates" script=chat generation=1 '
                  'code="ws.all:broadcast(\'from above\')"')  # fmt: skip
    chat.wait_log('level=info msg="seen\\t0" script=chat')


def test_eval_prints_nothing_that_steers_a_terminal(chat, path):
    status, out, _ = command(path, "eval", "chat", r"'\27[2J\u{202e}x'")
    assert (status, out) == (0, '"\\027[2J?x"\n')
    assert command(path, "eval", "chat", "-1") == (0, "-1\n", "")
    assert command(path, "eval", "chat", "x = 1") == (0, "", "")
    assert json.loads(command(path, "eval", "chat", "1", "--format=json")[1]) == {
        "ok": True, "text": "1",
    }  # fmt: skip


# Hostile ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rubbish",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\n", b"\0\xff\xfe\n", b"[" * 60000 + b"\n",
     b'{"do":"status","do":1}\n', b'{"do":"eval"}\n', b'{"do":"eval","script":"chat","code":"\n',
     b'{"do":"reload","script":"\\u0000"}\n'],
)  # fmt: skip
def test_rubbish_is_answered_with_what_is_wrong(control, rubbish):
    answer = control.ask(rubbish)
    assert answer["ok"] is False and answer["error"]
    control.send(b"\n" if rubbish.count(b"\n") == 1 else b"")


def test_a_line_without_end_is_refused(control):
    with suppress(BrokenPipeError, ConnectionResetError):
        control.send(b"x" * 200_000)
    assert json.loads(control.line())["error"] == "a request has 65536 bytes at most"
    assert control.line() == b""


def test_half_a_line_and_an_answer_nobody_reads_cost_nobody(chat, path):
    big = ("{\"do\":\"eval\",\"script\":\"chat\",\"code\":\"('x'):rep(999),('x'):rep(999),"
           + "('x'):rep(999),('x'):rep(999)," * 10 + "1\"}\n").encode()  # fmt: skip
    with Control(path) as half, Control(path) as deaf, chat.client("/chat") as client:
        half.send(b'{"do":"sta')
        deaf.socket.settimeout(1)
        sent = 0
        with suppress(TimeoutError):
            while True:
                sent += deaf.socket.send(big)
                client.text("x")
                assert client.hear_text() == "x"
        assert sent < 4_000_000  # no more than sockets hold is taken from it
        before = chat.memory()[0]
        assert command(path, "status")[0] == 0
        began = time.monotonic()
        assert half.line() == b""  # hung up
        assert time.monotonic() - began < 20
        chat.wait(lambda: chat.memory()[0] <= before + 10_000_000)
        client.text("y")
        assert client.hear_text() == "y"


def test_more_clients_than_there_are_places_send_away_the_quietest(chat, path):
    others = [Control(path) for _ in range(16)]
    for other in others[1:]:
        assert other.ask({"do": "status"})["ok"]
    with Control(path) as one_more:
        assert one_more.ask({"do": "status"})["ok"]
        assert others[0].line() == b""
        assert others[1].ask({"do": "status"})["ok"]
    for _ in range(200):
        with Control(path) as flood:
            flood.send(b'{"do":"status"}\n')
    assert command(path, "status")[0] == 0
    for other in others:
        other.socket.close()


AS_NOBODY = """
import os, socket, sys
os.setgid(65534)
os.setuid(65534)
asking = socket.socket(socket.AF_UNIX)
try:
    asking.connect(sys.argv[1])
    asking.sendall(b'{"do":"status"}\\n')
    print(asking.recv(100))
except (BrokenPipeError, ConnectionResetError):
    print(b"")
except PermissionError:
    print("no")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_another_user_is_kept_out_even_where_the_file_lets_him_in(chat, path):
    def as_nobody() -> str:
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, path], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    for parent in [*path.parents][:-2]:
        parent.chmod(0o755)
    assert as_nobody() == "no"
    path.chmod(0o666)
    assert as_nobody() == "b''"
    chat.wait_log("the control socket is not for user 65534")
    assert command(path, "status")[0] == 0


# Usage --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, says",
    [
        (["status", "chat"], 'status takes no "chat"'),
        (["status", "--wait"], 'status has no option "--wait"'),
        (["reload", "a", "b"], 'reload takes no "b"'),
        (["top", "--twice"], 'top has no option "--twice"'),
        (["eval", "chat"], "eval takes a script and an expression"),
        (["eval", "chat", "1", "2"], 'eval takes no "2"'),
        (["status", "--format", "xml"], '--format is text or json, not "xml"'),
        (["status", "--control"], "--control needs a value"),
    ],
)
def test_wrong_usage_is_said(words, says):
    done = subprocess.run(
        [program(), *words], capture_output=True, text=True, env=support.environment(), check=False
    )
    assert done.returncode == 2 and done.stderr.startswith(f"perigee: {says}")
    assert done.stdout == ""


def test_paths_of_commands_in_docs_exist():
    page = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    for name in ("status", "reload", "top", "eval"):
        assert f"`{name}`" in page or f"perigee {name}" in page
