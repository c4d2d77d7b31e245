-- The other of two scripts that share a room, see ours.lua.
local ws = require "ws"
local closes = {}

return {
  open = function(conn)
    conn.data.secret = "theirs"
    conn:join(ws.shared "both", { info = "theirs" })
  end,
  message = function(_, text) ws.shared("both"):broadcast("theirs: " .. text) end,
  close = function(_, code, reason) table.insert(closes, { code, reason }) end,
  request = function() return 200, { closes = ws.json.array(closes), all = ws.all:count() } end,
}
