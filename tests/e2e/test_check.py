"""perigee check: its formats, its exit codes, and that what is right is left alone."""

import json
import os
import pty
import re
import subprocess

import pytest

from conftest import program
from support.host import ROOT, START_S

WRONG = """local ws = require "ws"
local s = {}
function s.open(conn)
\tconn:sned("hi")
end
function s.onclose(conn) end
return s
"""

# Lines of the tests' own scripts that are wrong on purpose.
ON_PURPOSE = re.compile(
    r"misuse|ws\.no_such|ws\.(store|http|crypto), nil|string\.dump, nil|= function\(\) ws\.reject"
)


def check(folder, *args):
    done = subprocess.run(
        [program(), "check", str(folder), *args],
        capture_output=True, text=True, timeout=START_S, check=False,
    )  # fmt: skip
    assert "Sanitizer" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def findings(folder):
    return json.loads(check(folder, "--format=json")[1])


@pytest.mark.parametrize(
    "name", ["scripts", "tests/acceptance/scripts", "tests/acceptance/hostile"]
)
def test_what_is_right_is_left_alone(name):
    status, out, err = check(ROOT / name, "--strict")
    assert (status, err) == (0, "")
    assert out.endswith("0 errors, 0 warnings\n"), out


def test_in_the_tests_scripts_only_what_is_wrong_on_purpose_is_found():
    found = findings(ROOT / "tests/lua/scripts")
    assert len(found) > 30
    for finding in found:
        with open(finding["file"]) as file:
            line = file.read().split("\n")[finding["line"] - 1]
        assert ON_PURPOSE.search(line), (finding, line)


def test_the_recipes_are_right(folder):
    recipes = re.findall(r"```lua\n(.*?)```", (ROOT / "docs/cookbook.md").read_text(), re.S)
    assert len(recipes) >= 10
    for recipe in recipes:
        assert findings(folder({"recipe.lua": recipe})) == [], recipe


def test_text_shows_the_line_with_a_caret(folder):
    status, out, err = check(folder({"s.lua": WRONG}))
    path = folder({}) / "s.lua"
    assert (status, err) == (1, "")
    assert out == (
        f"{path}:4:7: error: conn has no method 'sned': did you mean 'send'? [unknown-method]\n"
        '     4 |  conn:sned("hi")\n'
        "       |       ^\n"
        f"{path}:6:12: warning: the field 'onclose' is not known: did you mean 'close'?"
        " [misspelt-field]\n"
        "     6 | function s.onclose(conn) end\n"
        "       |            ^\n"
        "1 file: 1 error, 1 warning\n"
    )


def test_gcc_is_a_line_for_each(folder):
    status, out, _ = check(folder({"s.lua": WRONG}), "--format", "gcc")
    assert status == 1
    assert re.fullmatch(
        r"\S+/s\.lua:4:7: error: .* \[unknown-method\]\n"
        r"\S+/s\.lua:6:12: warning: .* \[misspelt-field\]\n",
        out,
    ), out


def test_json_is_a_list_of_objects(folder):
    status, out, _ = check(folder({"s.lua": WRONG}), "--format=json")
    first, second = json.loads(out)
    assert status == 1
    assert first == {
        "file": str(folder({}) / "s.lua"),
        "line": 4,
        "column": 7,
        "severity": "error",
        "rule": "unknown-method",
        "message": "conn has no method 'sned': did you mean 'send'?",
    }
    assert (second["severity"], second["rule"]) == ("warning", "misspelt-field")


def test_exit_codes(folder):
    right = folder({"s.lua": "return {}"})
    assert check(right)[0] == 0
    assert check(right, "--format=json")[:2] == (0, "[]\n")
    assert check(right, "--format=gcc")[:2] == (0, "")
    warned = folder({"s.lua": "count = 1 return {}"})
    assert check(warned)[0] == 0
    assert check(warned, "--strict")[0] == 1
    assert check(folder({"s.lua": "return {"}))[0] == 1


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--format=xml"], "text, gcc or json"),
        (["--format"], "needs a value"),
        (["--stritc"], 'no option "--stritc"'),
        (["a", "b"], "not both"),
        (["/nowhere/at/all"], "there is no folder"),
    ],
)
def test_wrong_usage_is_2_and_one_line(run, args, said):
    status, out, err = run("check", *args)
    assert (status, out) == (2, "")
    assert said in err and err.count("\n") == 1


def test_help_names_the_formats(run):
    status, out, _ = run("check", "--help")
    assert status == 0
    assert "--format=gcc" in out and "--strict" in out and "Exit codes" in out


def test_colours_at_a_terminal_only(folder):
    path = folder({"s.lua": WRONG})
    shown = {}
    for no_colour in ("", "1"):
        main, side = pty.openpty()
        env = {**os.environ, "TERM": "xterm", "NO_COLOR": no_colour}
        with subprocess.Popen([program(), "check", str(path)], stdout=side, env=env) as process:
            os.close(side)
            text = b""
            try:
                while piece := os.read(main, 4096):
                    text += piece
            except OSError:
                pass  # the terminal's other end is closed
            assert process.wait() == 1
        os.close(main)
        shown[no_colour] = text
    assert b"\x1b[1;31merror:\x1b[0m" in shown[""]
    assert b"\x1b" not in shown["1"] and b"error:" in shown["1"]


