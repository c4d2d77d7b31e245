-- What comes goes back, until a Close frame or the end.
local server = require "nginx.websocket.server" -- as Debian names it

local ws = server:new { timeout = 3600000, max_payload_len = 1048576 }
while ws do
  local data, kind = ws:recv_frame()
  if kind == "text" then
    ws:send_text(data)
  elseif kind == "binary" then
    ws:send_binary(data)
  elseif kind == "ping" then
    ws:send_pong(data)
  else
    ws:send_close(1000)
    return
  end
end
