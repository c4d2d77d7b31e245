"""A script that is saved while it serves, and clients that have it run what they say."""

from contextlib import ExitStack
from itertools import count

from serving import Client, Host
from support.host import save

# wait_for does without a clock: it returns once somebody is in the room, whatever generation has
# put them there.
HEAD = """local ws = require "ws"
local kept = ws.state("kept", {})
local script = {}
local function wait_for(room)
  while ws.room(room):count() == 0 do ws.sleep(0.01) end
end
local function run(conn, text)
  local chunk = "local ws, kept, conn, wait_for = ... " .. text
  return assert(load(chunk, "=asked"))(ws, kept, conn, wait_for)
end
function script.message(conn, text)
  local done, answer = pcall(run, conn, text)
  conn:send(done and { said = answer } or { raised = answer })
end
"""


class Speaker(Client):
    """Its messages are Lua, of ws, kept (the state), conn and wait_for."""

    def said(self):
        answer = self.receive_json()
        assert "raised" not in answer, answer["raised"]
        return answer.get("said")

    def raised(self) -> str:
        answer = self.receive_json()
        assert "raised" in answer, answer
        return answer["raised"]

    def say(self, lua: str):
        """What that returns, from whichever generation serves."""
        self.send(lua)
        return self.said()

    def generation(self) -> int:
        return self.say("return ws.script.generation")

    def wait(self, lua: str) -> None:
        """Its handler waits until let_go(), then does that."""
        self.send(f"conn:send 'waits' wait_for 'go' {lua}")
        assert self.receive() == "waits"


class Rules:
    """One script, served at /rules."""

    def __init__(self, host: Host, folder, stack: ExitStack):
        self.host = host
        self.folder = folder
        self.stack = stack
        self.saves = count(2)
        host.log_line(r'msg="(loaded|not loaded)')

    def write(self, text: str, name: str = "rules.lua") -> None:
        """As an editor does; nobody waits for the reload."""
        save(self.folder / name, text)

    def _save(self, text: str, outcome: str) -> list[str]:
        since = self.host.mark()
        self.write(f"{text}\n-- {next(self.saves)}\n")  # never the same bytes twice
        self.host.log_line(r'msg="(loaded|not loaded)', since)
        log = self.host.log[since:]
        assert any(f'msg="{outcome}' in line for line in log), log
        return log

    def save(self, body: str = "", head: str = HEAD) -> str:
        """Saves other rules, which serve. Answers what the log says of them."""
        log = self._save(f"{head}{body}\nreturn script", "loaded")
        return next(line for line in log if 'msg="loaded' in line)

    def save_bad(self, body: str = "", head: str = HEAD) -> str:
        """Saves rules that are refused. Answers what the log says."""
        return "\n".join(self._save(f"{head}{body}\nreturn script", "not loaded"))

    def client(self) -> Speaker:
        return self.stack.enter_context(Speaker(self.host, "/rules"))

    def clients(self, number: int) -> list[Speaker]:
        return [self.client() for _ in range(number)]

    def let_go(self) -> None:
        """Those who wait for the room `go`."""
        self.client().say("conn:join 'go'")
