"""The script API has one set of names: what C registers, the `///` comments there, the types in
scripts/meta/ws.lua and docs/scripting.md say the same, and a running host shows it.

A binding's comment begins with its call, `/// conn:send(data[, kind]) -> ...`; the types and the
page are compared with that, parameter by parameter.
"""

import json
import re
from dataclasses import dataclass, field
from urllib.request import Request, urlopen

import pytest
from websockets.sync.client import connect

from support.host import ROOT, Host

META = ROOT / "scripts/meta/ws.lua"
SANDBOX = ROOT / "scripts/meta/sandbox.lua"
PAGE = ROOT / "docs/scripting.md"
SOURCES = [*sorted((ROOT / "core/script").glob("api*.c")), ROOT / "core/script/reply.c"]
FIELDS, VM = ROOT / "core/script/fields.c", ROOT / "core/script/vm.c"
LIMITS = ROOT / "core/hub/limits.c"

# What a class of the types is called in calls.
OWNERS = {
    "ws": "ws",
    "ws.json": "ws.json",
    "ws.log": "ws.log",
    "ws.Conn": "conn",
    "ws.Room": "room",
    "ws.Req": "req",
    "ws.Limiter": "limiter",
}
# Fields of a script's table that are taken and do nothing yet: "Kept for later" names them.
RESERVED = {"shard"}


@dataclass
class Call:
    """`params`: (name, may be left out). `options`: what the parameter of that name may hold."""

    params: list[tuple[str, bool]]
    options: set[str] = field(default_factory=set)
    result: str = ""

    def __str__(self):
        return ", ".join(name + "?" * optional for name, optional in self.params)


def parse_params(text: str) -> Call:
    """`room[, {info=}]`: what is in brackets may be left out, braces are the table `options`."""
    call = Call([])
    depth = 0
    for part in re.findall(r"\{[^}]*\}|\[|\]|[^,\[\]{}]+", text):
        depth += {"[": 1, "]": -1}.get(part, 0)
        if part.startswith("{"):
            call.options = set(re.findall(r"(\w+)\s*=", part))
            call.params.append(("options", depth > 0))
        elif name := part.strip(" []"):
            call.params.append((name.replace(" | ", "_or_"), depth > 0))
    return call


CALL = re.compile(r"([\w.]+[.:]\w+)\(([^()]*)\)")


class Core:
    """What C registers."""

    def __init__(self, texts: dict[str, str]):
        self.calls: dict[str, Call] = {}
        self.problems: list[str] = []
        for name, text in texts.items():
            for entry in re.finditer(r"luaL_Reg \w+\[\] = \{(.*?)\};", text, re.DOTALL):
                for lua, c in re.findall(r'\{"(\w+)", (\w+)\}', entry[1]):
                    if not lua.startswith("__"):
                        self._add(f"core/script/{name}", text, lua, c)
        conn, room, req = (texts[f"api_{name}.c"] for name in ("conn", "room", "req"))
        compared = r'strcmp\(name, "(\w+)"\) == 0'
        self.fields = {
            "conn": set(re.findall(r'\{"(\w+)", FIELD_', conn)),
            "room": set(re.findall(compared, room)),
            "req": set(re.findall(compared, req)),
        }
        (known,) = re.findall(r"peri_broadcast_options\[\] = \{(.*?), NULL\}", room)
        self.options = {
            "ws.BroadcastOptions": set(re.findall(r'"(\w+)"', known)),
            "ws.JoinOptions": set(re.findall(r'getfield\(L, options, "(\w+)"', room)),
            "ws.LimiterOptions": set(
                re.findall(r'check_option\(L, "(\w+)"', texts["api_limiter.c"])
            ),
            "ws.Acceptance": set(re.findall(r'getfield\(L, 2, "(\w+)"', texts["reply.c"])),
        }
        (handlers,) = re.findall(r"peri_handler_names\[[^]]*\] = \{(.*?)\}", texts["vm.c"], re.S)
        (others,) = re.findall(r"other_fields\[\] = \{(.*?)NULL", texts["fields.c"], re.S)
        self.handlers = set(re.findall(r'"(\w+)"', handlers))
        self.script = self.handlers | set(re.findall(r'"(\w+)"', others))
        self.limits = {
            name
            for name, tighten in re.findall(
                r'\{"(\w+)",\s*PERI_LIMIT_[^}]*?\b(true|false)\b', texts["limits.c"]
            )
            if tighten == "true"
        }

    def _add(self, where: str, text: str, lua: str, c: str) -> None:
        comment = re.search(rf"((?:///.*\n)*)static int {c}\(", text)
        line = comment[1].replace("\n/// ", " ") if comment else ""
        call = re.match(r"/// ([\w.]+[.:]\w+)\((.*?)\)(?= ->|:|$|\n)(.*)", line)
        if not call or re.split("[.:]", call[1])[-1] != lua:
            self.problems.append(f"{where}: {c} needs a comment that begins with the call of {lua}")
            return
        self.calls[call[1]] = parse_params(call[2])
        self.calls[call[1]].result = call[3]


