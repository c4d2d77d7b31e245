"""Settings: the order of their places, what is refused and how, and --print-config."""

import json
import re

import pytest

ECHO = """
local ws = require "ws"
return {
  message = function(conn, text) conn:send(text) end,
  request = function() return 200, ws.config end,
}
"""

# A line of --print-config: name, value, where it is from.
LINE = re.compile(r"^ +((?:-- )?[\w\"\[\]/]+) = (.+?),? +-- (\S.*)$", re.MULTILINE)


@pytest.fixture
def shown(run, folder):
    """What --print-config says: shown(files, flags.., env={..}) -> {name: (value, where)}"""

    def show(files: dict[str, str], *flags: str, env: dict[str, str] | None = None):
        where = folder(files)
        status, out, err = run("serve", str(where), "--print-config", *flags, env=env)
        assert (status, err) == (0, ""), err
        found = LINE.findall(out)
        return {name: (value, at.replace(f"{where}/", "")) for name, value, at in found}

    return show


@pytest.fixture
def refused(run, folder):
    """The one line that says why it does not start, and the exit code."""

    def refuse(files: dict[str, str], *flags: str, env: dict[str, str] | None = None):
        where = folder(files)
        status, out, err = run("serve", str(where), "--port=0", *flags, env=env)
        assert out == "" and err.count("\n") == 1, (out, err)
        return status, err.replace(f"{where}/", "")

    return refuse


# What is refused is said in one line, whatever the file says.


@pytest.mark.parametrize(
    "text, said",
    [
        (r'error("a\nb\27[2Jc\xff")', "perigee.lua:1: a?b?[2Jc?"),
        (r'return { ["a\nb"] = 1 }', 'unknown key "a?b"'),
        (r'return { limits = { rooms = "\n\r" } }', 'limit rooms: "??" is not a whole number'),
        (
            r'return { scripts = { ["a\nb"] = { f = print } } }',
            'scripts["a?b"]: JSON can\'t hold f',
        ),
    ],
)
def test_a_message_with_a_newline_in_it_was_several_lines(refused, text, said):
    status, line = refused({"perigee.lua": text})
    assert status == 1 and said in line, line
    assert line[:-1].isprintable(), line


def test_a_message_without_end_is_cut(refused):
    status, line = refused({"perigee.lua": 'error(("x"):rep(100000))'})
    assert status == 1 and len(line) < 9000 and line.endswith("x...\n"), line


# The order of places.

FOLDER = {"perigee.lua": "return { limits = { fragments = 2 } }"}
ENV = {"PERIGEE_FRAGMENTS": "3"}
FILE = {"_op.lua": "return { limits = { fragments = 4 } }"}


def test_a_limit_is_taken_from_the_strongest_place(shown, tmp_path):
    config = f"--config={tmp_path}/_op.lua"
    assert shown({})["fragments"] == ("1024", "default")
    assert shown(FOLDER)["fragments"] == ("2", "perigee.lua:1")
    assert shown(FOLDER, env=ENV)["fragments"] == ("3", "PERIGEE_FRAGMENTS")
    assert shown(FOLDER | FILE, config, env=ENV)["fragments"] == ("4", "_op.lua:1")
    flags = [config, "--limit=fragments=5"]
    assert shown(FOLDER | FILE, *flags, env=ENV)["fragments"] == ("5", "--limit")


@pytest.mark.parametrize(
    "name, default, variable, file, flag",
    [
        ("host", '"localhost"', '"::1"', '"127.0.0.2"', '"127.0.0.3"'),
        ("port", "8000", "1", "2", "3"),
        ("listen", "{}", '"a:1", "b:2"', '"c:3", "unix:/d e"', '"unix:/f"'),
        ("log_format", '"auto"', '"json"', '"short"', '"logfmt"'),
        ("log_level", '"info"', '"debug"', '"warn"', '"error"'),
    ],
)
def test_a_setting_of_the_machine_is_too(shown, tmp_path, name, default, variable, file, flag):
    def bare(value):
        return value.replace('"', "").replace(",", "")

    def listed(value):
        return f"{{{value}}}" if name == "listen" else value

    config = f"--config={tmp_path}/_op.lua"
    env = {f"PERIGEE_{name.upper()}": bare(variable)}
    files = {"_op.lua": f"return {{\n  {name} = {listed(file)},\n}}"}
    flags = [config, f"--{name.replace('_', '-')}={bare(flag)}"]
    assert shown({})[name] == (default, "default")
    assert shown({}, env=env)[name] == (listed(variable), f"PERIGEE_{name.upper()}")
    assert shown(files, config, env=env)[name] == (listed(file), "_op.lua:2")
    assert shown(files, *flags, env=env)[name] == (listed(flag), f"--{name.replace('_', '-')}")