def test_what_a_file_holds_steers_no_terminal_and_breaks_no_json(folder):
    source = b'local ws = require "ws" -- \x1b[2J\xff\n'
    source += b'local x = ws["\x1b[31m\xff\xc2\x85\xe2\x80\xae"] -- "\\\n'
    source += b'require "\x1b\xe2\x80\xa8" return {}'
    path = folder({"s.lua": source, "t.lua": b"x = \x1b\xff"})
    for form in ("text", "gcc", "json"):
        done = subprocess.run(
            [program(), "check", str(path), f"--format={form}"], capture_output=True, check=False
        )
        text = done.stdout.decode()  # all of it is UTF-8
        assert done.returncode == 1
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", text), ascii(text)
    first, second, third = json.loads(text)
    assert "\x1b[31m\ufffd\x85\u202e" in first["message"]
    assert "no module name" in second["message"] and third["rule"] == "syntax"


def test_nothing_runs(folder):
    path = folder({"s.lua": "while true do end", "perigee.lua": "while true do end"})
    assert check(path)[0] == 1


# What the check knows of the API is what the bindings have -------------------------------------


def called(text: str) -> set[str]:
    """The names that a type's __index compares with."""
    return set(re.findall(r'strcmp\(name, "(\w+)"\)', text))


def test_fields_that_a_types_code_answers_are_known(folder):
    req = called((ROOT / "core/script/api_req.c").read_text())
    room = called((ROOT / "core/script/api_room.c").read_text())
    assert {"method", "params"} <= req and {"name", "shared"} <= room
    uses = "".join(f" print(req.{name})" for name in sorted(req))
    uses += "".join(f" print(ws.all.{name})" for name in sorted(room))
    source = f'local ws = require "ws" return {{ request = function(req){uses} end }}'
    assert findings(folder({"s.lua": source})) == []


CALLS = {
    "ws": {
        "conn": '"x"', "cancel": "1", "sleep": "0", "reject": "403", "now": "", "monotonic": "",
        "room": '"x"', "shared": '"x"', "state": '"x"', "after": "1, print", "every": "1, print",
        "limiter": "{ rate = 1 }",
    },
    "ws.all": {
        "broadcast": '"x"', "count": "", "members": "", "presence": "", "close": "1000",
    },
}  # fmt: skip


def test_what_does_not_answer_while_loading_is_what_raises_then(serve, folder):
    calls = [
        (f"{of}.{name}", f"{of}{':' if of == 'ws.all' else '.'}{name}({args})")
        for of, functions in CALLS.items()
        for name, args in functions.items()
    ]
    all_of_them = "".join(f"try({name!r}, function() {call} end)\n" for name, call in calls)
    source = f"""local ws = require "ws"
    local raised, known = {{}}, {{}}
    local function try(name, f)
      local ok, message = pcall(f)
      raised[name] = not ok and message:find("not while loading", 1, true) ~= nil
    end
    {all_of_them}
    for name, value in pairs(ws) do
      if type(value) == "function" then known[#known + 1] = name end
    end
    return {{ request = function() return 200, {{ raised = raised, known = known }} end }}
    """
    answer = json.loads(serve({"s.lua": source}).get("/s").body)
    assert set(answer["known"]) == set(CALLS["ws"])
    raised = {name for name, did in answer["raised"].items() if did}
    for name, call in calls:
        source = f'local ws = require "ws"\nlocal _ = {call}\nreturn {{}}'
        found = [f["rule"] for f in findings(folder({"s.lua": source}))]
        assert found == (["misplaced"] if name in raised else []), name


def test_every_global_of_the_sandbox_is_known_and_no_other(serve, folder):
    source = """local names = {}
    for name, value in pairs(_G) do
      names[#names + 1] = name
      if type(value) == "table" and name ~= "_G" then
        for field in pairs(value) do names[#names + 1] = name .. "." .. field end
      end
    end
    return { request = function() return 200, names end }"""
    names = json.loads(serve({"s.lua": source}).get("/s").body)
    assert len(names) > 90
    uses = "\n".join(f"print({name})" for name in names)
    assert findings(folder({"s.lua": f"{uses}\nreturn {{}}"})) == []
    others = "\n".join(f"print({name}x)" for name in names)
    assert len(findings(folder({"s.lua": f"{others}\nreturn {{}}"}))) == len(names)


@pytest.mark.parametrize(
    "config",
    [
        "{ port = 8080 }",
        "{ limits = { romos = 3 } }",
        "{ limits = { rooms = 0.5 } }",
        "{ limits = { rooms = {} } }",
        "{ rooms = 3 }",
        "{ script = {} }",
        '{ limits = { ["head_bytes"] = "1 KB" } }',
    ],
)
def test_perigee_lua_is_held_to_what_serve_takes_in_the_words_of_serve(run, folder, config):
    path = folder({"s.lua": "return {}", "perigee.lua": f"return {config}"})
    (found,) = findings(path)
    assert (found["rule"], found["severity"]) == ("config", "error")
    status, _, err = run("serve", str(path), "--port=0")
    assert status != 0 and found["message"] in err, (found, err)
