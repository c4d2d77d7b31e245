-- Looks at who has come, and keeps nothing of it: for what a connection takes that only stays.

---@type ws.Script
local idle = {}

function idle.open(conn, req)
  assert(conn.connected and req.path == "/idle")
end

return idle