def test_a_value_that_gives_way_is_checked_all_the_same(refused):
    status, line = refused({}, "--limit=fragments=5", env={"PERIGEE_FRAGMENTS": "many"})
    assert status == 2 and "PERIGEE_FRAGMENTS" in line


def test_what_is_shown_is_what_is_served(serve, tmp_path):
    socket = tmp_path / "op.sock"
    files = {
        "echo.lua": ECHO,
        "perigee.lua": "return { limits = { message_bytes = 10 } }",
        "_op.lua": f"""return {{
          listen = {{ "unix:{socket}" }},
          log_format = "json",
          limits = {{ message_bytes = 11 }},
        }}""",
    }
    host = serve(files, "--config", str(tmp_path / "_op.lua"))  # and --port=0, so both
    host.wait(lambda: f"listening on unix:{socket}" in host.out)
    with host.client("/echo") as client:
        client.text("x" * 11)
        assert client.hear_text() == "x" * 11
        client.text("x" * 12)
        assert client.hear_close()[0] == 1009
    host.wait(lambda: any(line.startswith('{"time"') for line in host.log))


def test_repeated_listen_flags_add_up_and_stand_in_place_of_host_and_port(shown):
    found = shown({}, "--listen=a:1", "--listen", "unix:/b")
    assert found["listen"] == ('{"a:1", "unix:/b"}', "--listen")
    assert found["-- port"] == ("8000", "default") and "port" not in found
    assert shown({}, "--listen=a:1", "--port=7")["port"] == ("7", "--port")


def test_a_list_of_one_may_be_a_string(shown, tmp_path):
    files = {"_op.lua": "return { listen = 'unix:/a b' }"}
    assert shown(files, f"--config={tmp_path}/_op.lua")["listen"][0] == '{"unix:/a b"}'


def test_the_file_may_be_named_by_a_variable(shown, tmp_path):
    found = shown(FILE, env={"PERIGEE_CONFIG": f"{tmp_path}/_op.lua"})
    assert found["fragments"] == ("4", "_op.lua:1")
    assert found["-- config"] == (f'"{tmp_path}/_op.lua"', "PERIGEE_CONFIG")


def test_an_empty_variable_is_none_and_other_variables_are_not_looked_at(shown):
    env = {"PERIGEE_PORT": "", "PERIGEE_FRAGMENTS": "", "PERIGEE": "x", "PERIGEES_X": "x"}
    found = shown({}, env=env)
    assert found["port"][1] == found["fragments"][1] == "default"


def test_every_limit_has_a_variable(run, folder):
    text = run("serve", "--help")[1].split("limits (", 1)[1]
    limits = dict(re.findall(r"^  (\w+) +(\S+(?: [KMG]iB)?)  ", text, re.MULTILINE))
    env = {f"PERIGEE_{name.upper()}": value for name, value in limits.items()}
    status, out, err = run("serve", str(folder({})), "--print-config", env=env)
    assert status == 0, err
    for name in limits:
        assert f"-- PERIGEE_{name.upper()}\n" in out


def test_numbers_may_be_written_as_lua_likes(shown, tmp_path):
    files = {"_op.lua": "return { port = 8e3, limits = { outbox_total = 2^40, ping_s = 0.25 } }"}
    found = shown(files, f"--config={tmp_path}/_op.lua")
    assert found["port"][0] == "8000" and found["ping_s"][0] == "0.25"
    assert found["outbox_total"][0] == '"1024 GiB"'


# Sections for scripts.