class Types:
    """What scripts/meta/ws.lua declares."""

    def __init__(self, text: str):
        self.calls: dict[str, Call] = {}
        self.fields: dict[str, dict[str, str]] = {}  # class -> field -> type
        self.problems: list[str] = []
        lines: list[str] = []  # the comment above
        self.options: dict[str, str] = {}  # call -> class of its options
        name = ""  # of the class that was declared last
        variables = {}
        for line in text.splitlines():
            if match := re.match(r"---@class (?:\(exact\) )?([\w.]+)", line):
                name = match[1]
                self.fields[name] = {}
                self._described(lines, f"class {name}")
                lines = []
            elif match := re.match(r"---@field (\w+)\??\s+(.*)", line):
                self.fields[name][match[1]] = match[2]
                if not re.match(r"(?!fun)\S+ \S+ \S+", match[2]):  # else it is described beside it
                    self._described(lines, f"{name}.{match[1]}")
                lines = []
            elif line.startswith("---"):
                lines.append(line)
            elif match := re.match(r"local (\w+) = \{\}", line):
                variables[match[1]] = name
            elif match := re.match(r"function (\w+)([.:])(\w+)\((.*)\) end$", line):
                called = OWNERS[variables[match[1]]] + match[2] + match[3]
                self._described(lines, called)
                self.calls[called] = self._call(lines, called, match[4])
                lines = []
            elif line.strip():
                lines = []
        for called, options in self.options.items():
            self.calls[called].options = set(self.fields[options])

    def _described(self, lines: list[str], what: str) -> None:
        if sum(len(line) for line in lines if re.match(r"--- \S", line)) < 12:
            self.problems.append(f"scripts/meta/ws.lua: {what} is not described")

    def _call(self, lines: list[str], called: str, args: str) -> Call:
        call = Call([])
        for line in lines:
            if match := re.match(r"---@param (\w+)(\??) (\S+)", line):
                call.params.append((match[1], match[2] == "?"))
                if match[1] == "options":
                    self.options[called] = match[3]
            elif line.startswith("---@return "):
                call.result += line + "\n"
        if args != ", ".join(name for name, _ in call.params):
            self.problems.append(f"scripts/meta/ws.lua: {called}: the parameters are not ({args})")
        return call


