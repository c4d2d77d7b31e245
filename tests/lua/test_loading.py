"""Loading a folder: what is a script, what becomes of one that fails, and perigee.lua."""

import subprocess

import pytest

from serving import PATIENCE_S, eventually
from support.host import program

FINE = 'return { request = function() return 200, "fine" end }'


@pytest.fixture
def refuse(folder):
    """Serves a folder that the host refuses; the one line that says why."""

    def run(files, *flags):
        command = [program(), "serve", str(folder(files)), "--host=127.0.0.1", "--port=0", *flags]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode in (1, 2), done
        assert "listening" not in done.stdout
        return done.stderr.splitlines()[-1]

    return run


def test_what_is_a_script_and_where_it_answers(serve):
    says = 'return { request = function() return 200, require("ws").script.name end }'
    host = serve(
        dict.fromkeys(
            """index.lua a.lua a/b.lua a/index.lua a/b/c.lua perigee_2.lua a/perigee.lua
            _hidden.lua .hidden.lua a_test.lua a/_x.lua lib/l.lua a/lib/l.lua meta/m.lua
            public/p.lua a/public/p.lua a/meta/m.lua notes.txt""".split(),
            says,
        )
        | {"a/index.lua": says.replace("200,", '200, "index " ..'), "a.lua": "return {}"}
        | {"a.lua": says.replace("return {", 'return { route = "/other",')}
    )
    for path, name in {
        "/": "index",
        "/other": "a",
        "/a": "index a/index",
        "/a/": "index a/index",
        "/a/b": "a/b",
        "/a/b/c": "a/b/c",
        "/perigee_2": "perigee_2",
        "/a/perigee": "a/perigee",
    }.items():
        assert (host.get(path).status, host.get(path).text) == (200, name)
    for path in """/index /_hidden /.hidden /hidden /a_test /a/_x /lib/l /a/lib/l /meta/m /public/p
        /a/public/p /a/meta/m /notes.txt /notes /a/index /perigee""".split():
        assert host.get(path).status == 404, path


def test_a_route_may_be_a_list(serve):
    script = """return {
      route = { "/one", "/two/:x" },
      request = function(req) return 200, req.params end,
    }"""
    host = serve({"a.lua": script})
    assert host.get("/one").json() == {}
    assert host.get("/two/3").json() == {"x": "3"}
    assert host.get("/a").status == 404


FAILING = {
    "a syntax error": ("return {\n  message = = 1,\n}", r"bad\.lua:2:"),
    "an error while it runs": ('local x\nerror "no good"', r"bad\.lua:2: no good"),
    "no table": ("return 5", r"returns a table"),
    "nothing": ("local x = 1", r"returns a table"),
    "an error in start": ("return { start = function()\n error 'not ready' end }", r"not ready"),
    "a wait while loading": ('require("ws").sleep(0)\nreturn {}', r"not while loading"),
    "a handler that is no function": ("return { message = 5 }", r"message.*function"),
    "a timer that is none": ("return { timers = { a = 5 } }", r"timers"),
    "timers that are none": ("return { timers = 5 }", r"timers"),
    "an unknown timer": ('require("ws").after(0, "x")\nreturn {}', r"no timer 'x'"),
    "a wrong slow": ('return { slow = "never" }', r"slow"),
    "a wrong on_error": ('return { on_error = "ignore" }', r"on_error"),
    "a version that is no integer": ("return { version = 1.5 }", r"version"),
    "protocols that are none": ("return { protocols = {} }", r"protocols"),
    "a protocol that is no token": ('return { protocols = "a b" }', r"protocol"),
    "an unknown limit": ("return { limits = { mesage_bytes = 1 } }", r"message_bytes"),
    "a limit of the host": ("return { limits = { ping_s = 1 } }", r"ping_s"),
    "a looser limit": ("return { limits = { message_bytes = 1 << 30 } }", r"message_bytes"),
    "a limit that is no number": ("return { limits = { rooms = 'many' } }", r"rooms"),
    "limits that are none": ("return { limits = 5 }", r"limits"),
    "state that is no data": ('require("ws").state("s", { f = print })\nreturn {}', r"s\.f"),
    "a missing module": ('require "nowhere"\nreturn {}', r"bad\.lua:1:.*nowhere"),
    "a broken module": ('require "broken"\nreturn {}', r"lib/broken\.lua:2:"),
    "out of memory": ('local t = {} while true do t[#t + 1] = ("x"):rep(1e6) .. #t end', r"memory"),
    "bytecode": ("\x1bLuaT\0", r"bad\.lua|binary"),
}


