-- Served at /echo: every message goes back to its sender, text as text, binary as binary.

---@type ws.Script
local echo = {}

function echo.message(conn, data, kind)
  conn:send(data, kind)
end

return echo
