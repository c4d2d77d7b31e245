-- Served at /ends: "4001 reason" has the connection closed so. GET tells the ends since the last
-- GET, as [[code, reason], ...].
local ws = require "ws"

local seen = ws.json.array {}

---@type ws.Script
local ends = {}

function ends.message(conn, text)
  local code, reason = text:match "^(%d+) (.*)$"
  conn:close(math.tointeger(code), reason)
end

function ends.close(_, code, reason)
  seen[#seen + 1] = { code, reason }
end

function ends.request()
  local told = seen
  seen = ws.json.array {}
  return 200, told
end

return ends