@pytest.mark.parametrize("why", FAILING)
def test_one_that_fails_answers_503_and_the_others_serve(serve, why):
    text, logged = FAILING[why]
    host = serve({"bad.lua": text, "lib/broken.lua": "--\nreturn return", "good.lua": FINE})
    host.log_line(f"level=error msg=.*{logged}")
    host.log_line("level=error.*script=bad")
    assert host.get("/bad").status == 503
    assert host.get("/good").text == "fine"


def test_the_route_of_one_that_fails_in_start_is_its_own(serve):
    host = serve({"bad.lua": 'return { route = "/x/:y", start = function() error "no" end }'})
    assert host.get("/x/1").status == 503


def test_a_file_that_never_said_its_route_takes_nobody_elses(serve):
    """Its path would be the route of another script: the start was refused."""
    host = serve({"a.lua": "return {", "b.lua": FINE.replace("{", '{ route = "/a",', 1)})
    host.log_line("level=error.*script=a")
    assert host.get("/a").text == "fine"


def test_what_start_began_is_gone_when_it_fails(serve):
    script = """
        local ws = require "ws"
        ws.after(0, function() ws.log.info "from a failed load" end)
        return { start = function()
          ws.after(0, function() ws.log.info "from a failed load" end)
          error "no"
        end }
    """
    host = serve({"bad.lua": script, "good.lua": FINE})
    host.log_line("level=error.*script=bad")
    for _ in range(3):
        assert host.get("/good").text == "fine"
    assert not host.log_lines('msg="from a failed load"')


def test_two_scripts_with_one_route_are_refused_and_named(refuse):
    line = refuse({"a.lua": 'return { route = "/same" }', "b.lua": 'return { route = "/same/" }'})
    assert "a.lua" in line and "b.lua" in line and "/same" in line


def test_a_route_that_is_none_is_told_with_its_script(refuse):
    line = refuse({"a.lua": 'return { route = "/a/:x:y/*/b" }'})
    assert "a.lua" in line


@pytest.mark.parametrize(
    "name", ["onmessage", "on_message", "mesage", "Message", "onOpen", "limit"]
)
def test_a_field_that_only_resembles_a_known_one_is_a_warning(serve, name):
    host = serve({"a.lua": f"return {{ {name} = function() end, helper = 1, name = 'x' }}"})
    host.log_line(f"level=warn msg=.*a.lua.*{name}")
    assert len(host.complaints()) == 1


