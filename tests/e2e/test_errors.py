"""What whoever wrote a script sees of its mistakes: the line with its neighbours, and a hint."""

import json
import re

SCRIPT = """local ws = require "ws"
local deep = require "deep"

local s = {}
local ways = {}
function ways.dot(conn) conn.send("x") end
function ways.data(conn)
\treturn conn.data.total + 1
end
function ways.ws() ws.brodcast "x" end
function ways.method(conn) conn:sned "x" end
function ways.utf8(conn) conn:send "\\xff" end
function ways.table() error {} end -- \x1b[2J
function ways.module() deep.fail() end
function ways.level() error("the caller's", 2) end
function ways.global() pritn(1) end

function s.message(conn, text)
  ways[text](conn)
end

function s.onclose() end
return s
"""

DEEP = """local deep = {}

function deep.fail()
  local x = nil
  return x.y
end

return deep
"""

WAYS = "dot data ws method utf8 table module level global".split()


def raise_all(serve, form: str):
    host = serve({"s.lua": SCRIPT, "lib/deep.lua": DEEP}, f"--log-format={form}")
    with host.client("/s") as client:
        client.text(*WAYS)
        host.wait(lambda: host.count("pritn") >= 1)
    host.signal()
    assert host.end() == 0
    return host.log


def below(log, words: str) -> list[str]:
    """What stands below the first line with these words, up to the traceback."""
    at = next(i for i, line in enumerate(log) if words in line)
    lines = []
    for line in log[at + 1 :]:
        if not line.startswith("    ") or line == "    stack traceback:":
            break
        lines.append(line)
    return lines


def test_short_shows_the_line_its_neighbours_and_a_hint(serve):
    log = raise_all(serve, "short")
    text = "\n".join(log)
    assert re.search(r"error s message: \S+/s\.lua:6: bad argument #1 to 'send' \(conn", text)
    assert below(log, "s.lua:6:") == [
        "         4 | local s = {}",
        "         5 | local ways = {}",
        '    >    6 | function ways.dot(conn) conn.send("x") end',
        "         7 | function ways.data(conn)",
        "         8 |   return conn.data.total + 1",
        "    hint: conn.send(...): call it with a colon, conn:send(...)",
    ]
    assert below(log, "s.lua:8:")[2:6:3] == [
        "    >    8 |   return conn.data.total + 1",
        "    hint: conn.data.total is nil here: set it in upgrade or open, or test it first",
    ]
    assert "hint: ws has no 'brodcast': did you mean ws.all:broadcast?" in text
    assert "hint: there is no method 'sned': did you mean 'send'?" in text
    assert "hint: there is no global 'pritn': did you mean 'print'?" in text
    assert 'hint: any bytes go as binary: conn:send(data, "binary")' in text


def test_the_place_is_the_modules_or_the_callers_where_the_error_is(serve):
    log = raise_all(serve, "short")
    assert "    >    5 |   return x.y" in below(log, "lib/deep.lua:5:")
    assert "    >   19 |   ways[text](conn)" in below(log, "s.lua:19: the caller's")
    # An object has no place: the innermost call in a file of the script's has.
    lines = below(log, "table: 0x")
    assert any(line.startswith("    >   13 | function ways.table") for line in lines)
    assert "\\x1B[2J" in "".join(lines) and "\x1b" not in "".join(log)


def test_a_misspelt_handler_is_shown_where_it_is(serve):
    log = raise_all(serve, "short")
    lines = below(log, "s.lua:22: the field 'onclose' is not known")
    assert "    >   22 | function s.onclose() end" in lines
    assert lines[-1] == "    hint: nothing calls 'onclose': rename it to 'close'"


def test_lines_for_programs_have_the_hint_and_stay_one(serve):
    log = raise_all(serve, "logfmt")
    assert all(line.startswith("time=") for line in log)
    assert any('hint="conn.send(...): call it with a colon, conn:send(...)"' in x for x in log)
    assert not any("excerpt" in line for line in log)
    events = [json.loads(line) for line in raise_all(serve, "json")]
    hints = [event["hint"] for event in events if "hint" in event]
    assert "conn.send(...): call it with a colon, conn:send(...)" in hints
    assert len(hints) == 7
    assert not any("excerpt" in event for event in events)


def test_what_fails_to_load_is_shown_too(serve):
    files = {
        "syntax.lua": 'return {\n  open = function(conn)\n    conn:send("x"\n  end,\n}\n',
        "runs.lua": 'local ws = require "ws"\nws.rooom("x")\nreturn {}\n',
        "needs.lua": 'require "broken"\nreturn {}\n',
        "lib/broken.lua": "local x = 1\nx = = 2\n",
    }
    host = serve(files, "--log-format=short")
    host.wait(lambda: host.count("not loaded: its route answers 503") == 3)
    log = host.log
    assert "    >    4 |   end," in below(log, "syntax.lua:4:")
    lines = below(log, "runs.lua:2:")
    assert '    >    2 | ws.rooom("x")' in lines
    assert lines[-1] == "    hint: ws has no 'rooom': did you mean ws.room?"
    assert "    >    2 | x = = 2" in below(log, "broken.lua:2:")


def test_the_excerpt_is_of_what_runs_not_of_what_the_file_has_become(serve, folder):
    host = serve({"s.lua": 'return {\n  message = function()\n    error "boom"\n  end,\n}\n'},
                 "--log-format=short")  # fmt: skip
    folder({"s.lua": "-- nothing\n-- is\n-- left\n"})
    with host.client("/s") as client:
        client.text("x")
        host.wait(lambda: '    >    3 |     error "boom"' in list(host.log))