class Page:
    """What docs/scripting.md has headings and tables for."""

    def __init__(self, text: str):
        self.text = text
        self.sections: dict[str, str] = {}  # heading -> text up to the next one
        fenced = re.split(r"^(```lua\n.*?^```)$", text, flags=re.S | re.M)
        heading = ""
        for part in fenced:
            if part.startswith("```lua"):
                self.sections[heading] += part
                continue
            for piece in re.split(r"^(#+ .*)\n", part, flags=re.M):
                if re.match(r"#+ ", piece):
                    heading = piece.lstrip("# ")
                    self.sections[heading] = ""
                else:
                    self.sections[heading] = self.sections.get(heading, "") + piece
        self.calls = {}
        self.handlers = {}
        for heading in self.sections:
            for name, params in CALL.findall(heading):
                self.calls[name] = (parse_params(params), heading)
            if match := re.fullmatch(r"(\w+)\((.*)\)", heading):
                self.handlers[match[1]] = (parse_params(match[2]), heading)

    def rows(self, heading: str) -> set[str]:
        """The names in the first column of a section's tables."""
        return set(re.findall(r"^\| `(\w+)` \|", self.sections.get(heading, ""), re.M))

    def named(self, owner: str) -> set[str]:
        """Fields with a heading: `### room.name, room.shared`."""
        return {
            name
            for heading in self.sections
            for name in re.findall(rf"\b{re.escape(owner)}\.(\w+)(?![\w(])", heading)
        }


def differ(what: str, **sides: set[str]) -> list[str]:
    everything = set().union(*sides.values())
    return [
        f"{what}: {name} is missing in {side}"
        for side, names in sides.items()
        for name in sorted(everything - names)
    ]


def check_calls(core: Core, types: Types, page: Page) -> list[str]:
    found = differ("functions", core=set(core.calls), types=set(types.calls), page=set(page.calls))
    for name, call in core.calls.items():
        typed, (written, heading) = types.calls.get(name), page.calls.get(name, (None, ""))
        if not typed or not written:
            continue
        if typed.params != call.params:
            found.append(f"{name}: types have ({typed}), core ({call})")
        if written.params != call.params:
            found.append(f"{name}: the page has ({written}), core ({call})")
        if call.options != typed.options:
            found.append(f"{name}: options {typed.options} in types, {call.options} in core")
        if call.options and call.options != page.rows(heading):
            found.append(f"{name}: options {page.rows(heading)} on page, {call.options} in core")
        short = re.split("[.:]", name)[-1]
        if not re.search(rf"```lua.*\b{short}\b", page.sections[heading], re.S):
            found.append(f"{name}: the page has no example")
        returns = typed.result.count("---@return")
        if (call.result.startswith(" ->")) != (returns > 0):
            found.append(f"{name}: results in one of types and core only")
        if "nil, " in call.result and returns != 2:
            found.append(f"{name}: core says nil and a message, types have {returns} results")
        for literal in re.findall(r'"[a-z ]+"', call.result):
            if literal not in typed.result:
                found.append(f"{name}: {literal} is missing in the types' results")
    return found


def check_fields(core: Core, types: Types, page: Page) -> list[str]:
    return (
        differ(
            "conn",
            core=core.fields["conn"],
            types=set(types.fields["ws.Conn"]),
            page=page.rows("conn"),
        )
        + differ(
            "req",
            core=core.fields["req"],
            types=set(types.fields["ws.Req"]),
            page=page.rows("req"),
        )
        + differ(
            "room",
            core=core.fields["room"],
            types=set(types.fields["ws.Room"]),
            page=page.named("room"),
        )
        + [
            problem
            for name, options in core.options.items()
            for problem in differ(name, core=options, types=set(types.fields[name]))
        ]
        + differ("limits", core=core.limits, types=set(types.fields["ws.Limits"]))
    )


def check_examples(core: Core, page: Page) -> list[str]:
    """Each field is used in some example of the page."""
    code = "\n".join(re.findall(r"^```lua\n(.*?)^```$", page.text, re.S | re.M))
    used = {f"{owner}.{name}" for owner in core.fields for name in core.fields[owner]}
    wanted = {use: rf"\b{re.escape(use)}\b" for use in used if not use.startswith("room")}
    wanted |= {f"room.{name}": rf"\)\.{name}\b" for name in core.fields["room"]}
    wanted |= {f"{name} =": rf"\b{name} = " for name in set().union(*core.options.values())}
    wanted |= {
        f"{name} =": rf"\b{name} = |\bscript\.{name}\b"
        for name in core.script - core.handlers - RESERVED
    }
    return [f"no example has {use}" for use, how in wanted.items() if not re.search(how, code)]


