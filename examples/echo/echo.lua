-- Served at /echo: every message goes back to its sender, text as text, binary as binary.

local ws = require "ws"

local echo = {}

-- Somebody has connected.
function echo.open(conn)
  conn:send(("Hello! Connected here: %d."):format(ws.all:count()))
end

-- They say something. Try `ws.all:broadcast(data, { kind = kind })` instead: everybody hears it.
function echo.message(conn, data, kind)
  conn:send(data, kind)
end

return echo