def test_a_section_of_the_operator_wins_key_by_key(serve, shown, tmp_path):
    files = {
        "echo.lua": ECHO,
        "other.lua": ECHO,
        "list.lua": ECHO,
        "perigee.lua": """return { scripts = {
          echo = { a = 1, b = { x = 1, y = 1 }, c = "say \\"hi\\"\\n" },
          other = { d = 1 },
          list = { 1, 2, 3 },
        } }""",
        "_op.lua": """return { scripts = {
          echo = { a = 2, b = { x = 2 }, ["end"] = true },
          list = { 4 },
          ["new/one"] = { e = 1.5 },
        } }""",
    }
    config = f"--config={tmp_path}/_op.lua"
    host = serve(files, config)
    assert json.loads(host.get("/echo").body) == {
        "a": 2,
        "b": {"x": 2},
        "c": 'say "hi"\n',
        "end": True,
    }
    assert json.loads(host.get("/other").body) == {"d": 1}
    assert json.loads(host.get("/list").body) == [4]
    host.wait_log("_op.lua: there is no script 'new/one' to configure")
    found = shown(files, config)
    assert found["a"] == ("2", "_op.lua") and found["b"] == ("{x = 2}", "_op.lua")
    assert found["c"] == (r'"say \"hi\"\010"', "perigee.lua")
    assert found['["end"]'] == ("true", "_op.lua") and found["d"] == ("1", "perigee.lua")


# What is refused.


@pytest.mark.parametrize(
    "flag, said",
    [
        ("--prot=1", 'no option "--prot=1": did you mean --port?'),
        ("--port=x", '--port must be a number from 0 to 65535, not "x"'),
        ("--host=", "--host must be an address"),
        ("--listen=8000", "--listen must be HOST:PORT"),
        ("--log-format=xml", '--log-format must be auto, logfmt, short or json, not "xml"'),
        ("--log-level=loud", '--log-level must be debug, info, warn or error, not "loud"'),
        ("--limit=fragments", '--limit is NAME=VALUE, not "fragments"'),
        ("--limit=fragment=1", '--limit: unknown limit "fragment": did you mean fragments?'),
        ("--limit=fragments=0", "--limit: limit fragments: 0 is below the least, 1"),
        ("--config", "--config needs a value"),
    ],
)
def test_a_wrong_flag_is_2(refused, flag, said):
    status, line = refused({}, flag)
    assert status == 2 and said in line


@pytest.mark.parametrize(
    "variable, value, said",
    [
        ("PERIGEE_PROT", "1", "PERIGEE_PROT is no setting: did you mean PERIGEE_PORT?"),
        ("PERIGEE_FRAGMENT", "1", "did you mean PERIGEE_FRAGMENTS?"),
        ("PERIGEE_port", "1", "did you mean PERIGEE_PORT?"),
        ("PERIGEE_QQQQQQ", "1", "PERIGEE_QQQQQQ is no setting: see perigee serve --help"),
        ("PERIGEE_PROT", "", "did you mean"),
        ("PERIGEE_PORT", "tcp://10.0.0.1:80", "PERIGEE_PORT must be a number"),
        ("PERIGEE_LISTEN", "a:1  b", 'PERIGEE_LISTEN must be HOST:PORT, [IPV6]:PORT or unix:PATH'),
        ("PERIGEE_LISTEN", "a:1 " * 65, "PERIGEE_LISTEN takes 64 at most"),
        ("PERIGEE_MESSAGE_BYTES", "lots", 'PERIGEE_MESSAGE_BYTES: limit message_bytes: "lots" is'),
    ],
)  # fmt: skip
def test_a_wrong_variable_is_2(refused, variable, value, said):
    status, line = refused({}, env={variable: value})
    assert status == 2 and said in line