def check_script(core: Core, types: Types, page: Page) -> list[str]:
    typed = types.fields["ws.Script"]
    tables = page.rows("Fields") | set(page.handlers) | {"timers", "migrate"} & set(page.sections)
    found = differ("script", core=core.script - RESERVED, types=set(typed), page=tables)
    found += differ("handlers", core=core.handlers, page=set(page.handlers))
    later = set(re.findall(r"`(\w+)`", page.sections["Kept for later"]))
    found += differ("kept for later", test=RESERVED, page=RESERVED & later)
    for name, (call, heading) in page.handlers.items():
        params = re.match(r"fun\(([^)]*)\)", typed.get(name, ""))
        names = re.findall(r"(\w+):", params[1]) if params else None
        if names != [param for param, _ in call.params]:
            found.append(f"{name}: types have ({names}), the page ({call})")
        if not re.search(rf"```lua.*\b{name}\(", page.sections[heading], re.S):
            found.append(f"{name}: the page has no example")
    return found


def texts() -> dict[str, str]:
    paths = [*SOURCES, FIELDS, VM, LIMITS, META, PAGE]
    return {path.name: path.read_text() for path in paths}


def problems(files: dict[str, str]) -> list[str]:
    core, types, page = Core(files), Types(files["ws.lua"]), Page(files["scripting.md"])
    found = core.problems + types.problems
    for check in (check_calls, check_fields, check_script):
        found += check(core, types, page)
    return found + check_examples(core, page)


def test_bindings_types_and_page_name_the_same_things():
    files = texts()
    assert len(Core(files).calls) >= 25, "nothing to compare: the bindings have moved?"
    assert problems(files) == []


@pytest.mark.parametrize(
    "name, old, new, words",
    [
        (
            "ws.lua",
            "function Conn:leave(room) end",
            "",
            "functions: conn:leave is missing in types",
        ),
        ("ws.lua", "function Room:count() end", "function Room:size() end", "room:size"),
        ("ws.lua", "---@param cost? number", "---@param cost number", "limiter:allow: types"),
        ("ws.lua", "--- How many members it has.\n", "", "room:count is not described"),
        ("ws.lua", '("closed"|"too large")?', "string?", '"too large" is missing'),
        ("ws.lua", "---@field rtt number?\n", "", "conn: rtt is missing in types"),
        ("ws.lua", "---@field key? string\n", "", "room:broadcast: options"),
        ("ws.lua", "---@field rooms? integer", "---@field room? integer", "limits: rooms"),
        ("ws.lua", "fun(conn: ws.Conn, missed: integer)", "fun(conn: ws.Conn)", "drain: types"),
        ("ws.lua", "---@field on_error? ", "---@field on_fail? ", "script: on_error"),
        ("ws.lua", "---@return any value nil if it is no JSON\n", "", "ws.json.decode: core says"),
        ("scripting.md", "### room:count()", "### room:size()", "room:count is missing in page"),
        (
            "scripting.md",
            "### conn:send(data[, kind])",
            "### conn:send(data)",
            "conn:send: the page",
        ),
        ("scripting.md", "| `rtt` |", "| rtt |", "conn: rtt is missing in page"),
        ("scripting.md", "| `burst` |", "| burst |", "ws.limiter: options"),
        (
            "scripting.md",
            "ws.cancel(id)\n```",
            "stop(id)\n```",
            "ws.cancel: the page has no example",
        ),
        ("scripting.md", "### drain(conn, missed)", "### drain(conn)", "drain: types"),
        ("scripting.md", '| `slow` | `"close"` |', "| slow | |", "slow is missing in page"),
        ("api_conn.c", "/// conn:rooms()", "// conn:rooms()", "conn_rooms needs a comment"),
        ("api_conn.c", "/// conn:rooms()", "/// conn:list()", "conn_rooms needs a comment"),
        ("api_conn.c", '{"rtt", FIELD_RTT},', '{"ping", FIELD_RTT},', "conn: ping is missing"),
        ("api.c", '{"now", ws_now},', '{"now", ws_now}, {"date", ws_now},', "the call of date"),
        ("api_timer.c", "/// ws.every(seconds,", "/// ws.every(period,", "ws.every: types have"),
        ("vm.c", '"drain",', '"drained",', "drained"),
        ("fields.c", '"on_error",', '"on_fail",', "on_fail"),
    ],
)
def test_what_is_missing_or_stale_is_found(name, old, new, words):
    files = texts()
    assert old in files[name]
    files[name] = files[name].replace(old, new, 1)
    assert any(words in problem for problem in problems(files)), problems(files)


