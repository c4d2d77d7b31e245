-- Served at /broadcast: whoever is here hears what anybody says, who comes, and who leaves.
local ws = require "ws"

return {
  open = function(conn) ws.all:broadcast { joined = conn.id } end,
  message = function(conn, text) ws.all:broadcast { from = conn.id, text = text } end,
  close = function(conn) ws.all:broadcast { left = conn.id } end,
}