def test_a_link_out_of_the_folder_is_not_required(serve, folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret.lua"
    outside.write_text("return 'secret'")
    path = folder({"lib/here.lua": "return 1"})
    (path / "lib/secret.lua").symlink_to(outside)
    (path / "_secret.lua").symlink_to(outside)
    script = """
        local found = {}
        for i, name in ipairs { "secret", "_secret", "here" } do
          found[i] = (pcall(require, name))
        end
        return { request = function() return 200, found end }
    """
    host = serve({"a.lua": script})
    assert host.get("/a").json() == [False, False, True]


def test_links_to_a_folder_above_do_not_multiply_the_scripts(serve, folder):
    """Two of them gave a script two to the power of thirty-two paths."""
    where = folder({"a/b/fine.lua": FINE})
    (where / "a/b/up").symlink_to("..")
    (where / "a/b/top").symlink_to(where)
    host = serve({"other.lua": FINE})
    assert host.get("/a/b/fine").text == "fine"
    assert host.get("/a/b/up/b/fine").status == 404
    eventually(lambda: "fine.lua" in "\n".join(host.out), "its routes")
    assert [line for line in host.out if "fine.lua" in line] == ["  /a/b/fine  a/b/fine.lua"]


def test_serve_prints_its_routes(serve):
    host = serve({"a.lua": FINE, "b.lua": 'return { route = { "/x", "/y/*" } }'})
    told = ("/a", "a.lua", "/x", "/y/*", "b.lua")
    eventually(lambda: all(text in "\n".join(host.out) for text in told), "its routes")


# perigee.lua


def test_a_section_is_the_scripts_config_and_limits_are_the_hosts(serve):
    script = """
        local ws = require "ws"
        return {
          request = function(req) return 200, { config = ws.config, body = #req.body } end,
        }
    """
    config = """return {
      limits = { body_bytes = 10, head_s = 2.5, script_memory = "8 MiB" },
      scripts = { ["games/quiz"] = { rounds = 10 } },
    }"""
    host = serve({"games/quiz.lua": script, "b.lua": script, "perigee.lua": config})
    assert host.get("/games/quiz").json() == {"config": {"rounds": 10}, "body": 0}
    assert host.get("/b").json()["config"] == {}
    assert host.request("POST", "/b", body=b"x" * 10).status == 200
    assert host.request("POST", "/b", body=b"x" * 11).status == 413
    assert host.get("/perigee").status == 404


def test_flags_go_before_perigee_lua(serve):
    host = serve(
        {"a.lua": FINE, "perigee.lua": "return { limits = { body_bytes = 10 } }"},
        "--limit=body_bytes=20",
    )
    assert host.request("POST", "/a", body=b"x" * 20).status == 200
    assert host.request("POST", "/a", body=b"x" * 21).status == 413


def test_a_section_without_a_script_is_a_warning(serve):
    host = serve({"a.lua": FINE, "perigee.lua": "return { scripts = { quizz = {} } }"})
    host.log_line("level=warn msg=.*quizz")


def test_each_script_has_a_config_of_its_own(serve):
    script = """
        local ws = require "ws"
        return { request = function() ws.config.n = ws.config.n + 1 return 200, ws.config end }
    """
    config = "local one = { n = 1 } return { scripts = { a = one, b = one } }"
    host = serve({"a.lua": script, "b.lua": script, "perigee.lua": config})
    assert [host.get(path).json()["n"] for path in ("/a", "/a", "/b")] == [2, 3, 2]


WRONG = {
    "a syntax error": ("return {\n =", r"perigee.lua:2:"),
    "an error": ("error 'no'", "perigee.lua:1: no"),
    "no table": ("return 1", "perigee.lua"),
    "an unknown key": ("return { limit = {} }", "limits"),
    "an unknown limit": ("return { limits = { mesage_bytes = 1 } }", "message_bytes"),
    "a wrong value": ("return { limits = { message_bytes = 'big' } }", "message_bytes"),
    "a section that is no table": ("return { scripts = { a = 1 } }", "scripts"),
    "a section that is no data": ("return { scripts = { a = { f = print } } }", "function"),
    "host": ("return { host = '0.0.0.0' }", "host"),
    "port": ("return { port = 80 }", "port"),
    "the host as a limit": ("return { limits = { host = '0.0.0.0' } }", "host"),
    "ws": ("require 'ws'", "perigee.lua"),
    "io": ("io.open('/etc/passwd')", "perigee.lua"),
}


@pytest.mark.parametrize("why", WRONG)
def test_a_wrong_perigee_lua_is_refused_with_one_line(refuse, why):
    text, said = WRONG[why]
    line = refuse({"a.lua": FINE, "perigee.lua": text})
    assert "perigee.lua" in line and said in line
