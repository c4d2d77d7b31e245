-- Whoever connects to /news hears what comes in by the hook (hook.lua).

local ws = require "ws"

return {
  open = function(conn)
    conn:join(ws.shared "news")
  end,
}
