-- Served at /ws: what anyone sends goes to everybody connected here, the sender included.
local ws = require "ws"

return {
  message = function(_, data, kind)
    ws.all:broadcast(data, { kind = kind })
  end,
}