# What a script finds by looking. Methods can't be listed there, so it asks for each by name.
LOOK = """
local ws = require "ws"
local met

local function kinds(value)
  local found = ws.json.decode "{}"
  for name, item in pairs(value) do
    found[name] = type(item)
  end
  return found
end

local function ask(value, names)
  local found = ws.json.decode "{}"
  for _, name in ipairs(names) do
    found[name] = type(value[name])
  end
  return found
end

return {
  open = function(conn)
    met = conn
  end,
  request = function(req)
    local asked = ws.json.decode(req.body)
    return 200, {
      ws = kinds(ws), json = kinds(ws.json), log = kinds(ws.log), script = kinds(ws.script),
      os = kinds(os), debug = kinds(debug),
      conn = ask(met, asked.conn), room = ask(ws.room "r", asked.room), req = ask(req, asked.req),
      limiter = ask(ws.limiter { rate = 1 }, asked.limiter),
    }
  end,
}
"""


def test_a_running_host_has_what_the_types_declare(tmp_path):
    types = Types(META.read_text())
    declared = {}  # owner -> name -> what type() says, "" for any value
    for name, owner in OWNERS.items():
        declared[owner] = {field: "" for field in types.fields[name]}
    for called in types.calls:
        owner, name = re.fullmatch(r"(.*)[.:](\w+)", called).groups()
        declared[owner][name] = "function"

    (tmp_path / "look.lua").write_text(LOOK)
    with Host(tmp_path) as host, connect(f"{host.ws}/look", proxy=None):
        body = json.dumps({owner: [*names, "nothing"] for owner, names in declared.items()})
        found = json.loads(post(host, "/look", body))
        assert host.stop() == 0

    # What can be listed has no name more, and none less.
    for owner, names in (("ws", "ws"), ("ws.json", "json"), ("ws.log", "log")):
        assert sorted(found[names]) == sorted(declared[owner]), owner
    assert sorted(found["script"]) == sorted(types.fields["ws.ScriptInfo"])
    for library in ("os", "debug"):
        functions = re.findall(rf"^function {library}\.(\w+)", SANDBOX.read_text(), re.M)
        assert sorted(found[library]) == sorted(functions), library
    # nil without a subprotocol, and before the first pong
    absent = {"protocol", "rtt"}
    for owner in ("conn", "room", "req", "limiter"):
        assert found[owner].pop("nothing") == "nil"
        for name, kind in found[owner].items():
            assert kind != "nil" or name in absent, f"{owner}.{name}"
    for owner, names in declared.items():
        for name, kind in names.items():
            is_call = found[owner.removeprefix("ws.")][name] == "function"
            assert is_call == (kind == "function"), f"{owner}.{name}"


def post(host: Host, path: str, body: str) -> str:
    with urlopen(Request(host.http + path, body.encode(), method="POST"), timeout=30) as answer:
        return answer.read().decode()
