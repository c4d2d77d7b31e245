"""What an editor makes of scripts/meta, by emmylua_check, which reads the same annotations as
lua-language-server: the mistakes that it finds in a script, and none where there is none.
"""

import json
import re
import subprocess

import pytest

from support.host import ROOT

CHECK = ROOT / "build/cargo/bin/emmylua_check"
WHY_NOT = ROOT / "build/cargo/why-not"

# Each line with a mistake says which.
MISTAKES = """
local ws = require "ws"

---@type ws.Script
local script = {
  route = 7, --> assign-type-mismatch
  slow = "wait", --> assign-type-mismatch
}

function script.upgrade()
  return 12 --> return-type-mismatch
end

function script.open(conn, req)
  conn:sned("x") --> undefined-field
  conn:send("x", "txt") --> param-type-mismatch
  conn:send(12) --> param-type-mismatch
  conn:join() --> missing-parameter
  conn:close("bye") --> param-type-mismatch
  conn.id = 12 --> assign-type-mismatch
  conn.params.room:nothing() --> undefined-field
  conn.join("x") --> missing-parameter
  req:bearer():upper() --> need-check-nil param-type-mismatch
  ws.log.info("hello " .. req.path, "x") --> param-type-mismatch
end

function script.message(conn, text, kind)
  if kind == "tekst" then --> unnecessary-if
    return
  end
  ws.rom("x") --> undefined-field
  ws.room("x"):count():foo() --> undefined-field
  ws.room("x"):broadcast(text, { slow = "never" }) --> param-type-mismatch
  ws.conn("id"):send("x") --> need-check-nil
  ws.limiter { per = 1 } --> missing-fields
  ws.limiter({ rate = 1 }):allow(true) --> param-type-mismatch
  ws.after(1, "tick"):foo() --> need-check-nil
  ws.sleep("x") --> param-type-mismatch
  ws.json.decode(conn) --> param-type-mismatch
end

function script.close(conn, code)
  conn:send(code:upper()) --> undefined-field
end

function script.request(req)
  return "200", req.body --> return-type-mismatch
end

return script
"""


@pytest.fixture
def check(tmp_path):
    """check(text): what is found in a script of that text, as (line, code)."""
    if not CHECK.exists():
        pytest.skip(WHY_NOT.read_text().strip() if WHY_NOT.exists() else "tools/setup lint")

    def run(text):
        config = (ROOT / ".luarc.json").read_text()
        meta = '"scripts/meta"'
        assert meta in config
        config = config.replace(meta, json.dumps(str(ROOT / "scripts/meta")))
        (tmp_path / ".luarc.json").write_text(config)
        (tmp_path / "script.lua").write_text(text)
        done = subprocess.run(
            [CHECK, "--warnings-as-errors", "--severity=warn", "--output-format=json", tmp_path],
            capture_output=True,
            text=True,
            check=False,
        )
        files = json.loads(done.stdout) if done.returncode else []
        return sorted(
            {
                (found["range"]["start"]["line"] + 1, found["code"])
                for file in files
                for found in file["diagnostics"]
            }
        )

    return run


def test_mistakes_in_a_script_are_found(check):
    marked = [
        (number, code)
        for number, line in enumerate(MISTAKES.splitlines(), 1)
        for code in line.partition("--> ")[2].split()
    ]
    assert check(MISTAKES) == marked


COOKBOOK = re.findall(
    r"^```lua\n(-- (\w+)\.lua: .*?)^```$",
    (ROOT / "docs/cookbook.md").read_text(),
    re.S | re.M,
)


@pytest.mark.parametrize("text", [text for text, _ in COOKBOOK], ids=[name for _, name in COOKBOOK])
def test_a_script_of_the_cookbook_is_clean(check, text):
    # As its reader would see it in an editor: the handlers' arguments have types.
    typed = re.sub(r"^local \w+ = \{.*\}$", r"---@type ws.Script\n\g<0>", text, count=1, flags=re.M)
    assert "---@type ws.Script" in typed
    assert check(typed) == []
