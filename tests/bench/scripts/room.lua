-- Everybody is in one room, and nothing else is kept: for what a connection in a room takes.

---@type ws.Script
local room = {}

function room.open(conn)
  conn:join("all")
end

return room