@pytest.mark.parametrize(
    "text, said",
    [
        ("{\n prot = 1 }", ':2: unknown key "prot": did you mean port?'),
        ("{ limit = {} }", ':1: unknown key "limit": did you mean limits?'),
        ("{ qqqqqq = 1 }", ':1: unknown key "qqqqqq": see docs/configuration.md'),
        ("{ fragments = 1 }", ":1: fragments is a limit: write limits = { fragments = ... }"),
        ("{ config = 'x' }", ":1: config can't be set in a file: use --config or PERIGEE_CONFIG"),
        ("{\n\n port = 70000 }", ':3: port must be a number from 0 to 65535, not "70000"'),
        ("{ port = { 1 } }", ":1: port takes one value, not a list"),
        ("{ port = { 1, 2 } }", ":1: port takes one value, not a list"),
        ("{ port = print }", ":1: port can't be a function"),
        ("{ host = 'a\\0b' }", ":1: host holds a NUL"),
        ("{ listen = { 'a:1', 'b' } }", ":1: listen must be HOST:PORT"),
        ("{ listen = { x = 1 } }", ":1: listen must be a value or a list"),
        ("{ 'x' }", ": settings are set by name, not by a number"),
        ("{ limits = { fragment = 1 } }", ':1: unknown limit "fragment": did you mean fragments?'),
        ("{ limits = {\n fragments = 0 } }", ":2: limit fragments: 0 is below the least, 1"),
        ("{ limits = { ['fragments'] = 0 } }", ":1: limit fragments: 0"),
        ("{ limits = { fragments = {} } }", ":1: limit fragments takes one value, not a list"),
        ("{ limits = 1 }", ": 'limits' must be a table"),
        ("{ scripts = { a = 1 } }", ": 'scripts' must be a table of tables"),
        ("{ scripts = { a = { f = print } } }", ': scripts["a"]: JSON can\'t hold f: a function'),
        ("{ port = = 1 }", ":1: unexpected symbol"),
        ("{ port = nothing.here }", ":1: attempt to index a nil value"),
        ("1", ": it must return a table"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_1(refused, tmp_path, text, said):
    status, line = refused({"_op.lua": f"return {text}"}, f"--config={tmp_path}/_op.lua")
    assert status == 1 and f"_op.lua{said}" in line


def test_a_line_that_is_not_the_only_one_is_not_said(refused, tmp_path):
    text = "local t = { fragments = 0 }\nreturn { limits = { fragments = t.fragments } }"
    _, line = refused({"_op.lua": text}, f"--config={tmp_path}/_op.lua")
    assert "_op.lua: limit fragments" in line


def test_a_comparison_gives_no_value(refused, tmp_path):
    text = "local fragments\nreturn { limits = {\n fragments = fragments == nil and 0 } }"
    _, line = refused({"_op.lua": text}, f"--config={tmp_path}/_op.lua")
    assert "_op.lua:3: limit fragments" in line


def test_a_file_that_is_not_there_is_1(refused, tmp_path):
    status, line = refused({}, f"--config={tmp_path}/none.lua")
    assert status == 1 and "none.lua: No such file" in line


@pytest.mark.parametrize(
    "name", ["host", "port", "listen", "tls_cert", "tls_key", "log_format", "log_level"]
)
def test_what_decides_about_the_machine_is_refused_in_perigee_lua(refused, name):
    status, line = refused({"perigee.lua": f"return {{\n  {name} = '1',\n}}"})
    flag, variable = "--" + name.replace("_", "-"), "PERIGEE_" + name.upper()
    assert status == 1 and f"perigee.lua:2: {name} decides about the machine" in line
    assert flag in line and variable in line and "--config" in line


def test_a_key_of_perigee_lua_is_not_taken_for_one_that_it_may_not_set(refused):
    _, line = refused({"perigee.lua": "return { script = {} }"})
    assert "did you mean scripts?" in line
    _, line = refused({"perigee.lua": "return { prot = 1 }"})
    assert "did you mean" not in line


# --print-config


def test_print_config_is_a_file_for_config(run, folder):
    files = {
        "perigee.lua": """return {
          limits = { message_bytes = 65536, origins = 'https://a.example "b"', ping_s = 2.5 },
          scripts = { ["games/quiz"] = { n = 1, deep = { { a = {} }, "\\0\\127\\\\" } },
            l = { 1 } },
        }""",
    }
    where = folder(files)
    first = ["--listen=unix:/a", "--log-level=warn", "--limit=drain_s=0.125", "--port=0"]
    status, out, _ = run("serve", str(where), "--print-config", *first)
    assert status == 0

    (where / "perigee.lua").unlink()
    (where / "_op.lua").write_text(out)
    status, again, err = run("serve", str(where), "--print-config", f"--config={where}/_op.lua")
    assert status == 0, err

    def code(text):
        lines = (re.sub(r" +-- .*$", "", line) for line in text.splitlines())
        return [line for line in lines if line]

    assert code(again) == code(out)
    assert again.count("-- default") == 0


def test_print_config_opens_no_port_and_runs_no_script(run, folder, tmp_path):
    files = {"a.lua": "print 'run' return {}"}
    socket = tmp_path / "s"
    status, out, err = run("serve", str(folder(files)), "--print-config", f"--listen=unix:{socket}")
    assert (status, err) == (0, "") and "listening" not in out and not socket.exists()


def test_print_config_of_what_is_wrong_fails_as_serving_would(run, folder):
    where = str(folder({"perigee.lua": "return { port = 1 }"}))
    assert run("serve", where, "--print-config")[0] == 1
    assert run("serve", where, "--print-config", "--port=x")[0] == 2
    assert run("serve", where + "/none", "--print-config")[0] == 1
